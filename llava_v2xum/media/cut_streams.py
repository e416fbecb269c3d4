"""The two streams that a summary clip is encoded to: H.264 pictures and AAC sound, as browsers play them."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
from av.video.reformatter import ColorRange

from .demux import orientation

MAX_SIDE = 1920  # our choice: browsers play H.264 to 1080p everywhere, and encoding more is slow
VIDEO_CLOCK = Fraction(1, 90_000)  # holds every usual frame rate, and variable ones, to 0.01 ms
AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
AAC_FRAME = 1024  # samples in a frame of AAC-LC
FADE_SECONDS = 0.05  # in and out at each cut: a wave that is cut off clicks
AUDIO_GAP_SECONDS = 0.05  # smaller gaps between sound frames are rounding in their time stamps


class Pictures:
    """The clip's video stream: upright pictures of one even size."""

    def __init__(
        self,
        first: av.VideoFrame,
        stream: av.VideoStream,
        output: av.container.OutputContainer,
        rate: Fraction,
        max_side: int = MAX_SIDE,
    ) -> None:
        self.output = output
        self.rate = rate
        self.turn, _ = orientation(first)  # what is odd about it, reading the frames has told
        aspect = stream.sample_aspect_ratio or 1
        width, height = max(first.width * aspect, first.width), max(first.height / aspect, first.height)
        scale = min(1, max_side / max(width, height))
        self.stored_size = tuple(max(2, round(float(side * scale) / 2) * 2) for side in (width, height))
        self.is_turned = first.side_data.get("DISPLAYMATRIX") is not None
        picture = self._upright(first)
        # without B-frames, whose decoding stamps hide a long pause at the end: the file would claim to be short
        options = {"preset": "veryfast", "crf": "21", "bf": "0"}
        self.stream = output.add_stream("libx264", rate=rate, options=options)
        self.stream.width, self.stream.height, self.stream.pix_fmt = picture.width, picture.height, "yuv420p"
        context = self.stream.codec_context
        context.time_base = VIDEO_CLOCK
        for name in ("color_range", "colorspace", "color_primaries", "color_trc"):
            setattr(context, name, getattr(picture, name))
        self.pending: tuple[av.VideoFrame, int] | None = None

    def write(self, frame: av.VideoFrame, clip_second: float) -> None:
        """Show a frame from a second of the clip on, until the next one."""
        pts = round(clip_second / VIDEO_CLOCK)
        if self.pending is None or pts > self.pending[1]:
            self._encode_pending()
            self.pending = (self._upright(frame), pts)

    def close(self, clip_seconds: float) -> None:
        """Show the last frame until the clip's end, and write what the encoder still holds."""
        if self.pending is not None:
            # A last frame that is seen for long (in a variable rate) is shown again: players may not hold it.
            picture, pts = self.pending
            end = round(clip_seconds / VIDEO_CLOCK)
            again = round((clip_seconds - 1 / self.rate) / VIDEO_CLOCK)
            self._encode_pending()
            if again - pts > 0.5 / self.rate / VIDEO_CLOCK:
                self.pending, pts = (picture, again), again
                self._encode_pending()
            for packet in self.stream.encode(None):
                if packet.pts == pts:  # otherwise it would last as long as the one before
                    packet.duration = end - pts
                self.output.mux(packet)

    def _encode_pending(self) -> None:
        if self.pending is not None:
            picture, pts = self.pending
            picture.pts, picture.time_base = pts, VIDEO_CLOCK
            picture.pict_type = 0  # the source's key frames need not be the clip's
            self.output.mux(self.stream.encode(picture))

    def _upright(self, frame: av.VideoFrame) -> av.VideoFrame:
        # Full-range pictures (old cameras, MJPEG) would be tagged yuvj420p, which not every player knows.
        full = frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj")
        ranges = {"src_color_range": "JPEG", "dst_color_range": "MPEG"} if full else {}
        picture = frame.reformat(*self.stored_size, format="yuv420p", **ranges)
        if not self.is_turned:
            return picture
        width, height = self.stored_size
        planes = picture.to_ndarray()  # [H * 3 / 2, W]: Y, then U and V at half size
        luma = self.turn(planes[:height])
        chroma = planes[height:].reshape(2, height // 2, width // 2)
        flat = np.concatenate([luma.ravel(), self.turn(chroma[0]).ravel(), self.turn(chroma[1]).ravel()])
        turned = av.VideoFrame.from_ndarray(flat.reshape(luma.shape[0] * 3 // 2, luma.shape[1]), format="yuv420p")
        for name in ("color_range", "colorspace"):
            setattr(turned, name, getattr(picture, name))
        return turned


class Sound:
    """The clip's sound stream: source samples where there are any, silence elsewhere."""

    def __init__(self, stream: av.AudioStream, output: av.container.OutputContainer) -> None:
        context = stream.codec_context
        self.output = output
        self.rate = context.sample_rate if context.sample_rate in AAC_RATES else 48_000
        self.layout = "mono" if context.channels == 1 else "stereo"
        self.channels = 1 if context.channels == 1 else 2
        self.stream = output.add_stream("aac", rate=self.rate, layout=self.layout, format="fltp")
        self.stream.bit_rate = 64_000 * self.channels
        self.resampler: av.AudioResampler | None = None
        self.resampled_from: tuple[str, str, int] | None = None
        self.pending = np.zeros((self.channels, 0), dtype=np.float32)
        self.position = 0  # samples taken so far
        self.encoded = 0  # of them, samples encoded

    def write(self, frame: av.AudioFrame, clip_start: float, offset: float, length: float) -> None:
        """Take the part of a source frame that lies in its span.

        Args:
            clip_start: where in the clip the span begins, in seconds.
            offset: where in the span the frame begins (below 0: before it).
            length: of the span.
        """
        source = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self.resampler is None or source != self.resampled_from:
            self.resampler = av.AudioResampler(format="fltp", layout=self.layout, rate=self.rate)
            self.resampled_from = source
        first, end = round(clip_start * self.rate), round((clip_start + length) * self.rate)
        place = round((clip_start + offset) * self.rate)
        fade = min(FADE_SECONDS * self.rate, (end - first) / 2)
        frame.pts = None  # samples are counted here; the resampler would fill gaps by its own rules
        for resampled in self.resampler.resample(frame):
            samples = resampled.to_ndarray()
            shift = place - self.position
            place += samples.shape[1]
            if shift > AUDIO_GAP_SECONDS * self.rate:
                self._take(np.zeros((self.channels, min(shift, end - self.position)), dtype=np.float32))
            elif shift < 0 and (self.position == first or -shift > AUDIO_GAP_SECONDS * self.rate):
                samples = samples[:, -shift:]
            samples = samples[:, : max(end - self.position, 0)]
            places = self.position + np.arange(samples.shape[1])
            loudness = np.minimum(places + 0.5 - first, end - places - 0.5) / max(fade, 1)
            self._take(samples * np.clip(loudness, 0, 1).astype(np.float32))

    def fill(self, clip_seconds: float) -> None:
        """Add silence up to a second of the clip."""
        missing = round(clip_seconds * self.rate) - self.position
        self._take(np.zeros((self.channels, max(missing, 0)), dtype=np.float32))

    def close(self) -> None:
        """Write what is left."""
        self._encode(self.pending)
        self.output.mux(self.stream.encode(None))

    def _take(self, samples: np.ndarray) -> None:
        self.position += samples.shape[1]
        self.pending = np.concatenate([self.pending, samples], axis=1)
        while self.pending.shape[1] >= AAC_FRAME:
            self._encode(self.pending[:, :AAC_FRAME])
            self.pending = self.pending[:, AAC_FRAME:]

    def _encode(self, samples: np.ndarray) -> None:
        if samples.shape[1]:
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=self.layout)
            frame.sample_rate, frame.pts, frame.time_base = self.rate, self.encoded, Fraction(1, self.rate)
            self.encoded += samples.shape[1]
            self.output.mux(self.stream.encode(frame))
