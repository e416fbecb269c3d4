"""A rendered world of moving shapes: real video files whose every frame is known exactly.

A clip is a dim, drifting, noisy background in front of which 1 to 5 events happen: one coloured shape
crosses the top, the middle or the bottom of the picture. The demo checkpoint is trained and measured on
such clips. Neither torch nor llava is needed, and PyAV and Pillow where pixels are made alone.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from ..core.lazy import names_of
from .truth import answer_of, instruct_records, truth_record, videoxum_record
from .world import COLORS, PLACES, SHAPES, Clip, Event, event_visible, make_clip, sentence_of, truth_frames

if TYPE_CHECKING:
    from .draw import Painter, draw_frame, draw_frames
    from .render import write_clip

DEMO_CHECKPOINT = Path(__file__).with_name("checkpoint")  # the demo, which knows only this world
DEMO_CLIP = Path(__file__).parent / "clips" / "demo.mp4"
CLIP_FOLDER = Path(__file__).with_name("clip")  # a small CLIP of this world, for the evaluators

__all__ = [
    "CLIP_FOLDER",
    "COLORS",
    "DEMO_CHECKPOINT",
    "PLACES",
    "SHAPES",
    "Clip",
    "Event",
    "Painter",
    "answer_of",
    "draw_frame",
    "draw_frames",
    "event_visible",
    "instruct_records",
    "make_clip",
    "sentence_of",
    "truth_frames",
    "truth_record",
    "videoxum_record",
    "write_clip",
]

__getattr__ = names_of(
    __name__, {"Painter": "draw", "draw_frame": "draw", "draw_frames": "draw", "write_clip": "render"}
)
