"""Guesses at the next tokens of an answer, for a decoder that checks several in one pass.

    drafter = drafter_for(tokenizer, model.config.timeline, NgramTable.load(path, tokenizer, model.config.timeline))
    ids = drafter.propose(answer, limit)  # at every pass, the answer being the same growing list of ids
    drafter.learn(answer)  # when it is finished

A drafter only proposes. The decoder keeps a proposal as far as it would have written it itself, so a bad guess costs
time and never a token. What is proposed depends on the answer so far and on what was learnt, on nothing else: calls
may be for any rows in any order. `AnswerDrafter.propose_with_chances` also tells how likely each token is, and
`worthwhile_lengths` how much of such proposals to check in a pass.
"""

from .drafter import KINDS, LEAST_CHANCE, AnswerDrafter, Drafter, drafter_for
from .indexes import Vocabulary
from .lengths import worthwhile_lengths
from .ngrams import NgramTable

__all__ = [
    "KINDS",
    "LEAST_CHANCE",
    "AnswerDrafter",
    "Drafter",
    "NgramTable",
    "Vocabulary",
    "drafter_for",
    "worthwhile_lengths",
]
