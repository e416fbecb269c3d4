"""Videos -> train, val and test, in the proportions of Instruct-V2Xum."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from ...core.errors import V2XumError

SPLITS = ("train", "val", "test")
PROPORTIONS = (25_000, 1_000, 4_000)  # paper, section 3


def split(
    contents: Mapping[str, str], proportions: Sequence[int] = PROPORTIONS, seed: int = 0
) -> dict[str, str]:
    """Give every video a split; the same videos get the same, in whatever order they come.

    The unit is the content: videos of one content, whatever their ids, are in one split. Contents are sorted by the
    hash of seed and content; the first go to train, the next to val, the rest to test, so that a video more moves
    others over an edge at most. How many go where is exact by largest remainders (`counts`).

    Args:
        contents: video_id -> what it shows, as `duplicates.contents_of` names it.
        proportions: of train, val and test.
        seed: another one gives other splits.

    Returns:
        video_id -> split, in the order of the ids.

    Raises:
        V2XumError: as `counts`.
    """
    named = sorted({*contents.values()}, key=lambda content: (_hash(seed, content), content))
    names = [name for name, count in zip(SPLITS, counts(len(named), proportions)) for _ in range(count)]
    of = dict(zip(named, names))
    return {video_id: of[contents[video_id]] for video_id in sorted(contents)}


def counts(total: int, proportions: Sequence[int] = PROPORTIONS) -> tuple[int, ...]:
    """How many of `total` each split gets: whole quotas first, then one each by the largest remainders.

    Of equal remainders the one with the smaller proportion goes first. With the paper's proportions:

        total  train  val  test
        1      1      0    0
        2      2      0    0
        3      3      0    0
        4      3      0    1
        10     8      1    1
        30     25     1    4

    A set that is too small for a split has none: below 16 videos val is empty, but for 10.

    Raises:
        V2XumError: if the proportions are not three integers from 0 with a sum above 0.
    """
    whole = all(type(part) is int and part >= 0 for part in proportions)
    if len(proportions) != len(SPLITS) or not whole or not sum(proportions):
        raise V2XumError(f"expected three proportions, for {', '.join(SPLITS)}, of 0 or more, got {proportions}")
    quotas = [divmod(total * part, sum(proportions)) for part in proportions]
    found = [quota for quota, _ in quotas]
    order = sorted(range(len(quotas)), key=lambda place: (-quotas[place][1], proportions[place], place))
    for place in order[: total - sum(found)]:
        found[place] += 1
    return tuple(found)


def _hash(seed: int, content: str) -> str:
    return hashlib.sha256(f"{seed}:{content}".encode()).hexdigest()
