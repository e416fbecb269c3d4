"""Records of summaries, and small films to cut: what is drawn into a frame tells its number."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from llava_v2xum.core.answers import parse_answer
from llava_v2xum.media.render import make_record

BITS = 8
CONSTANT = np.arange(150) / 25  # the seconds of six seconds' frames


def record_of(
    answer: str, task: str = "both", seconds: float = 10.0, num_frames: int = 100, **changes
) -> dict:
    summary = parse_answer(answer, num_frames=num_frames, task=task)
    arguments = dict(
        video_id="clip",
        video="clip.mp4",
        duration_seconds=seconds,
        fps=25.0,
        frame_seconds=np.arange(num_frames) * seconds / num_frames,
        task=task,
        answer=answer,
        importance=np.full(num_frames, 1 / num_frames) if summary.frames else None,
        model="tiny",
        versions={"llava_v2xum": "0"},
    )
    return make_record(summary, **{**arguments, **changes})


# Sources: frame number k is written into the picture as a row of black and white blocks; second s of sound
# is a tone of 400 + 200 s Hz.


def picture(number: int, width: int = 160, height: int = 96) -> np.ndarray:
    image = np.full((height, width, 3), 128, np.uint8)
    block = width // BITS
    for bit in range(BITS):
        image[height // 2 :, bit * block : (bit + 1) * block] = 235 if number >> bit & 1 else 20
    image[: height // 4, : width // 4] = (220, 30, 30)  # the stored top left corner is red
    return image


def number_in(image: np.ndarray) -> int:
    block = image.shape[1] // BITS
    row = image[image.shape[0] * 3 // 4, :, 1]
    return sum(1 << bit for bit in range(BITS) if row[bit * block + block // 2] > 128)


def write_source(
    path: Path, times: np.ndarray, sound: bool = False, size: tuple[int, int] = (160, 96), **options: object
) -> Path:
    """Write frames at the given seconds, and stereo sound as long as they last."""
    width, height = size
    length = float(times[-1] + times[-1] - times[-2])
    with av.open(str(path), "w", options=options.pop("muxer", {})) as output:
        stream = output.add_stream("libx264", rate=25, options={"preset": "ultrafast", "g": "30", "bf": "2"})
        stream.width, stream.height, stream.pix_fmt = width, height, options.pop("pix_fmt", "yuv420p")
        stream.codec_context.time_base = Fraction(1, 1000)
        voice = output.add_stream("aac", rate=44100, layout="stereo") if sound else None
        for number, second in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(number, width, height), format="rgb24")
            frame.pts, frame.time_base = round(second * 1000), Fraction(1, 1000)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if voice:
            clock = np.arange(int(length * 44100)) / 44100
            wave = 0.4 * np.sin(2 * np.pi * (400 + 200 * np.floor(clock)) * clock)
            for start in range(0, len(wave), 1024):
                block = np.tile(wave[start : start + 1024].astype(np.float32), (2, 1))
                samples = av.AudioFrame.from_ndarray(block, format="fltp", layout="stereo")
                samples.sample_rate, samples.pts, samples.time_base = 44100, start, Fraction(1, 44100)
                output.mux(voice.encode(samples))
            output.mux(voice.encode(None))
    return path
