"""METEOR 1.5 (Denkowski and Lavie 2014) by its own jar, with COCO's options; without Java there is no METEOR.

The jar does two things, both here in one run for any number of lines: SCORE turns a hypothesis and its references into
statistics (lengths, matches by kind, chunks), EVAL turns statistics into a score. The figure of a corpus is EVAL of the
statistics' sum, so a bootstrap needs no text again. One rule stands between the two: where METEOR adds up, a segment
that matches its whole reference in one chunk adds no chunk (MeteorStats.addStats in the jar), so `meteor_statistics`
writes 0 there; the segment's own score is 1 either way. EVAL looks at no word, so it is given an empty paraphrase
table, which takes it from seconds to a fraction of one.

pycocoevalcap's driver of the same jar leaves its process to the garbage collector, lets `|||` inside a reference pass
for a separator, and depends on the machine's decimal point; the figures are the same.

Shapes: V videos, B sums, K = 23 statistics of METEOR's English configuration: words of the hypothesis and of the
reference, function words of both; for each of four stages the matched content words of both and the matched function
words of both; chunks, and the words in matches of both.
"""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ...core.checks import first_few
from ...core.errors import V2XumError
from .java import JavaEnded, JavaError, has_java, jar_beside, run_lines
from .measures import Measure
from .metric import TEXT, Metric, Need
from .ngrams import TokenFamily

STATISTICS = 23
_WORDS, _REFERENCE_WORDS, _MATCHES, _CHUNKS = 0, 1, 4, 20  # places among the statistics
_MODULE = "pycocoevalcap.meteor.meteor"
_OPTIONS = ("-", "-", "-stdio", "-l", "en", "-norm")  # pycocoevalcap/meteor/meteor.py
_MEMORY = "-Xmx2G"  # at most, as pycocoevalcap has it; 400 MB are enough for a few lines
_SECONDS_AT_LEAST = 300.0  # loading the paraphrase table takes 2 to 10
_SECONDS_A_LINE = 0.5
_MOST_ASIDE = 31  # lines that are tried alone, at some seconds each; our choice


def meteor_statistics(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """METEOR's statistics of each hypothesis against its best reference, as the jar adds them up over a corpus.

    Args:
        hypotheses: [V], tokenized; an empty one matches nothing.
        references: [V][at least one], tokenized.

    Returns:
        float [V, K]; NaN for one that METEOR cannot take (100,000 characters cost it its memory), though it takes most.

    Raises:
        JavaError: if there is no Java, or METEOR fails or gives no answer in time.
        MissingExtra: if pycocoevalcap, which brings the jar, is not installed.
    """
    if not hypotheses:
        return np.zeros((0, STATISTICS))
    # The blank behind the last separator stays: without it an empty hypothesis is no field at all.
    fields = [[*map(_field, several), _field(one)] for one, several in zip(hypotheses, references)]
    answers = _answers([" ||| ".join(["SCORE", *some]) for some in fields])
    nothing = [np.nan] * STATISTICS
    statistics = np.array([nothing if line is None else _numbers(line, STATISTICS) for line in answers])
    matched, reference_matched = (statistics[:, _MATCHES + side : _CHUNKS : 2].sum(axis=1) for side in (0, 1))
    whole = (matched == statistics[:, _WORDS]) & (reference_matched == statistics[:, _REFERENCE_WORDS])
    statistics[whole & (statistics[:, _CHUNKS] == 1), _CHUNKS] = 0
    return statistics


def meteor_scores(statistics: np.ndarray) -> np.ndarray:
    """METEOR's scores of statistics or of sums of them, as the jar's EVAL gives them.

    Args:
        statistics: float [B, K].

    Returns:
        float [B]; NaN where the references have no words.

    Raises:
        JavaError: if there is no Java, or METEOR fails or gives no answer in time.
    """
    if not len(statistics):
        return np.zeros(0)
    line = " ||| ".join(["EVAL", *(" ".join(map(repr, row)) for row in statistics.astype(float).tolist())])
    with tempfile.TemporaryDirectory(prefix="llava_v2xum_") as folder:
        nothing = Path(folder, "none.gz")
        nothing.write_bytes(gzip.compress(b""))
        answer = _run([line], len(statistics) + 1, nothing)
    scores = np.array([_numbers(line, 1)[0] for line in answer[:-1]])  # the last is the score of the sum of all
    return np.where(statistics[:, _REFERENCE_WORDS] > 0, scores, np.nan)


def meteor_measure(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Measure:
    """METEOR as a measure: each video's score, and the statistics that make the corpus figure.

    A video that METEOR cannot take has no value and no part in the figure.

    Args, Raises: as `meteor_statistics`.
    """
    statistics = meteor_statistics(hypotheses, references)
    failed = np.isnan(statistics).any(axis=1)
    statistics[failed] = 0
    total = statistics.sum(axis=0, keepdims=True)
    *values, figure = meteor_scores(np.concatenate([statistics, total])).tolist()
    # A video whose references hold no word counts as a miss here, as in COCO's scores.
    values = np.where(failed, np.nan, np.nan_to_num(values, nan=0.0))
    return Measure("meteor", values, statistics, _remembering(total, figure))


def choose_meteor(meteor: str | bool) -> bool:
    """Whether METEOR is scored: True, False, or "auto" for where there is Java.

    Raises:
        V2XumError: for another value.
        JavaError: if it is True and there is no Java that runs.
    """
    if meteor not in ("auto", True, False):
        raise V2XumError(f"meteor must be 'auto', True or False, got {meteor!r}")
    if meteor is True and not has_java():
        raise JavaError(
            "METEOR 1.5 needs Java, and there is no `java` on the PATH that runs: install a Java runtime "
            "(Debian and Ubuntu: apt-get install default-jre-headless), or go without METEOR"
        )
    return has_java() if meteor == "auto" else bool(meteor)


def no_meteor(meteor: str | bool) -> str:
    """Why METEOR is absent, by what was asked for: "auto" leaves it out for want of Java alone."""
    return f"METEOR is absent: {'it needs Java' if meteor == 'auto' else 'it was switched off'}"


def meteor_fails(videos: Sequence[str], of: int) -> str:
    """The note on videos without METEOR because its program ended on their texts."""
    return f"METEOR is absent for {len(videos)} of {of} videos, whose texts end its program: {first_few(videos)}"


def _remembering(total: np.ndarray, figure: float) -> Callable[[np.ndarray], np.ndarray]:
    """`meteor_scores` that does not start Java again for the figure of all videos."""

    def combine(sums: np.ndarray) -> np.ndarray:
        return np.array([figure]) if np.array_equal(sums, total) else meteor_scores(sums)

    return combine


def _field(text: str) -> str:
    return " ".join(text.replace("|||", " ").splitlines())


def _paraphrases() -> Path:
    return jar_beside(_MODULE, "data/paraphrase-en.gz")


def _answers(lines: list[str]) -> list[str | None]:
    """The jar's answer to each line; None for a line that it fails on.

    One such line ends the program and with it every answer: where that happens, the longest lines are set aside, more
    of them each time, and then tried one by one.

    Raises:
        JavaError: if it fails without them too, or without having ended.
    """
    by_length = sorted(range(len(lines)), key=lambda place: len(lines[place]))
    table, aside = _paraphrases(), 0
    while True:
        kept = sorted(by_length[: len(lines) - aside])
        try:
            found: dict[int, str | None] = dict(zip(kept, _run([lines[place] for place in kept], len(kept), table)))
            break
        except JavaEnded:
            more = min(2 * aside + 1, _MOST_ASIDE, len(lines) - 1)
            if more == aside:
                raise
            aside = more
    for place in by_length[len(lines) - aside :]:
        try:
            [found[place]] = _run([lines[place]], 1, table)
        except JavaEnded:
            found[place] = None
    return [found[place] for place in range(len(lines))]


def _run(lines: list[str], expected: int, paraphrases: Path) -> list[str]:
    arguments = [_MEMORY, "-jar", str(jar_beside(_MODULE, "meteor-1.5.jar")), *_OPTIONS, "-a", str(paraphrases)]
    return run_lines("METEOR", arguments, lines, expected, _SECONDS_AT_LEAST + _SECONDS_A_LINE * len(lines))


def _numbers(line: str, count: int) -> list[float]:
    try:
        numbers = [float(word) for word in line.split()]
    except ValueError:
        numbers = []
    if len(numbers) != count:
        raise JavaError(f"METEOR gave {line!r} where {count} numbers were expected")
    return numbers


METEOR = TokenFamily(
    (Metric("meteor", "METEOR", "V2T", "METEOR 1.5", (
        TEXT,
        Need("left out, as --no-meteor asks", lambda predictions, settings: settings.no_meteor),
        Need("needs Java", lambda predictions, settings: not has_java()),
        Need("its program fails on these texts"),
    )),),
    lambda hypotheses, references: [meteor_measure(hypotheses, references)],
)  # fmt: skip
