"""How a tokenizer writes lists of frame indexes, and how a list goes on.

In the answers of the released models 69 % of the tokens are indexes, and 97 % of successive indexes in a list differ
by one: the next index is known before the model has written it.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from ...core.timeline import Timeline
from .protocols import UndraftableTokenizer


@dataclass(frozen=True)
class Vocabulary:
    """What an answer's ids say, as far as drafting asks.

    Attributes:
        digits: the ids of `0` to `9`.
        width: how many digits an index has.
        cited: the ids that cite each index 0..N-1.
        index_of: the other way round.
        separator: the ids between two indexes of a list (`,` and `▁` in LLaMA's tokenizer).
        opens: the ids behind which a bracket is open, as `▁[`.
        closes: the ids that close a bracket, as `].`.
        eos: the id of the end of sequence.
        timeline: says how an index is cited.
        digest: of all tokens and their ids; tells whether two tokenizers are the same.
    """

    digits: frozenset[int]
    width: int
    cited: tuple[tuple[int, ...], ...]
    index_of: dict[tuple[int, ...], int]
    separator: tuple[int, ...]
    opens: frozenset[int]
    closes: frozenset[int]
    eos: int | None
    timeline: Timeline
    digest: str

    @classmethod
    def of(cls, tokenizer, timeline: Timeline) -> Vocabulary:
        """Asked of the tokenizer itself.

        Args:
            tokenizer: a transformers tokenizer, slow or fast.

        Raises:
            UndraftableTokenizer: if a digit is not a token of its own, or indexes in lists are not written one way.
        """
        ids = tokenizer.get_vocab()
        missing = [digit for digit in range(10) if str(digit) not in ids]
        if missing:
            raise UndraftableTokenizer(
                f"drafting indexes needs a token for every digit, the tokenizer has none for {missing}"
            )
        digits = {ids[str(digit)]: digit for digit in range(10)}
        citations = timeline.citations
        cited = [tuple(ids[digit] for digit in citations.index(frame)) for frame in range(timeline.num_frames)]
        return cls(
            digits=frozenset(digits),
            width=citations.digits,
            cited=tuple(cited),
            index_of={digits: index for index, digits in enumerate(cited)},
            separator=_separator(tokenizer, digits, timeline),
            opens=frozenset(token for piece, token in ids.items() if citations.open_behind(piece)),
            closes=frozenset(token for piece, token in ids.items() if citations.closing in piece),
            eos=tokenizer.eos_token_id,
            timeline=timeline,
            digest=_digest(ids),
        )


def next_index(indexes: Sequence[int], num_frames: int) -> int | None:
    """The index that a list goes on with: one more, or the last step once more where the last two agree.

    Returns:
        None without indexes and where the next would lie outside 0..num_frames - 1.
    """
    if not indexes:
        return None
    step = 1
    if len(indexes) > 2 and indexes[-1] - indexes[-2] == indexes[-2] - indexes[-3]:
        step = indexes[-1] - indexes[-2]
    index = indexes[-1] + step
    return index if 0 <= index < num_frames else None


def _separator(tokenizer, digits: dict[int, int], timeline: Timeline) -> tuple[int, ...]:
    """The ids between two indexes in the middle of an answer."""
    last = timeline.num_frames - 1
    found = set()
    for start in {0, last // 2, max(last - 2, 0)}:
        frames = [min(start + place, last) for place in range(3)]
        cited = [timeline.cite(frame) for frame in frames]
        ids = tokenizer(f"A man walks {timeline.citations.write(frames)}. He", add_special_tokens=False).input_ids
        places = [place for place, token in enumerate(ids) if token in digits]
        written = "".join(str(digits[ids[place]]) for place in places)
        between = [tuple(ids[a + 1 : b]) for a, b in itertools.pairwise(places) if b > a + 1]
        if written != "".join(cited) or len(between) != 2:
            raise UndraftableTokenizer(f"expected one token a digit in lists, the tokenizer reads {cited} as {ids}")
        found.update(between)
    if len(found) != 1:
        raise UndraftableTokenizer(
            f"expected the same tokens between all indexes of a list, the tokenizer has {sorted(found)}"
        )
    return found.pop()


def _digest(ids: dict[str, int]) -> str:
    hashed = hashlib.sha256()
    for token, piece in sorted((token, piece) for piece, token in ids.items()):
        hashed.update(f"{token}\t{piece}\n".encode("utf-8", "surrogatepass"))
    return hashed.hexdigest()
