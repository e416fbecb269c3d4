"""One visitor's video -> the page of its summary, told stage by stage."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

from ...core.atomic import write_whole
from ...core.tasks import ALL
from ...media.figures import time_label
from ...media.formats import DEFAULT_FORMATS
from ...media.page.source import COPY_SECONDS
from ...media.page.video_page import Made, frames_shown, in_order, write_video_page
from ...media.render import JSON, to_json
from ...media.video import VideoError, probe_video
from ..protocols import VideoSummarizer
from ..video_summary import VideoSummary
from ..writing import write_or_warn
from .visits import SUMMARY, UPLOAD

LOOK_SECONDS = 0.2  # how often is looked at how far it is
# the parts of `Summarizer.seconds` that are over, and what is done then
STAGES = (("encode", "Writing the summary"), ("read", "Encoding the frames"))


def take_in(upload: Path, folder: Path) -> Path:
    """Put a video that came by the browser into the visit's folder, under its own name."""
    name = upload.name if upload.suffix else f"{upload.name}.mp4"
    video = folder / UPLOAD / name
    shutil.copyfile(upload, video)
    return video


def check_length(video: Path, most_seconds: float) -> None:
    """Refuse what is too long.

    Raises:
        VideoError: for this and for what is no video; it names the file without its folder.
    """
    try:
        probed = probe_video(video)
    except VideoError as error:
        raise VideoError(without_folders(str(error), video)) from error
    if probed is None:  # only decoding all of it would tell
        raise VideoError(f"{video.name}: the file does not tell how long it is, or is damaged")
    if (seconds := probed.duration_seconds) > most_seconds:
        raise VideoError(f"{video.name} lasts {time_label(seconds)}, and at most {time_label(most_seconds)} is taken")


def summarized(
    summarizer: VideoSummarizer, video: Path, task: str, **options: Any
) -> Generator[str, None, dict[str, VideoSummary]]:
    """Summarize a video.

    Args:
        options: `AnswerOptions`.

    Yields:
        What is being done now, whenever that changes.

    Returns:
        the summaries by their tasks.

    Raises:
        V2XumError: what the summarizer raises.
    """
    outcome: list[Any] = []

    def work() -> None:
        try:
            outcome.append(next(iter(summarizer.summarize_many([video], task, workers=1, **options))))
        except BaseException as error:  # raised where the visitor waits
            outcome.append(error)

    before = dict(summarizer.seconds)
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    told = ""
    while thread.is_alive():
        over = {name for name, seconds in dict(summarizer.seconds).items() if seconds > before.get(name, 0.0)}
        stage = next((stage for part, stage in STAGES if part in over), "Reading the video")
        if stage != told:
            told = stage
            yield stage
        thread.join(LOOK_SECONDS)
    (made,) = outcome
    if isinstance(made, VideoError):
        raise VideoError(without_folders(str(made), video)) from made
    if isinstance(made, BaseException):
        raise made
    return made if task == ALL else {task: made}


def write_summary(folder: Path, summaries: dict[str, VideoSummary], records: dict[str, dict]) -> Path:
    """Write the files and the page of a visit, which tell nothing of where they lie.

    Args:
        records: of the summaries, by their tasks.

    Returns:
        the page.
    """
    made, warnings = {}, []
    for task, record in records.items():
        made[task] = Made(record, folder / SUMMARY / task)
        frames = summaries[task].thumbnails
        warnings += [*write_or_warn(record, frames, made[task].folder, DEFAULT_FORMATS)]
        video = Path(record["video"])
        write_whole(made[task].folder / JSON.file_name, to_json({**record, "video": video.name}))
        warnings += summaries[task].warnings
    tabs, thumbnails = in_order(made), next(iter(summaries.values())).thumbnails
    told = [without_folders(warning, video) for warning in dict.fromkeys(warnings)]
    shown = {number: thumbnails[number] for number in frames_shown(tabs)}
    return write_video_page(tabs, shown, None, told, COPY_SECONDS)[0]


def without_folders(message: str, video: Path) -> str:
    """A message for a visitor: the video by its name."""
    return message.replace(str(video), video.name).replace(f"{video.parent}{os.sep}", "")
