"""From generated ids and the logits of their digits to an answer with the importance of every frame.

Shapes: G generated tokens, N frames of the timeline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ...core.errors import V2XumError
from ...core.timeline import Timeline


@dataclass(frozen=True)
class Answer:
    """What the decoder wrote for one video.

    Attributes:
        text: as generated, without special tokens.
        token_ids: the new ids, without the end of sequence.
        importance: float64 [N], or None where the answer cites no frame.
        finished: False if the answer was cut off at max_new_tokens, or in a loop.
        loop: what it says again and again, where it was ended for that before max_new_tokens; else None.
    """

    text: str
    token_ids: tuple[int, ...]
    importance: np.ndarray | None
    finished: bool
    loop: str | None = None


def answer_of(
    ids: Sequence[int], digit_logits: Tensor, tokenizer, timeline: Timeline, loop: int = 0
) -> Answer:
    """The answer that a row of generated ids is.

    Args:
        ids: G ids; from the first end of sequence on they are left out.
        digit_logits: [G, 10], of the digits where each id was chosen.
        loop: how many of the last ids are one round of the loop that it was ended for.
    """
    ids = list(ids)
    finished = tokenizer.eos_token_id in ids
    if finished:
        ids = ids[: ids.index(tokenizer.eos_token_id)]
    citations = cited_positions(ids, tokenizer, timeline)
    return Answer(
        text=tokenizer.decode(ids, skip_special_tokens=True).strip(),
        token_ids=tuple(ids),
        importance=importance_scores(digit_logits, citations, timeline),
        finished=finished,
        loop=tokenizer.decode(ids[-loop:], skip_special_tokens=True).strip() if loop else None,
    )


def digit_token_ids(tokenizer) -> list[int]:
    """The ids of `0` to `9`, each a token of its own as in LLaMA's tokenizer.

    Raises:
        V2XumError: if a digit is not.
    """
    ids = [tokenizer.convert_tokens_to_ids(str(digit)) for digit in range(10)]
    missing = [digit for digit, token in enumerate(ids) if token is None or token == tokenizer.unk_token_id]
    if missing:
        raise V2XumError(f"importance needs a token for every digit, the tokenizer has none for {missing}")
    return ids


def cited_positions(token_ids: Sequence[int], tokenizer, timeline: Timeline) -> list[list[int]]:
    """Where the generated ids cite a frame: for each citation the positions of its digits.

    A citation is a run of exactly as many digits as a temporal prompt has, inside brackets, that names a frame.
    """
    digits = {token: digit for digit, token in enumerate(digit_token_ids(tokenizer))}
    pieces = tokenizer.convert_ids_to_tokens(list(token_ids))
    citations, run, open_bracket = [], [], False
    for position, (token, piece) in enumerate([*zip(token_ids, pieces), (None, "")]):
        if token in digits:
            run.append(position)
            continue
        index = int("".join(str(digits[token_ids[place]]) for place in run) or -1)
        if open_bracket and len(run) == timeline.digits and index < timeline.num_frames:
            citations.append(run)
        run = []
        open_bracket = timeline.citations.open_behind(piece, open_bracket)
    return citations


def importance_scores(
    digit_logits: Tensor, citations: Sequence[Sequence[int]], timeline: Timeline
) -> np.ndarray | None:
    """How important each frame is, from the logits behind an answer's citations (paper, appendix A).

    For the i-th cited index, the softmax over the ten digits at each of its positions; the outer product of these is
    p_i over all indexes (00..99). The importance is the mean of p_i over the citations.

    Args:
        digit_logits: [G, 10].
        citations: the digits' positions in G of each citation (`cited_positions`).

    Returns:
        float64 [N], or None without citations.
    """
    if not citations:
        return None
    total = np.zeros(10**timeline.digits)
    probabilities = digit_logits.double().softmax(dim=-1).numpy()
    for places in citations:
        joint = np.ones(1)
        for place in places:
            joint = np.outer(joint, probabilities[place]).ravel()
        total += joint
    return (total / len(citations))[: timeline.num_frames]
