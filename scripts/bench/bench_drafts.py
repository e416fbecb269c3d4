"""Replay real answers: how many decoder passes drafts save, without a model.

    python scripts/bench/bench_drafts.py ANSWERS.jsonl --tokenizer tokenizer.model
    python scripts/bench/bench_drafts.py OUT/summaries.jsonl --tokenizer CHECKPOINT_FOLDER

ANSWERS.jsonl has an object with an "answer" a line, as `summaries.jsonl` of `llava_v2xum.infer` (or is instruction
JSON). Without a checkpoint any LLaMA-type tokenizer.model will do: one comes with Vicuna and LLaVA-1.5. An answer is
tokenized with its end of sequence and replayed as greedy decoding would write it: the pass over the prompt gives the
first token; every further pass checks one proposal, keeps it as far as it is right, and gives one token more.

Two ratios are printed for each way of drafting. "passes" is how many times fewer passes there are than tokens.
"positions" is how many positions the decoder goes through for each token of an answer, the prompt's apart: 1 without
drafts, and the cost of wrong guesses where positions are not free, as on a CPU. "right" is the share of the drafted
tokens that were kept, "µs" the processor time of one proposal.

Where a table of n-grams is used, it is built on one half of the answers and measured on the other, both ways.
Where it says how many positions are "for free", a pass is taken to cost as much as so many positions and its own, and
as much of a proposal is checked as pays by its chances (`worthwhile_lengths`). The last column then is how many times
faster that is than one token a pass.

The last line has the ratios of passes with indexes alone and with n-grams.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from llava_v2xum.core.command_line import Parser
from llava_v2xum.core.timeline import Timeline
from llava_v2xum.infer.drafting import KINDS, AnswerDrafter, drafter_for, worthwhile_lengths
from llava_v2xum.infer.drafting.sources import TOKENIZER_NEEDED, load_tokenizer, read_answers, timeline_of, token_ids

LIMITS = (4, 8, 16, 32, 64)
LEAST_CHANCES = (0.0, 0.01, 0.05, 0.1, 0.3)
FREE_POSITIONS = (4, 8, 16, 32, 64, 256)


@dataclass
class Tally:
    """Counts of a replay."""

    tokens: int = 0
    passes: int = 0
    drafted: int = 0
    right: int = 0
    proposals: int = 0
    seconds: float = 0.0

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    @property
    def passes_ratio(self) -> float:
        """How many times fewer passes than tokens."""
        return self.tokens / self.passes

    @property
    def positions_ratio(self) -> float:
        """Positions for each token: the last token and the drafted ones of every pass."""
        return (self.passes + self.drafted) / self.tokens

    def times_faster(self, free: int) -> float:
        """Than one token a pass, where a pass costs as much as `free` positions and its own."""
        return self.tokens * (free + 1) / (self.passes * (free + 1) + self.drafted)


def main() -> None:
    """Print the table."""
    arguments = parse()
    timeline = timeline_of(arguments.tokenizer)
    try:
        tokenizer = load_tokenizer(arguments.tokenizer)
        answers = [token_ids(tokenizer, text) for text in read_answers(arguments.answers, timeline)]
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    if len(answers) < 2:
        sys.exit(f"{arguments.answers}: expected at least two answers, got {len(answers)}")
    print(f"{len(answers)} answers, {sum(map(len, answers)) / len(answers):.0f} tokens in the mean")
    print(f"\n{'':44}{'limit':>6}{'passes':>8}{'positions':>11}{'right':>7}{'µs':>6}")

    def folded(name: str, limit: int = arguments.limit, **ways) -> Tally:
        tally = two_fold(tokenizer, timeline, answers, limit, **ways)
        show(name, limit, tally, ways.get("free"))
        return tally

    show("none", 0, replay(None, answers, 0))
    indexes = folded("indexes", kinds=("indexes",))
    both = folded("indexes and n-grams")
    folded("n-grams alone", kinds=("ngrams",))
    folded("indexes and n-grams, learning further", online=True)
    drafter = drafter_for(tokenizer, timeline)
    show("the same without a table to begin with", arguments.limit, replay(drafter, answers, arguments.limit, True))
    for kinds in (("indexes",), KINDS):
        print(f"\n{' and '.join(kinds)}, by limit")
        for limit in LIMITS:
            folded("", limit, kinds=kinds)
    print("\nindexes and ngrams, by the least chance that a proposal may have")
    for least_chance in LEAST_CHANCES:
        folded(f"{least_chance:.2f}", least_chance=least_chance)
    print("\nindexes and ngrams, cut where the rest is not worth its time; last column: times faster")
    for free in FREE_POSITIONS:
        folded(f"{free} positions for free", free=free)
    print(
        f"\npasses saved with {arguments.limit} tokens drafted: indexes {indexes.passes_ratio:.2f} times, "
        f"indexes and n-grams {both.passes_ratio:.2f} times"
    )


def parse() -> argparse.Namespace:
    """The command line."""
    parser = Parser(description=__doc__)
    parser.add_argument("answers", type=Path, metavar="ANSWERS.jsonl")
    parser.add_argument("--tokenizer", type=Path, metavar="FILE_OR_FOLDER", help=TOKENIZER_NEEDED)
    parser.add_argument("--limit", type=int, default=64, help="tokens drafted at most (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.tokenizer is None:
        parser.error(f"--tokenizer is needed: {TOKENIZER_NEEDED}")
    if arguments.limit < 1:
        parser.error(f"--limit must be at least 1, got {arguments.limit}")
    return arguments


def two_fold(
    tokenizer,
    timeline: Timeline,
    answers: Sequence[list[int]],
    limit: int,
    online: bool = False,
    free: int | None = None,
    **ways,
) -> Tally:
    """Replay each half of the answers by a drafter that has learnt from the other."""
    tally = Tally()
    for known, asked in halves(answers):
        drafter = drafter_for(tokenizer, timeline, **ways)
        for ids in known:
            drafter.learn(ids)
        tally += replay(drafter, asked, limit, online, free)
    return tally


def halves(answers: Sequence[list[int]]) -> Iterator[tuple[Sequence[list[int]], Sequence[list[int]]]]:
    """The first and the second half, and the other way round."""
    first, second = answers[: len(answers) // 2], answers[len(answers) // 2 :]
    yield first, second
    yield second, first


def replay(
    drafter: AnswerDrafter | None,
    answers: Sequence[list[int]],
    limit: int,
    online: bool = False,
    free: int | None = None,
) -> Tally:
    """Greedy decoding that would write these answers.

    Args:
        drafter: None drafts nothing.
        answers: ids with the end of sequence last.
        online: whether the drafter learns every answer when it is finished.
        free: cuts proposals to what pays with so many positions for free.
    """
    tally = Tally()
    for ids in answers:
        written = ids[:1]
        tally.tokens += len(ids)
        tally.passes += 1
        while len(written) < len(ids):
            draft: list[int] = []
            if drafter is not None:
                start = time.thread_time()
                draft, chances = drafter.propose(written, limit)
                if free is not None:
                    draft = draft[: worthwhile_lengths([chances], free)[0]]
                tally.seconds += time.thread_time() - start
                tally.proposals += 1
            to_come = ids[len(written) :]
            right = next((n for n, (mine, true) in enumerate(zip(draft, to_come)) if mine != true), len(draft))
            written += to_come[: right + 1]
            tally.passes += 1
            tally.drafted += len(draft)
            tally.right += right
        if online:
            drafter.learn(written)
    return tally


def show(name: str, limit: int, tally: Tally, free: int | None = None) -> None:
    """One row of the table."""
    right = f"{tally.right / tally.drafted:.0%}" if tally.drafted else "-"
    micros = f"{1e6 * tally.seconds / tally.proposals:.0f}" if tally.proposals else "-"
    faster = "" if free is None else f"{tally.times_faster(free):>8.2f}"
    ratios = f"{tally.passes_ratio:>8.2f}{tally.positions_ratio:>11.2f}"
    print(f"{name:44}{limit:>6}{ratios}{right:>7}{micros:>6}{faster}", flush=True)


if __name__ == "__main__":
    main()
