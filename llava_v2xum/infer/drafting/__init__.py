"""Guesses at the next tokens of an answer, for a decoder that checks several in one pass.

    drafter = drafter_for(tokenizer, model.config.timeline, NgramTable.load(path, tokenizer, model.config.timeline))
    ids, chances = drafter.propose(answer, limit)  # at every pass, the answer being the same growing list of ids
    drafter.learn(answer)  # when it is finished

A drafter only proposes. The decoder keeps a proposal as far as it would have written it itself, so a bad guess costs
time and never a token. What is proposed depends on the answer so far and on what was learnt, on nothing else: calls
may be for any rows in any order. `worthwhile_lengths` tells how much of such proposals to check in a pass.
"""

from .answer_drafter import KINDS, LEAST_CHANCE, AnswerDrafter, drafter_for
from .drafters import DEFAULT_DRAFTER, DRAFTERS, drafter_kind, load_drafter
from .indexes import Vocabulary
from .lengths import worthwhile_lengths
from .ngrams import NgramTable
from .protocols import Drafter, DrafterKind, UndraftableTokenizer

__all__ = [
    "DEFAULT_DRAFTER",
    "DRAFTERS",
    "KINDS",
    "LEAST_CHANCE",
    "AnswerDrafter",
    "Drafter",
    "DrafterKind",
    "NgramTable",
    "UndraftableTokenizer",
    "Vocabulary",
    "drafter_for",
    "drafter_kind",
    "load_drafter",
    "worthwhile_lengths",
]
