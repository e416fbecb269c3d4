"""Guesses at the next tokens of an answer, for a decoder that checks several in one pass.

A drafter only proposes. The decoder keeps a proposal as far as it would have written it itself, so a bad guess costs
time and never a token.

`propose` depends on the answer so far and on what was learnt, on nothing else: it may be called for any rows in any
order, and an answer needs no beginning or end beyond the call of `learn` when it is finished. It looks back a bounded
number of tokens, so that a call costs the same late in an answer as early.
"""

from .drafter import Drafter

__all__ = ["Drafter"]
