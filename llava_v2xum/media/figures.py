"""A summary as a picture: the sheet of its key frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..core.atomic import replacing
from ..core.citations import CitationGrammar
from ..core.errors import V2XumError
from ..core.spans import Span, frame_runs, key_frame_of
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
    whole, tenths = divmod(math.floor(seconds * 10 + 1e-5), 10)  # of one number, or 59.999999 is a minute and 0.9
    return f"{time_label(whole)}.{tenths}"


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
        spans: of each segment, in seconds.
    """

    text: str
    times: tuple[str, ...]
    frames: tuple[tuple[int, ...], ...]
    spans: tuple[Span, ...]


def groups_of(record: dict) -> list[Group]:
    """One group for each sentence; frames without text (VIDEO answers) give one for each segment of them."""
    groups = []
    for number, sentence in enumerate(record["sentences"]):
        segments = [segment for segment in record["segments"] if segment["sentence"] == number]
        for part in [segments] if sentence["text"] else ([segment] for segment in segments):
            times = tuple(_interval(segment) for segment in part)
            spans = tuple((segment["start_seconds"], segment["end_seconds"]) for segment in part)
            groups.append(Group(sentence["text"], times, tuple(tuple(segment["frames"]) for segment in part), spans))
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

    Each segment of a sentence shows one picture, and small ones of its other frames; of either at most MAX_PICTURES,
    evenly chosen. An answer that cites nothing shows its
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
            strips += _of_group(record, frames, group, columns, size)
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


def _of_group(record: dict, frames: np.ndarray, group: Group, columns: int, size: tuple[int, int]) -> list[Image.Image]:
    """One picture for each segment, and under them the rest, small: neighbours look much alike."""
    chosen = [key_frame_of(run, record["importance"]) for run in group.frames]
    strips = _pictures(record, frames, chosen, columns, size)
    rest = [frame for run, shown in zip(group.frames, chosen) for frame in run if frame != shown]
    if rest:
        small = max(12 // columns, 2)
        size = max(1, (size[0] - (small - 1) * GAP) // small), max(1, size[1] // small)
        strips += _pictures(record, frames, rest, columns * small, size, is_small=True)
    return strips


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
    record: dict,
    frames: np.ndarray,
    indices: Sequence[int],
    columns: int,
    size: tuple[int, int],
    is_small: bool = False,
) -> list[Image.Image]:
    """Rows of pictures, each a strip, the last with the number of those not shown; small ones tell their index only."""
    shown = evenly_chosen(indices, MAX_PICTURES)
    citations = CitationGrammar(digits=len(str(record["num_frames"] - 1)))
    font = ImageFont.load_default(12 if is_small else 16)
    pitch = (SHEET_WIDTH - 2 * MARGIN + GAP) // columns
    strips = []
    for first in range(0, len(shown), columns):
        strip = Image.new("RGB", (SHEET_WIDTH, GAP + size[1] + 24), BACKGROUND)
        draw = ImageDraw.Draw(strip)
        for column, index in enumerate(shown[first : first + columns]):
            left = MARGIN + column * pitch
            picture = Image.fromarray(frames[index]).resize(size, Image.Resampling.LANCZOS)
            strip.paste(picture, (left, GAP))
            below, cited = GAP + size[1] + 3, citations.write((index,))
            if is_small:
                draw.text((left, below), cited, fill=FAINT, font=font)
                continue
            draw.text((left, below), moment_label(record["frame_seconds"][index]), fill=INK, font=font)
            draw.text((left + size[0], below), cited, fill=FAINT, font=font, anchor="ra")
        strips.append(strip)
    if len(indices) > len(shown):
        strips.append(_lines([(f"+{len(indices) - len(shown)} more cited frames", 18, FAINT)], top=4))
    return strips


def _write_sheet(record: dict, frames: np.ndarray, path: Path) -> None:
    with replacing(path) as part:
        draw_sheet(record, frames).save(part, format="PNG")


SHEET = FileFormat("keyframes.png", _write_sheet, needs_frames=True, is_drawn=True, by_default=True)
