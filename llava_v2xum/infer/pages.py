"""The pages of a run: which are to be written, of what, and when; `media/page` writes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..core.errors import V2XumError
from ..core.tasks import TASKS
from ..media.file_format import PAGE_NAME
from ..media.page.again import read_shown
from ..media.page.run_page import write_run_page
from ..media.page.video_page import Made, frames_shown, in_order, write_video_page
from ..media.render import JSON, completed, record_in
from .results import FILE_NAME, ResultFolder


@dataclass(frozen=True)
class PageOf:
    """The page of one video, to be written.

    Attributes:
        made: its summaries.
        run_page: of the run.
        copy_seconds: the longest video of which a copy is made where browsers do not play it.
        frames: uint8 [H, W, 3] by their numbers; None: to be read from the video.
        warnings: what was wrong with the video.
    """

    made: Sequence[Made]
    run_page: Path
    copy_seconds: float
    frames: Mapping[int, np.ndarray] | None = None
    warnings: tuple[str, ...] = ()

    def write(self) -> Iterator[str]:
        """Write it.

        Yields:
            Warnings.
        """
        frames, warnings = self.frames, self.warnings
        if frames is None:
            frames, warnings = read_shown(self.made)
            if not frames:
                yield f"{self.made[0].record['video']}: its page lacks pictures: {warnings[0]}"
        write_video_page(self.made, frames, self.run_page, warnings, self.copy_seconds)

    def without_copy(self) -> PageOf:
        """The same, where making the copy ended the process that made it."""
        return replace(self, copy_seconds=0.0)


def page_of(
    results: Mapping[str, ResultFolder],
    records: Mapping[str, dict],
    run_page: Path,
    copy_seconds: float,
    thumbnails: np.ndarray | None = None,
    warnings: tuple[str, ...] = (),
) -> PageOf | None:
    """The page of a video, if anything of it can be shown.

    Args:
        results: the folder of each task of the run.
        records: of the video, by their tasks; those of older releases that lack what is shown are left out.
        thumbnails: uint8 [N, h, w, 3]; None: pictures are to be read from the video.
    """
    found = ((task, _shown(record, results[task])) for task, record in records.items())
    tabs = in_order({task: made for task, made in found if made is not None})
    if not tabs:
        return None
    frames = None if thumbnails is None else {number: thumbnails[number] for number in frames_shown(tabs)}
    return PageOf(tabs, run_page, copy_seconds, frames, warnings)


def _shown(record: dict, results: ResultFolder) -> Made | None:
    """A record with its folder; None where an older release wrote less than is shown."""
    try:
        return Made(completed(record), results.folder_of(record["video_id"]))
    except V2XumError:
        return None


def made_in(folder: Path, target: Path | None = None) -> tuple[Path, dict[str, Made]]:
    """The output folder that a video's folder belongs to, and the summaries of the video: where a run made those of all
    tasks, the other ones too.

    Args:
        folder: of a video.
        target: an output folder, whatever its name is: what lies above it is somebody else's. None: names tell, and
            whether there is a page of a run.

    Raises:
        V2XumError: naming the file, if one is no record.
    """
    folder = folder.absolute()
    first = Made(record_in(folder / JSON.file_name), folder)
    task = first.record["task"]
    is_output = folder.parent == target.absolute() if target else (folder.parent / PAGE_NAME).exists()
    if folder.parent.name != task or is_output:
        return folder.parent, {task: first}
    root, made = folder.parent.parent, {task: first}
    for other in TASKS:
        beside = root / other / folder.name
        if other != task and (beside / JSON.file_name).is_file():
            made[other] = Made(record_in(beside / JSON.file_name), beside)
    return root, made


def results_of(root: Path) -> dict[str, ResultFolder]:
    """What an output folder holds, by task; "" stands for the only one."""
    of_tasks = {task: ResultFolder(root / task) for task in TASKS if (root / task / FILE_NAME).is_file()}
    return of_tasks or {"": ResultFolder(root)}


def lacks_page(results: Mapping[str, ResultFolder], video_id: str) -> bool:
    """Whether a page of a video that is done is missing: it was left out, or the run was killed before it."""
    return not all((one.folder_of(video_id) / PAGE_NAME).exists() for one in results.values())


def write_page_of_run(folder: Path, results: Mapping[str, ResultFolder], failures: Sequence[str]) -> Path:
    """Write the page of all that an output folder holds, in the order in which it came.

    Records of older releases that lack what is shown are counted and left out.
    """
    videos: dict[str, dict[str, Made]] = {}
    old = 0
    for one in results.values():
        for video_id, record in one.records().items():
            made = _shown(record, one)
            if made is None:
                old += 1
            else:
                videos.setdefault(video_id, {})[record["task"]] = made
    return write_run_page(folder, list(videos.values()), failures, old)
