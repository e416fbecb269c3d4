"""A clip's pixels: any frame alone, without those before it.

T: frames, H: height, W: width of the clip in pixels. Pictures are uint8 RGB.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from .world import MAX_DRIFT, Clip, Event, rotated_polygon, shape_reach
from .world import event_visible as _event_visible

_SUPERSAMPLE = 4  # 16 samples a pixel for the shapes' edges
_NOISE_MARGIN = 48  # each frame takes one of 49 * 49 windows of the clip's noise
_TEXTURE_STREAM, _FRAME_STREAM = 1, 2  # third word of the random seeds; `make_clip` uses two words


class Painter:
    """Draws the frames of one clip; holds its background and its noise.

    Drawing fresh normal noise for each frame would take most of the time, so each frame takes its own random
    window of one larger field.
    """

    def __init__(self, clip: Clip) -> None:
        self.clip = clip
        rng = np.random.default_rng([clip.seed, clip.index, _TEXTURE_STREAM])
        self._background = _smooth_texture(rng, clip)
        shape = (clip.height + _NOISE_MARGIN, clip.width + _NOISE_MARGIN, 3)
        noise = rng.standard_normal(shape, dtype=np.float32) * np.float32(clip.noise_sigma)
        self._noise = np.rint(noise).astype(np.int16)

    def draw(self, frame_index: int) -> np.ndarray:
        """Frame `frame_index` of the file.

        Returns:
            uint8 [H, W, 3].

        Raises:
            IndexError: if the clip has no such frame.
        """
        clip = self.clip
        if not 0 <= frame_index < clip.total_frames:
            raise IndexError(
                f"{clip.video_id}: frame must be 0 to {clip.total_frames - 1}, got {frame_index}"
            )
        x, y = self._camera(frame_index)
        picture = self._background[y : y + clip.height, x : x + clip.width].copy()
        event = _event_visible(clip, frame_index)
        if event is not None:
            _blend_shape(picture, event, frame_index)
        rng = np.random.default_rng([clip.seed, clip.index, _FRAME_STREAM, frame_index])
        x, y = rng.integers(0, _NOISE_MARGIN + 1, size=2)
        picture += self._noise[y : y + clip.height, x : x + clip.width]
        return np.clip(picture, 0, 255, out=picture).astype(np.uint8)

    def _camera(self, frame_index: int) -> tuple[int, int]:
        """The upper left corner (x, y) of the camera's window on the background."""
        clip = self.clip
        part = frame_index / max(clip.total_frames - 1, 1)
        start, end = np.array(clip.drift_start), np.array(clip.drift_end)
        x, y = np.rint(start + (end - start) * part).astype(int)
        return int(x), int(y)


@lru_cache(maxsize=8)
def _painter(clip: Clip) -> Painter:
    return Painter(clip)


def draw_frame(clip: Clip, frame_index: int) -> np.ndarray:
    """Frame `frame_index` of a clip, uint8 [H, W, 3]; see `Painter.draw`."""
    return _painter(clip).draw(frame_index)


def draw_frames(clip: Clip, frame_indices: Iterable[int]) -> np.ndarray:
    """Several frames of a clip, in the order asked for.

    Returns:
        uint8 [T, H, W, 3].

    Raises:
        IndexError: if the clip lacks one of the frames.
    """
    painter = _painter(clip)
    frames = [painter.draw(int(index)) for index in frame_indices]
    return np.stack(frames) if frames else np.zeros((0, clip.height, clip.width, 3), np.uint8)


def _smooth_texture(rng: np.random.Generator, clip: Clip) -> np.ndarray:
    """A dim, low-contrast texture that the camera drifts over: int16 [H + MAX_DRIFT, W + MAX_DRIFT, 3]."""
    height, width = clip.height + MAX_DRIFT, clip.width + MAX_DRIFT
    cell = clip.height / 4  # pixels between the texture's random values: larger than any edge of a shape
    rows, columns = max(3, round(height / cell)), max(3, round(width / cell))
    light = rng.uniform(-1, 1, size=(rows, columns, 1))
    hue = rng.uniform(-0.3, 0.3, size=(rows, columns, 3))
    coarse = np.array(clip.tint) + clip.contrast * (light + hue)
    planes = [
        Image.fromarray(coarse[..., channel].astype(np.float32)).resize(
            (width, height), Image.Resampling.BICUBIC
        )
        for channel in range(3)
    ]
    texture = np.stack([np.asarray(plane) for plane in planes], axis=-1)
    return np.clip(np.rint(texture), 0, 255).astype(np.int16)


def shape_mask(event: Event, frame_index: int) -> tuple[np.ndarray, int, int]:
    """How much of each pixel the shape of an event covers.

    Returns:
        (mask float32 [h, w] in 0..1, left, top): the mask of the small window whose upper left pixel is
        (left, top).
    """
    part = (frame_index - event.start_frame) / max(event.end_frame - 1 - event.start_frame, 1)
    x = event.start_x + (event.end_x - event.start_x) * part
    angle = event.start_angle + (event.end_angle - event.start_angle) * part
    reach_x, reach_y = (event.diameter * reach for reach in shape_reach(event.shape, angle))
    left, top = int(np.floor(x - reach_x)), int(np.floor(event.y - reach_y))
    width = int(np.ceil(x + reach_x)) - left
    height = int(np.ceil(event.y + reach_y)) - top

    canvas = Image.new("L", (width * _SUPERSAMPLE, height * _SUPERSAMPLE))
    pen = ImageDraw.Draw(canvas)
    center = np.array([x - left, event.y - top]) * _SUPERSAMPLE - 0.5  # PIL counts from the pixels' centres
    scale = event.diameter * _SUPERSAMPLE
    if event.shape == "circle":
        pen.ellipse([*(center - scale / 2), *(center + scale / 2)], fill=255)
    else:
        corners = rotated_polygon(event.shape, angle) * scale + center
        pen.polygon([tuple(corner) for corner in corners.tolist()], fill=255)
    mask = np.asarray(canvas.reduce(_SUPERSAMPLE), dtype=np.float32) / 255
    return mask, left, top


def _blend_shape(picture: np.ndarray, event: Event, frame_index: int) -> None:
    """Draw the event's shape into int16 [H, W, 3] in place."""
    mask, left, top = shape_mask(event, frame_index)
    height, width = mask.shape
    window = picture[top : top + height, left : left + width]
    mixed = window + (np.array(event.rgb, np.float32) - window) * mask[..., None]
    window[:] = np.rint(mixed).astype(np.int16)
