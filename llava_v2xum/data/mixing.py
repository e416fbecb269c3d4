"""Files of instruction JSON -> the entries of an epoch: all checked first, then mixed by the weights of their files.

A bad entry is left out and reported with its id and the reason; it is never mended, cut or replaced.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..core.atomic import replacing
from ..core.errors import V2XumError
from .answer_checks import Finding
from .damage import find_damaged, limit_of
from .entries import Entry, EntryChecker, EntryError, named_videos

logger = logging.getLogger(__name__)

REJECTED, WARNED = "rejected.jsonl", "warned.jsonl"  # in the output folder
_WARNED = 5  # entries named in the log; the file has them all


@dataclass(frozen=True)
class Rejection:
    """A bad or doubtful entry: its file, its place there (from 0), its id if it has one, and what is wrong with it.

    Where it is an answer's fault, `task` tells what it answers.
    """

    file: str
    place: int
    id: str | None
    kind: str
    reason: str
    task: str | None = None

    def __str__(self) -> str:
        name = f"entry {self.place}" if self.id is None else f"entry {self.id}"
        of_task = f" ({self.task.upper()}, place {self.place})" if self.task else ""
        return f"{self.file}: {name}{of_task}: {self.reason}"


@dataclass
class Checked:
    """What came of the entries of files.

    Args:
        good: those that are learnt from, in their order.
        bad: the others.
        doubtful: what good ones are warned of.
    """

    good: list[Entry] = field(default_factory=list)
    bad: list[Rejection] = field(default_factory=list)
    doubtful: list[Rejection] = field(default_factory=list)


def read_instructions(path: str | os.PathLike) -> list:
    """The list that an instruction JSON is.

    Raises:
        V2XumError: naming the file, if it cannot be read or is no such list.
    """
    try:
        entries = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise V2XumError(f"--data_path: {path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise V2XumError(f"{path}: expected JSON ({error})") from error
    if not isinstance(entries, list) or not entries:
        raise V2XumError(f"{path}: expected a non-empty JSON list of entries")
    return entries


def check_entries(
    path: str, checker: EntryChecker, strict: bool = False, said: dict[tuple, str] | None = None
) -> Checked:
    """A file's entries, checked.

    Args:
        said: what entries of earlier files say, and where; those of this file are added.

    Raises:
        V2XumError: naming the file, if it is no instruction JSON; with `strict` for the first bad entry, or the first
            that is warned of, unless its kind is among the checker's `warn_only`.
    """
    made, said = Checked(), {} if said is None else said
    quiet = None if is_main_process() else True  # None: where the output is a terminal
    for place, entry in enumerate(tqdm(read_instructions(path), f"checking {Path(path).name}", disable=quiet, delay=2)):
        try:
            checked = checker.check(entry)
        except EntryError as error:
            entry_id = entry.get("id") if isinstance(entry, dict) else None
            name = None if entry_id is None else str(entry_id)
            rejection = Rejection(path, place, name, error.kind, str(error), error.task)
            if strict:
                raise V2XumError(f"{rejection} (--strict)") from error
            made.bad.append(rejection)
            continue
        doubts = [*checked.warnings, *_said_before(checked, f"{path}, place {place}", said)]
        made.good.append(checked)
        made.doubtful += [Rejection(path, place, checked.id, one.kind, one.reason, one.task) for one in doubts]
        refused = [one for one in made.doubtful[-len(doubts) :] if one.kind not in checker.warn_only] if doubts else []
        if strict and refused:
            raise V2XumError(f"{refused[0]} (--strict; --warn_only {refused[0].kind!r} lets it pass)")
    return made


def _said_before(entry: Entry, here: str, said: dict[tuple, str]) -> list[Finding]:
    """Whether an entry, of the same videos, says word for word what another has said."""
    what = (entry.videos, entry.frame_indices, entry.image, *(turn["value"] for turn in entry.turns))
    first = said.setdefault(what, here)
    return [] if first == here else [Finding("duplicate", f"says the same as {first}", entry.tasks[0])]


def weigh(entries: Sequence[Entry], weight: float, seed: int | Sequence[int]) -> list[Entry]:
    """The entries as often as the weight says: 2.5 is each twice, and a random half of them once more.

    The half is drawn once, without replacement: the same for every epoch, process and resumed run of the seed.
    """
    whole = math.floor(weight)
    count = round((weight - whole) * len(entries))
    some = np.random.default_rng(seed).permutation(len(entries))[:count]
    return list(entries) * whole + [entries[place] for place in sorted(some.tolist())]


def load_entries(
    data_path: Sequence[str],
    checker: EntryChecker,
    data_weights: Sequence[float] | None = None,
    seed: int = 42,
    strict: bool = False,
    output_dir: str | os.PathLike | None = None,
    check: str = "none",
    max_rejected: str | None = None,
) -> list[Entry]:
    """The entries of an epoch, of all files.

    Args:
        data_weights: for each file how often its entries are seen (`weigh`); 1 if None.
        seed: of the run.
        strict: stop at the first bad entry.
        output_dir: where `rejected.jsonl` goes, one line for each bad entry; only the first process writes it.
        check: how closely the videos are looked at first, of `damage.CHECKS`.
        max_rejected: how many entries may be left out, as `damage.limit_of` reads it; any number if None.

    Raises:
        V2XumError: for a file that is no instruction JSON, weights that do not fit, a bad entry if `strict`, if no
            entry is left, and if more are left out than may be.
    """
    weights = _check_weights(data_path, data_weights)
    if max_rejected is not None:
        limit_of(max_rejected, 0)  # before the hours that a full check may take
    quiet = None if is_main_process() else True
    asked = (video for path in data_path for entry in read_instructions(path) for video in named_videos(entry))
    checker.damaged.update(find_damaged(asked if check != "none" else (), checker.source, check, quiet))
    entries: list[Entry] = []
    rejections: list[Rejection] = []
    doubtful: list[Rejection] = []
    said: dict[tuple, str] = {}
    total = 0
    for number, (path, weight) in enumerate(zip(data_path, weights)):
        checked = check_entries(path, checker, strict, said)
        good, bad = checked.good, checked.bad
        seen = weigh(good, weight, [seed, number])
        logger.info("%s: %d entries, %d left out, %d seen in an epoch", path, len(good) + len(bad), len(bad), len(seen))
        entries += seen
        rejections += bad
        doubtful += checked.doubtful
        total += len(good) + len(bad)
    if is_main_process():
        _report(rejections, output_dir, REJECTED, "left out")
        _report(doubtful, output_dir, WARNED, "doubtful")
        for note in checker.clocks.notes():
            logger.warning("%s", note)
    if not entries:
        first = f"; the first: {rejections[0]}" if rejections else ""
        raise V2XumError(f"no entry is left to learn from: {len(rejections)} are bad{first}")
    if max_rejected is not None and len(rejections) > limit_of(max_rejected, total):
        raise V2XumError(
            f"{len(rejections)} of {total} entries ({len(rejections) / total:.1%}) cannot be learnt from, more than "
            f"--max_rejected {max_rejected} lets go: {_counted(rejections)}; the first: {rejections[0]}; all of them: "
            f"{'rejected.jsonl' if output_dir is None else Path(output_dir) / REJECTED}"
        )
    return entries


def is_main_process() -> bool:
    """Whether this is the first of a run's processes, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def _check_weights(data_path: Sequence[str], data_weights: Sequence[float] | None) -> Sequence[float]:
    weights = [1.0] * len(data_path) if data_weights is None else data_weights
    if len(weights) != len(data_path):
        raise V2XumError(f"--data_weights: expected one for each of {len(data_path)} files, got {len(weights)}")
    for path, weight in zip(data_path, weights):
        if not 0 <= weight < math.inf:
            raise V2XumError(f"--data_weights: expected numbers from 0, got {weight} for {path}")
    return weights


def _report(found: list[Rejection], output_dir: str | os.PathLike | None, name: str, what: str) -> None:
    """Name the first few in the log, write all to the output folder; of a former run nothing stays there."""
    file = None if output_dir is None else Path(output_dir) / name
    if not found:
        if file is not None:
            file.unlink(missing_ok=True)
        return
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as part, part.open("w", encoding="utf-8") as lines:
            lines.writelines(json.dumps(asdict(one), ensure_ascii=False) + "\n" for one in found)
    for one in found[:_WARNED]:
        logger.warning("%s: %s", what, one)
    logger.warning(
        "%d %s (%s)%s",
        len(found),
        "entries are left out" if name == REJECTED else "things in the entries are doubtful, and let pass",
        _counted(found),
        f"; all of them: {file}" if file is not None else "",
    )


def _counted(rejections: Sequence[Rejection]) -> str:
    counts = Counter(rejection.kind for rejection in rejections).most_common()
    return ", ".join(f"{kind}: {count}" for kind, count in counts)
