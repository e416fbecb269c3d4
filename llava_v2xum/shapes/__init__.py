"""A rendered world of moving shapes: real video files whose every frame is known exactly.

A clip is a dim, drifting, noisy background in front of which 1 to 5 events happen: one coloured shape
crosses the top, the middle or the bottom of the picture. The demo checkpoint is trained and measured on
such clips. Neither torch nor llava is needed.
"""

from pathlib import Path

from .draw import Painter, draw_frame, draw_frames
from .render import write_clip
from .truth import answer_of, instruct_records, truth_record, videoxum_record
from .world import COLORS, PLACES, SHAPES, Clip, Event, event_visible, make_clip, sentence_of, truth_frames

DEMO_CHECKPOINT = Path(__file__).with_name("checkpoint")  # the demo, which knows only this world
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
