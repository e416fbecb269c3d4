"""Files that hold neither predictions nor annotations and are given for them all the same, and what takes them."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.data_sets import FileKind, FirstLook

REPORT_JSON = "report.json"  # of a report's folder, which has a table per_video.csv too
_VIDEOS = (".mp4", ".mkv", ".webm", ".avi", ".mov")  # the usual ones: a guess at what a folder is, for an error alone


@dataclass(frozen=True, kw_only=True)
class OtherFile(FileKind):
    """A kind of such files.

    Args:
        what: for people, such as "a report".
        taken_by: the commands that take it.
    """

    what: str
    taken_by: tuple[str, ...]


def _looks_video(look: FirstLook) -> bool:
    return look.path.suffix.lower() in _VIDEOS or any(look.has_files(f"*{ending}") for ending in _VIDEOS)


def _looks_report(look: FirstLook) -> bool:
    content = look.content if look.ending == ".json" and isinstance(look.content, dict) else {}
    return look.has_files(REPORT_JSON) or content.keys() >= {"dataset", "system", "facts", "rows"}


OTHER_FILES = (
    OtherFile(
        what="a report",
        looks=_looks_report,
        sign=f"its {REPORT_JSON}, or what one has in it",
        taken_by=("evaluate tables", "merge --report"),
    ),
    OtherFile(
        what="splits",
        looks=lambda look: look.is_json(list, "test_keys"),
        sign="the test_keys of its first entry",
        taken_by=("evaluate tvsum --splits", "evaluate summe --splits"),
    ),
    OtherFile(
        what="instruction JSON",
        looks=lambda look: look.is_json(list, "id", "conversations"),
        sign="the id and conversations of its first entry",
        taken_by=("train --data_path", "drafting"),
    ),
    OtherFile(
        what="frame features",
        looks=lambda look: look.has_files("features.json"),
        sign="its features.json",
        taken_by=("infer --features", "train --feature_folder"),
    ),
    OtherFile(
        what="videos",
        looks=_looks_video,
        sign="the ending, its own or of files in it",
        taken_by=("infer", "evaluate DATASET --videos"),
    ),
)
