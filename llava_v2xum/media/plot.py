"""A summary as a picture: importance over time, and under it what is cited, in pictures and sentences."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..core.atomic import replacing
from ..core.errors import V2XumError
from ..core.spans import frame_spans, key_frame_of, relative_importance
from .cut import cited_spans
from .figures import Group, groups_of, time_label
from .file_format import FileFormat

COLUMNS = 5  # of pictures
MAX_SHOWN = 15  # parts of the summary: three rows of pictures
TEXT_WIDTH, MAX_LINES = 30, 4  # characters and lines of a sentence under its picture
CURVE_INCHES, ROW_INCHES, WIDTH_INCHES = 2.6, 2.2, 10.0
CURVE, CITED = "#1a5fb4", "#f6b26b"


def draw_importance(record: dict, frames: np.ndarray, path: str | Path | BinaryIO) -> None:
    """Plot how important each frame is beside the most important one, over the video's time, as PNG.

    What the summary cites is marked, numbered, and shown under the curve: a picture of each part, its time and its
    sentence.

    Args:
        record: a summary record (`render.make_record`); without importance what is cited is marked alone.
        frames: uint8 [N, H, W, 3], RGB, upright.
        path: a file name, or an open binary file.

    Raises:
        V2XumError: if there are not N frames.
        ImportError: if matplotlib is missing; it gives the pip command.
    """
    if len(frames) != record["num_frames"]:
        raise V2XumError(f"{record['video']}: expected {record['num_frames']} frames for the plot, got {len(frames)}")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('the importance plot needs matplotlib: pip install "llava_v2xum[model]"') from error
    groups = [group for group in groups_of(record) if group.frames]
    rows = -(-min(len(groups), MAX_SHOWN) // COLUMNS)
    figure = Figure(figsize=(WIDTH_INCHES, CURVE_INCHES + ROW_INCHES * rows), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)  # the Agg object API: pyplot would keep state for the whole process
    grid = figure.add_gridspec(1 + rows, COLUMNS, height_ratios=[CURVE_INCHES, *[ROW_INCHES] * rows])
    _draw_curve(figure.add_subplot(grid[0, :]), record, groups)
    for number, group in enumerate(groups[:MAX_SHOWN]):
        axes = figure.add_subplot(grid[1 + number // COLUMNS, number % COLUMNS])
        _draw_part(axes, record, frames, number, group)
    if len(groups) > MAX_SHOWN:
        figure.supxlabel(f"+{len(groups) - MAX_SHOWN} more parts of the summary", fontsize=9)
    figure.savefig(path, format="png")


def _draw_curve(axes: Any, record: dict, groups: list[Group]) -> None:
    duration = record["duration_seconds"]
    for start, end in cited_spans(record):
        axes.axvspan(start, end, color=CITED, alpha=0.45, lw=0)
    spans = frame_spans(record["frame_seconds"], duration)
    if steps := relative_importance(record["importance"], record["frame_seconds"], duration):
        edges = [*(start for (start, _), _ in steps), max(duration, steps[-1][0][1])]
        axes.stairs([height for _, height in steps], edges, fill=True, color=CURVE)
    axes.set_ylim(0, 1.18)  # the numbers stand above the highest
    axes.set_yticks([0, 0.5, 1])
    axes.set_ylabel("relative importance")
    for number, group in enumerate(groups[:MAX_SHOWN], 1):
        middle = (spans[group.frames[0][0]][0] + spans[group.frames[0][-1]][1]) / 2
        axes.text(middle, 1.15, str(number), ha="center", va="top", fontsize=9, fontweight="bold")
    axes.set_xlim(0, duration)
    axes.set_xlabel("time (s)" if duration < 120 else "time (m:ss)")
    if duration >= 120:
        axes.xaxis.set_major_locator(_minutes(duration))
        axes.xaxis.set_major_formatter(lambda second, _: time_label(second))
    axes.set_title(f"{record['video_id']}: {record['task'].upper()} summary", loc="left", fontsize=11, parse_math=False)
    axes.set_title("shaded: cited by the summary", loc="right", fontsize=9, color="#555")
    axes.spines[["top", "right"]].set_visible(False)


def _draw_part(axes: Any, record: dict, frames: np.ndarray, number: int, group: Group) -> None:
    """A part of the summary: its key frame, when it is, and what is said of it."""
    axes.imshow(frames[key_frame_of(group.frames[0], record["importance"])])
    axes.set_axis_off()
    more = f" +{len(group.times) - 1}" if len(group.times) > 1 else ""
    axes.set_title(f"{number + 1}  {group.times[0]}{more}", loc="left", fontsize=8, parse_math=False)
    lines = textwrap.wrap(group.text, TEXT_WIDTH, max_lines=MAX_LINES, placeholder=" ...")
    axes.text(0, -0.04, "\n".join(lines), transform=axes.transAxes, va="top", fontsize=8, parse_math=False)


def _minutes(duration_seconds: float) -> object:
    from matplotlib.ticker import MultipleLocator

    steps = (15, 30, 60, 120, 300, 600, 1200, 1800, 3600)
    return MultipleLocator(next((step for step in steps if duration_seconds / step <= 10), duration_seconds / 8))


def _write_plot(record: dict, frames: np.ndarray, path: Path) -> None:
    with replacing(path) as part:
        draw_importance(record, frames, part)


def _is_cited(record: dict) -> bool:
    return bool(record["frames"])


PLOT = FileFormat("importance.png", _write_plot, is_of=_is_cited, needs_frames=True, is_drawn=True, by_default=True)
