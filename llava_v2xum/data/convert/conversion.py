"""One file of published annotations -> annotation form, instruction JSON and a report."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

from ...core.annotations import Annotation, annotation_line
from ...core.atomic import replacing, write_whole
from ...core.clock import Clocks
from ...core.errors import V2XumError
from ...core.readers import Accepted, Reader, Rejected
from ...core.sampling import SAMPLING_KEY
from .answers import AnswerSettings, entries_of


class StrictStop(Exception):
    """The first rejected item, where none is allowed; the message names file and item."""


@dataclass(frozen=True)
class Settings:
    """What a conversion takes.

    Args:
        answers: how answers are made.
        tolerance_seconds: how far beyond the video's ends a time stamp may lie. 1 s: our choice, because
            ActivityNet's durations and time stamps differ by about that much where they do.
        strict: stop at the first item that is rejected.
        video_ids: reject the videos that are not among these; None takes all.
    """

    answers: AnswerSettings = field(default_factory=AnswerSettings)
    tolerance_seconds: float = 1.0
    strict: bool = False
    video_ids: frozenset[str] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance_seconds < float("inf"):
            raise V2XumError(f"tolerance_seconds must be 0 or more, got {self.tolerance_seconds}")


@dataclass
class Report:
    """What became of a file's items.

    Args:
        source: the file.
        annotations: how many videos were written.
        entries: task -> how many entries of instruction JSON.
        rejected: what was left out, and why.
        missing: {"id", "task", "reason"} of the tasks that a written video has no answer for.
        clipped: video id -> how many of its time stamps were moved to the video's ends.
        clocks: by which its seconds became indexes.
    """

    source: Path
    annotations: int = 0
    entries: Counter[str] = field(default_factory=Counter)
    rejected: list[Rejected] = field(default_factory=list)
    missing: list[dict[str, str]] = field(default_factory=list)
    clipped: dict[str, int] = field(default_factory=dict)
    clocks: Clocks = field(default_factory=Clocks)

    def to_record(self) -> dict[str, Any]:
        """The report as JSON; `settings` are the caller's to add."""
        return {
            "source": str(self.source),
            "counts": {
                "annotations": self.annotations,
                "rejected": len(self.rejected),
                "entries": dict(self.entries),
                "tasks_without_answer": len(self.missing),
                "clipped_time_stamps": sum(self.clipped.values()),
                "clipped_videos": len(self.clipped),
            },
            "rejected": [
                {"id": item.video_id, "item": item.place, "reason": item.reason} for item in self.rejected
            ],
            "tasks_without_answer": self.missing,
            "clipped_time_stamps": self.clipped,
            "clocks": {**self.clocks.counts(), "notes": self.clocks.notes()},
        }


@dataclass(frozen=True)
class Outputs:
    """The three files that a source file STEM.* becomes."""

    annotations: Path
    instructions: Path
    report: Path

    @classmethod
    def of(cls, source: Path, folder: Path) -> Outputs:
        """DIR/STEM.annotations.jsonl, DIR/STEM.json and DIR/STEM.report.json."""
        stem = source.absolute().stem  # a folder may be given as "."
        return cls(*(folder / f"{stem}{ending}" for ending in (".annotations.jsonl", ".json", ".report.json")))

    def paths(self) -> tuple[Path, Path, Path]:
        """All three."""
        return self.annotations, self.instructions, self.report


def convert_file(name: str, reader: Reader, source: Path, folder: Path, settings: Settings) -> Report:
    """Convert one file. Each of the three files is written whole or not at all.

    Where no item is left, only the report is written, and no instruction JSON where the format has no entries to
    give: an empty set is none to train on.

    Args:
        name: the format's, for the report.
        folder: for the three files; made if it is not there.

    Raises:
        SourceError: if the file is not of the format.
        StrictStop: at the first item that is rejected, if settings say so; nothing is written then.
        OSError: if a file cannot be written; nothing is written then.
    """
    outputs = Outputs.of(source, folder)
    settings = replace(settings, answers=replace(settings.answers, clocks=settings.answers.clocks.anew()))
    report = Report(source, clocks=settings.answers.clocks)
    folder.mkdir(parents=True, exist_ok=True)
    with suppress(_NothingLeft), replacing(outputs.annotations) as lines:
        with suppress(_NothingToLearn), replacing(outputs.instructions) as entries:
            with open(lines, "w", encoding="utf-8") as ours, open(entries, "w", encoding="utf-8") as instructions:
                _convert(reader, report, ours, instructions, settings)
            if not report.annotations:
                raise _NothingLeft
            if not report.entries.total():
                raise _NothingToLearn
    record = {"format": name, "settings": _settings_record(settings, reader), **report.to_record()}
    write_whole(outputs.report, json.dumps(record, indent=1) + "\n")
    return report


def _settings_record(settings: Settings, reader: Reader) -> dict[str, Any]:
    answers = settings.answers
    of_entries = {
        "tasks": list(answers.tasks),
        "form": answers.form,
        "annotators": answers.annotators if reader.has_annotators else None,
        "num_frames": answers.timeline.num_frames,
        SAMPLING_KEY: answers.timeline.rule,
        "temporal_prompt_template": answers.timeline.template,
        "clock": answers.clocks.name,
        "tolerance_seconds": settings.tolerance_seconds,
    }
    return {**(of_entries if reader.trains else {}), "videos_checked": settings.video_ids is not None}


class _NothingLeft(Exception):
    """Every item is rejected."""


class _NothingToLearn(Exception):
    """No item gives an entry."""


def _convert(reader: Reader, report: Report, annotations: TextIO, instructions: TextIO, settings: Settings) -> None:
    """Write what is accepted, item by item, and fill the report."""
    separator = "[\n"
    for item, by_task in _accepted(reader, report, settings):
        annotations.write(annotation_line(item.annotation))
        for task, entries in by_task.items():
            report.entries[task] += len(entries)
            for entry in entries:
                instructions.write(separator + json.dumps(entry, ensure_ascii=False))
                separator = ",\n"
    instructions.write("\n]\n")


def _accepted(
    reader: Reader, report: Report, settings: Settings
) -> Iterator[tuple[Accepted, dict[str, list[dict[str, Any]]]]]:
    """The items that pass every check, each with its entries by task; all else goes into the report."""
    places: dict[str, int] = {}  # of the accepted ones, by their ids
    for item in reader.read(report.source, settings.tolerance_seconds):
        if isinstance(item, Accepted):
            video_id = item.annotation.video_id
            try:
                if item.dropped:
                    raise V2XumError(item.dropped[0])
                if video_id in places:
                    raise V2XumError(f"duplicate id: item {places[video_id]} has it too")
                if settings.video_ids is not None and settings.video_ids.isdisjoint(_file_names(item.annotation)):
                    raise V2XumError("no video file of that name")
                by_task, missing = entries_of(item.annotation, settings.answers) if reader.trains else ({}, {})
            except V2XumError as error:
                item = Rejected(video_id, item.place, str(error))
        if isinstance(item, Rejected):
            report.rejected.append(item)
            if settings.strict:
                raise StrictStop(f"{report.source}: {item}")
            continue
        places[video_id] = item.place
        report.annotations += 1
        report.missing += [{"id": video_id, "task": task, "reason": why} for task, why in missing.items()]
        if item.clipped:
            report.clipped[video_id] = item.clipped
        yield item, by_task


def _file_names(annotation: Annotation) -> set[str | None]:
    """What the video's file may be called."""
    return {annotation.video_id, None if annotation.keyshots is None else annotation.keyshots.video_name}
