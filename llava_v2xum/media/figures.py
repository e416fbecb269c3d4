"""A summary as pictures: the sheet of key frames, and the plot of importance over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..core.atomic import replacing
from ..core.citations import CitationGrammar
from ..core.errors import V2XumError
from ..core.spans import frame_runs, frame_spans
from .cut import clip_spans
from .file_format import FileFormat

MAX_PICTURES = 12  # for one sentence
MAX_TIMES = 12  # over one sentence
MAX_GROUPS = 30  # a runaway answer must not give a sheet that no viewer opens
SHEET_WIDTH = 1280
MARGIN = 24
GAP = 10
PICTURE_HEIGHT_LIMIT = 360  # portrait pictures get narrower columns instead
BACKGROUND, INK, FAINT, ACCENT = (255, 255, 255), (28, 32, 38), (105, 112, 122), (26, 95, 180)


def time_label(seconds: float) -> str:
    """Seconds as m:ss, or h:mm:ss from an hour on; rounded down."""
    whole = math.floor(seconds + 1e-6)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def moment_label(seconds: float) -> str:
    """Seconds with their tenths, rounded down: 2.84 -> `0:02.8`."""
    return f"{time_label(seconds)}.{int(seconds * 10 + 1e-6) % 10}"


def frame_ranges(frames: Sequence[int], digits: int = 2) -> str:
    """Frame indexes for people: (12, 13, 14, 40) -> `12-14, 40`."""
    ends = [(run[0], run[-1]) for run in frame_runs(frames)]
    return ", ".join(f"{a:0{digits}d}" if a == b else f"{a:0{digits}d}-{b:0{digits}d}" for a, b in ends)


@dataclass(frozen=True)
class Group:
    """What is shown together: a sentence, or one part of the video where there is none.

    Args:
        text: empty for frames alone.
        times: of its segments, ascending; empty if nothing is cited.
        frames: of each segment, ascending.
    """

    text: str
    times: tuple[str, ...]
    frames: tuple[tuple[int, ...], ...]


def groups_of(record: dict) -> list[Group]:
    """One group for each sentence; frames without text (VIDEO answers) give one for each segment of them."""
    groups = []
    for number, sentence in enumerate(record["sentences"]):
        segments = [segment for segment in record["segments"] if segment["sentence"] == number]
        for part in [segments] if sentence["text"] else ([segment] for segment in segments):
            times = tuple(_interval(segment) for segment in part)
            groups.append(Group(sentence["text"], times, tuple(tuple(segment["frames"]) for segment in part)))
    return groups


def _interval(segment: dict) -> str:
    return f"{moment_label(segment['start_seconds'])}-{moment_label(segment['end_seconds'])}"


def evenly_chosen(items: Sequence[int], count: int) -> list[int]:
    """At most `count` of the items, evenly spaced, with the first and the last."""
    if len(items) <= count:
        return list(items)
    return [items[i] for i in np.linspace(0, len(items) - 1, count).round().astype(int)]


def draw_sheet(record: dict, frames: np.ndarray) -> Image.Image:
    """Draw the key frames of a summary, sentence by sentence, each picture with its frame index and time.

    A sentence shows at most MAX_PICTURES of its frames, evenly chosen. An answer that cites nothing shows its
    text and evenly spaced frames of the video, labelled as such.

    Args:
        record: a summary record (`render.make_record`).
        frames: uint8 [N, H, W, 3], RGB, upright.

    Raises:
        V2XumError: if there are not N frames.
    """
    if len(frames) != record["num_frames"]:
        raise V2XumError(f"{record['video']}: expected {record['num_frames']} frames for the sheet, got {len(frames)}")
    columns, size = _grid(*frames.shape[1:3])
    strips = [_title(record)]
    if record["frames"]:
        groups = groups_of(record)
        for group in groups[:MAX_GROUPS]:
            strips.append(_words(_times(group), group.text))
            strips += _pictures(record, frames, [frame for run in group.frames for frame in run], columns, size)
        if len(groups) > MAX_GROUPS:
            strips.append(_words(f"+{len(groups) - MAX_GROUPS} more parts of the summary", ""))
    else:
        strips.append(_words("text summary", record["text"] or "(the answer is empty)"))
        shown = evenly_chosen(range(record["num_frames"]), MAX_PICTURES)
        strips.append(_words(f"the answer cites no frame; {len(shown)} evenly spaced frames of the video", ""))
        strips += _pictures(record, frames, shown, columns, size)
    sheet = Image.new("RGB", (SHEET_WIDTH, sum(strip.height for strip in strips) + MARGIN), BACKGROUND)
    top = 0
    for strip in strips:
        sheet.paste(strip, (0, top))
        top += strip.height
    return sheet


def _times(group: Group) -> str:
    more = len(group.times) - MAX_TIMES
    return ", ".join(group.times[:MAX_TIMES]) + (f", +{more} more" if more > 0 else "") or "no frame cited"


def _grid(height: int, width: int) -> tuple[int, tuple[int, int]]:
    """Columns, and the (width, height) of a picture: 4 columns, more where pictures are upright."""
    for columns in (4, 6, 8, 12):
        picture_width = (SHEET_WIDTH - 2 * MARGIN - (columns - 1) * GAP) // columns
        picture_height = max(1, round(picture_width * height / width))
        if picture_height <= PICTURE_HEIGHT_LIMIT:
            break
    shrink = min(1.0, PICTURE_HEIGHT_LIMIT / picture_height)
    return columns, (max(1, round(picture_width * shrink)), max(1, round(picture_height * shrink)))


def _title(record: dict) -> Image.Image:
    duration = f"{record['duration_seconds']:.1f} s" if record["duration_seconds"] < 60 else None
    detail = f"{duration or time_label(record['duration_seconds'])}, {record['task'].upper()} summary"
    cited = f", {len(record['frames'])} of {record['num_frames']} frames cited" if record["frames"] else ""
    return _lines([(record["video_id"], 30, INK), (detail + cited, 18, FAINT)], top=MARGIN)


def _words(label: str, text: str) -> Image.Image:
    return _lines([(label, 18, ACCENT), (text, 24, INK)], top=MARGIN)


def _lines(texts: Sequence[tuple[str, int, tuple[int, int, int]]], top: int) -> Image.Image:
    """A strip of wrapped lines of (text, size, colour)."""
    wrapped = []
    for text, size, colour in texts:
        font = ImageFont.load_default(size)
        wrapped += [(line, font, size, colour) for line in _wrap(text, font, SHEET_WIDTH - 2 * MARGIN)]
    strip = Image.new("RGB", (SHEET_WIDTH, top + sum(round(size * 1.35) for _, _, size, _ in wrapped)), BACKGROUND)
    draw = ImageDraw.Draw(strip)
    for line, font, size, colour in wrapped:
        draw.text((MARGIN, top), line, fill=colour, font=font)
        top += round(size * 1.35)
    return strip


def _wrap(text: str, font: ImageFont.ImageFont, width: int) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
            continue
        while font.getlength(word) > width and len(word) > 1:  # a word longer than a line is broken
            fits = max(1, int(len(word) * width / font.getlength(word)) - 1)
            lines.append(word[:fits])
            word = word[fits:]
        lines.append(word)
    return lines


def _pictures(
    record: dict, frames: np.ndarray, indices: Sequence[int], columns: int, size: tuple[int, int]
) -> list[Image.Image]:
    """Rows of pictures, each a strip, the last with the number of those not shown."""
    shown = evenly_chosen(indices, MAX_PICTURES)
    citations = CitationGrammar(digits=len(str(record["num_frames"] - 1)))
    font = ImageFont.load_default(16)
    pitch = (SHEET_WIDTH - 2 * MARGIN + GAP) // columns
    strips = []
    for first in range(0, len(shown), columns):
        strip = Image.new("RGB", (SHEET_WIDTH, GAP + size[1] + 24), BACKGROUND)
        draw = ImageDraw.Draw(strip)
        for column, index in enumerate(shown[first : first + columns]):
            left = MARGIN + column * pitch
            picture = Image.fromarray(frames[index]).resize(size, Image.Resampling.LANCZOS)
            strip.paste(picture, (left, GAP))
            stamp = moment_label(record["frame_seconds"][index])
            draw.text((left, GAP + size[1] + 3), stamp, fill=INK, font=font)
            cited = (left + size[0], GAP + size[1] + 3)
            draw.text(cited, citations.write((index,)), fill=FAINT, font=font, anchor="ra")
        strips.append(strip)
    if len(indices) > len(shown):
        strips.append(_lines([(f"+{len(indices) - len(shown)} more cited frames", 18, FAINT)], top=4))
    return strips


def draw_importance(record: dict, path: str | Path | BinaryIO) -> None:
    """Plot the importance of every frame over the video's time, with the cited spans marked, as PNG.

    Args:
        record: a summary record (`render.make_record`); without importance the cited spans alone are drawn.
        path: a file name, or an open binary file.

    Raises:
        ImportError: if matplotlib is missing; it gives the pip command.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("the importance plot needs matplotlib: pip install matplotlib") from error
    figure = Figure(figsize=(10, 3.2), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)  # the Agg object API: pyplot would keep state for the whole process
    axes = figure.add_subplot()
    duration, cited = record["duration_seconds"], set(record["frames"])
    spans = frame_spans(record["frame_seconds"], duration)
    for number, (start, end) in enumerate(clip_spans(record)):
        axes.axvspan(start, end, color="#f6b26b", alpha=0.45, lw=0, label="cited frames" if not number else None)
    importance = record["importance"]
    if importance is not None:
        # Indexes that repeat a frame (a video of fewer than N) share its place: their probabilities add up.
        starts, first = np.unique([start for start, _ in spans], return_index=True)
        heights = np.add.reduceat(importance, first)
        edges = [*starts, max(duration, starts[-1])]
        axes.stairs(heights, edges, fill=True, color="#1a5fb4", label="importance")
        axes.set_ylim(0, max(heights.max() * 1.1, 1e-6))
    else:
        axes.set_yticks([])
        note = "no importance: the answer cites no frame" if not cited else "no importance"
        axes.text(0.5, 0.5, note, transform=axes.transAxes, ha="center", va="center", color="#555")
    axes.set_xlim(0, duration)
    axes.set_xlabel("time (s)" if duration < 120 else "time (m:ss)")
    if duration >= 120:
        axes.xaxis.set_major_locator(_minutes(duration))
        axes.xaxis.set_major_formatter(lambda second, _: time_label(second))
    axes.set_ylabel("importance (probability)")
    axes.set_title(f"{record['video_id']}: {record['task'].upper()} summary", loc="left", fontsize=11, parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    figure.savefig(path, format="png")


def _minutes(duration_seconds: float) -> object:
    from matplotlib.ticker import MultipleLocator

    steps = (15, 30, 60, 120, 300, 600, 1200, 1800, 3600)
    return MultipleLocator(next((step for step in steps if duration_seconds / step <= 10), duration_seconds / 8))


def _write_sheet(record: dict, frames: np.ndarray, path: Path) -> None:
    with replacing(path) as part:
        draw_sheet(record, frames).save(part, format="PNG")


def _write_plot(record: dict, frames: np.ndarray, path: Path) -> None:
    with replacing(path) as part:
        draw_importance(record, part)


SHEET = FileFormat("keyframes.png", _write_sheet, needs_frames=True, is_drawn=True, by_default=True)
PLOT = FileFormat("importance.png", _write_plot, is_drawn=True, by_default=True)
