"""What happens in a clip: its size, its clock and its events, all from (seed, index).

Frame numbers are those of the file, from 0 to total_frames - 1; an interval of frames or seconds is half
open, [start, end). Pixels: x to the right, y down, (0, 0) the upper left corner of the picture; a shape's
polygon is given for diameter 1 about (0, 0).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core.errors import V2XumError
from ..core.timeline import Timeline

SHAPES = ("circle", "square", "triangle", "star")
COLORS = {  # RGB; far apart from one another and brighter than any background
    "red": (220, 40, 40),
    "green": (45, 180, 60),
    "blue": (45, 95, 240),
    "yellow": (245, 220, 40),
    "purple": (165, 50, 200),
    "white": (240, 240, 240),
}
PLACES = {"top": 0.22, "middle": 0.5, "bottom": 0.78}  # the shape's centre as a part of the picture's height

SIZES = (  # (width, height): even for yuv420p, aspect 3:4 to 16:9, small so that a clip renders in seconds
    (128, 96),
    (160, 120),
    (176, 144),
    (192, 108),
    (256, 144),
    (240, 180),
    (320, 240),
    (144, 144),
    (120, 160),
    (180, 240),
)
RATES = (8, 10, 12, 15, 24, 25, 30)
DURATION_SECONDS = (20.0, 120.0)
MAX_FRAMES = 960  # 120 s at 8 fps, 32 s at 30 fps: keeps a clip's rendering to about a second

MAX_EVENTS = 5
EVENT_FRAMES = (3, 12)  # how many of the N sampled frames show one event
MAX_CITED = 40  # of the N sampled frames, over all events of a clip
MIN_DULL = 4  # sampled frames of bare background around each event: at least 2 % of the clip on either side
NOISE_SIGMA = (0.0, 8.0)  # grey levels
MAX_ANGLE = 12.0  # degrees either way: a square must not near a diamond
MAX_DRIFT = 32  # pixels that the camera may wander over a clip, each way

_LAYOUT = Timeline()  # events are laid out on the paper's clock of N = 100


def _star_points() -> tuple[tuple[float, float], ...]:
    """Ten corners of a five-pointed star; the inner radius is what keeps the points apart at 12 pixels."""
    points = []
    for corner in range(10):
        radius = 0.58 if corner % 2 == 0 else 0.25
        turn = math.pi * corner / 5
        points.append((radius * math.sin(turn), -radius * math.cos(turn)))
    return tuple(points)


POLYGONS: dict[str, tuple[tuple[float, float], ...]] = {  # the circle has none
    "square": ((-0.42, -0.42), (0.42, -0.42), (0.42, 0.42), (-0.42, 0.42)),
    "triangle": ((0.0, -0.48), (0.54, 0.48), (-0.54, 0.48)),
    "star": _star_points(),
}


@dataclass(frozen=True)
class Event:
    """One shape that crosses the picture: it is there in the frames [start_frame, end_frame) and in no other.

    Its centre goes from (start_x, y) in its first frame to (end_x, y) in its last at constant speed while it
    turns from start_angle to end_angle (degrees); `rgb` is its colour with this event's own slight shift.
    """

    shape: str
    color: str
    place: str
    start_frame: int
    end_frame: int
    start_x: float
    end_x: float
    y: float
    diameter: float
    start_angle: float
    end_angle: float
    rgb: tuple[int, int, int]

    @property
    def sentence(self) -> str:
        """What the event is told as: `A red circle moves across the top.`"""
        return sentence_of(self.shape, self.color, self.place)


@dataclass(frozen=True)
class Clip:
    """All that decides a clip's pixels; `draw.Painter` makes them.

    `tint` is the background's mean RGB, `contrast` the grey levels it varies by, `drift_start` and
    `drift_end` where the camera's window lies on the background (x, y, pixels) in the first and last frame.
    """

    video_id: str
    seed: int
    index: int
    width: int
    height: int
    fps: int
    total_frames: int
    events: tuple[Event, ...]
    tint: tuple[int, int, int]
    contrast: float
    noise_sigma: float
    drift_start: tuple[int, int]
    drift_end: tuple[int, int]

    @property
    def duration_seconds(self) -> float:
        """total_frames / fps."""
        return self.total_frames / self.fps


def sentence_of(shape: str, color: str, place: str) -> str:
    """The sentence of one of the 4 * 6 * 3 kinds of event."""
    return f"A {color} {shape} moves across the {place}."


def rotated_polygon(shape: str, angle: float) -> np.ndarray:
    """The corners of a polygon of diameter 1 about (0, 0), turned by `angle` degrees: float64 [P, 2]."""
    turn = math.radians(angle)
    matrix = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    return np.asarray(POLYGONS[shape]) @ matrix


def shape_reach(shape: str, angle: float) -> tuple[float, float]:
    """How far a shape of diameter 1 reaches from its centre, sideways and up or down."""
    if shape == "circle":
        return 0.5, 0.5
    reach = np.abs(rotated_polygon(shape, angle)).max(axis=0)
    return float(reach[0]), float(reach[1])


def make_clip(seed: int, index: int) -> Clip:
    """Clip number `index` of the series `seed`; the same two numbers always give the same clip.

    Raises:
        V2XumError: if either number is negative.
    """
    if seed < 0 or index < 0:
        raise V2XumError(f"seed and index must not be negative, got seed {seed}, index {index}")
    rng = np.random.default_rng([seed, index])
    width, height = SIZES[rng.integers(len(SIZES))]
    fps = RATES[rng.integers(len(RATES))]
    shortest, longest = DURATION_SECONDS
    total_frames = round(rng.uniform(shortest, min(longest, MAX_FRAMES / fps)) * fps)
    drift = rng.integers(0, MAX_DRIFT + 1, size=(2, 2)).tolist()
    grey = rng.uniform(30, 65)
    tint = np.clip(grey + rng.uniform(-18, 18, size=3), 18, 80)
    contrast = float(rng.uniform(5, 14))
    noise_sigma = float(rng.uniform(*NOISE_SIGMA))

    events: list[Event] = []
    for start_frame, end_frame in event_spans(rng, total_frames):
        events.append(make_event(rng, events, start_frame, end_frame, width, height))
    return Clip(
        video_id=f"shapes_{seed}_{index:04d}",
        seed=seed,
        index=index,
        width=width,
        height=height,
        fps=fps,
        total_frames=total_frames,
        events=tuple(events),
        tint=(int(tint[0]), int(tint[1]), int(tint[2])),
        contrast=contrast,
        noise_sigma=noise_sigma,
        drift_start=tuple(drift[0]),
        drift_end=tuple(drift[1]),
    )


def event_spans(rng: np.random.Generator, total_frames: int) -> list[tuple[int, int]]:
    """The half-open frame intervals of a clip's events, laid out on the N sampled frames first.

    The exact edges are drawn between the sampled frames on either side, so that they fall on no grid.
    """
    low, high = EVENT_FRAMES
    count = int(rng.integers(1, MAX_EVENTS + 1))
    lengths = rng.integers(low, high + 1, size=count)
    while lengths.sum() > MAX_CITED:
        lengths = rng.integers(low, high + 1, size=count)
    spare = _LAYOUT.num_frames - int(lengths.sum()) - MIN_DULL * (count + 1)
    cuts = np.sort(rng.integers(0, spare + 1, size=count))
    dull = MIN_DULL + np.diff(cuts, prepend=0)  # the dull sampled frames before each event

    sampled = _LAYOUT.sample(total_frames)
    spans, at = [], 0
    for before, length in zip(dull.tolist(), lengths.tolist(), strict=True):
        first = at + before
        at = first + length
        start_frame = int(rng.integers(sampled[first - 1] + 1, sampled[first] + 1))
        end_frame = int(rng.integers(sampled[at - 1] + 1, sampled[at] + 1))
        spans.append((start_frame, end_frame))
    return spans


def _event_kind(rng: np.random.Generator) -> tuple[str, str, str]:
    """One of the 72 (shape, color, place), all equally likely."""
    shape = SHAPES[rng.integers(len(SHAPES))]
    color = list(COLORS)[rng.integers(len(COLORS))]
    place = list(PLACES)[rng.integers(len(PLACES))]
    return shape, color, place


def make_event(
    rng: np.random.Generator,
    events: Sequence[Event],
    start_frame: int,
    end_frame: int,
    width: int,
    height: int,
) -> Event:
    """An event of another kind than the last, drawn so that the whole shape stays inside the picture in every frame."""
    shape, color, place = _event_kind(rng)
    while events and sentence_of(shape, color, place) == events[-1].sentence:
        shape, color, place = _event_kind(rng)
    angles = (0.0, 0.0) if shape == "circle" else tuple(rng.uniform(-MAX_ANGLE, MAX_ANGLE, size=2).tolist())
    # Between -MAX_ANGLE and MAX_ANGLE, every shape reaches furthest at one end of its turn or at 0.
    reaches = [shape_reach(shape, angle) for angle in (*angles, 0.0)]
    reach_x, reach_y = max(reach[0] for reach in reaches), max(reach[1] for reach in reaches)

    y = height * (PLACES[place] + rng.uniform(-0.015, 0.015))
    room = min(y, height - y) - 1
    diameter = min(rng.uniform(0.32, 0.42) * min(width, height), room / reach_y)
    edge = max(0.15 * width, diameter * reach_x + 1)
    start_x, end_x = (edge, width - edge) if rng.random() < 0.5 else (width - edge, edge)
    rgb = np.clip(np.array(COLORS[color]) + rng.integers(-12, 13, size=3), 0, 255)
    return Event(
        shape=shape,
        color=color,
        place=place,
        start_frame=start_frame,
        end_frame=end_frame,
        start_x=float(start_x),
        end_x=float(end_x),
        y=float(y),
        diameter=float(diameter),
        start_angle=angles[0],
        end_angle=angles[1],
        rgb=tuple(rgb.tolist()),
    )


def event_visible(clip: Clip, frame_index: int) -> Event | None:
    """The event that frame `frame_index` of the file shows, or None for bare background."""
    for event in clip.events:
        if event.start_frame <= frame_index < event.end_frame:
            return event
    return None


def truth_frames(clip: Clip, event: Event, timeline: Timeline = _LAYOUT) -> tuple[int, ...]:
    """The indexes of the N sampled frames that show the event, ascending."""
    sampled = timeline.sample(clip.total_frames)
    shown = (sampled >= event.start_frame) & (sampled < event.end_frame)
    return tuple(np.flatnonzero(shown).tolist())
