"""Which videos are taken: readable, of the right length, good to look at, and each only once.

Cheap checks first: the packets tell the duration, the frames of the signature tell whether the file decodes, and the
bytes are hashed last. A file that is cut off is judged by the part that decodes. Damage that leaves most pictures
intact is passed over, as a user's own videos have it: the captions are then those of the nearest intact frames.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...core.command_line import add_video_track, in_range
from ...core.endpoint.budget import Budget
from ...core.endpoint.outcomes import Failed, Stop
from ...core.endpoint.store import Ledger
from ...core.errors import V2XumError
from ...core.sampling import TRACK_KEY
from ...evaluate.metrics.clocks import nearest
from ...media.video import Video, VideoError, probe_video, read_frames
from ..store.contents import digest_of
from ..store.stage import CPU, Rejected, Source
from .aesthetic import AestheticOptions, AestheticScorer
from .command_stage import CommandStage, device_of
from .duplicates import MOST_BITS, MOST_SECONDS, SIGNATURE_FRAMES, find_duplicates, signature_of
from .loaded import name_of

logger = logging.getLogger(__name__)

MOST_ASTRAY = 0.25  # our choice: share of the sampled frames that damage may have moved ...
ASTRAY_SECONDS = 1.0  # ... by more than this: captions are a second apart
_REASON_LENGTH = 300  # letters
_RECIPE = 1  # raised when the same files come to give other results
_score = in_range(float, math.isfinite, "finite")


class SelectStage(CommandStage):
    """Select videos (paper, section 3.1: 40 to 940 s, an aesthetic score above a threshold).

    Args:
        min_duration, max_duration: seconds, both included.
        aesthetic: what judges the look; None judges nothing.
        duplicates: whether of videos that are the same all but one go.
        track: which of several video tracks is read (`opening.opened`).

    Raises:
        FileNotFoundError, V2XumError, ConnectionError: of the aesthetic predictor, as `AestheticScorer`.
    """

    name = "select"
    does = "readable videos of the right length, without duplicates (and ugly ones, with --aesthetic-predictor)"
    recorded: tuple[str, ...] = ("min_duration", "max_duration", "keep_duplicates")
    only_selects = True
    reads_video = True
    needs = CPU

    @classmethod
    def add_options(cls, add: Callable[..., Any]) -> None:
        add("--min-duration", type=float, default=40.0, metavar="S", help="shortest video, in seconds (%(default)g)")
        add("--max-duration", type=float, default=940.0, metavar="S", help="longest video, in seconds (%(default)g)")
        add_video_track(add)
        add("--keep-duplicates", action="store_true", help="do not look for videos of the same content")
        add("--aesthetic-predictor", metavar="FILE", help="'laion-v1' or 'laion-v2', or a file with the "
            "weights of such a head on CLIP; without it no video is judged")  # fmt: skip
        add("--aesthetic-clip", default="ViT-L-14/openai", metavar="NAME", help="the CLIP that it stands on "
            "(%(default)s)")  # fmt: skip
        add("--aesthetic-threshold", type=_score, default=4.0, metavar="X", help="least mean score (%(default)g)")

    @classmethod
    def problem(cls, args: argparse.Namespace) -> str | None:
        if not 0 <= args.min_duration <= args.max_duration < math.inf:
            return f"--min-duration must be at most --max-duration, got {args.min_duration:g}, {args.max_duration:g}"
        return None

    @classmethod
    def from_arguments(cls, args: argparse.Namespace, budget: Budget) -> SelectStage:
        aesthetic = None
        if args.aesthetic_predictor is not None:
            threshold = args.aesthetic_threshold
            aesthetic = AestheticOptions(
                args.aesthetic_predictor, args.aesthetic_clip, threshold, device=device_of(args)
            )
        return cls(args.min_duration, args.max_duration, aesthetic, not args.keep_duplicates, args.video_track)

    def __init__(
        self,
        min_duration: float = 40.0,
        max_duration: float = 940.0,
        aesthetic: AestheticOptions | None = None,
        duplicates: bool = True,
        track: int | None = None,
    ) -> None:
        self.min_duration, self.max_duration, self.duplicates = float(min_duration), float(max_duration), duplicates
        self.aesthetic = aesthetic
        self.track = track
        self._of_track = {} if track is None else {TRACK_KEY: track}
        self.recorded = (*self.recorded, *self._of_track)
        if aesthetic is not None:
            self.model_name = f"{name_of(aesthetic.predictor)} on {name_of(aesthetic.clip)}"
            self.recorded = (*self.recorded, "aesthetic_threshold")
        self._scorer = AestheticScorer(aesthetic) if aesthetic else None
        self.workers = min(4, os.cpu_count() or 1)  # our choice: decoding leaves Python's lock, demuxing does not

    def settings(self) -> dict[str, Any]:
        """See `Stage`."""
        return {
            "recipe": _RECIPE,
            "min_duration": self.min_duration,
            "max_duration": self.max_duration,
            "signature": f"pHash of {SIGNATURE_FRAMES} frames",
            "duplicates": {"bits": MOST_BITS, "seconds": MOST_SECONDS} if self.duplicates else None,
            "aesthetic": self._scorer.settings() if self._scorer else None,
            **self._of_track,
        }

    def work(self, source: Source, before: Mapping[str, Any], ledger: Ledger) -> dict[str, Any]:
        """What is known of the file.

        Returns:
            `digest`, SHA-256 of its bytes; `duration` in seconds, to the millisecond; `sampled_frames`, how many whole
            seconds that is, at least 1; `signature`, see `duplicates`; `aesthetic`, the score or None.
        """
        _check_at_hand(source.path)
        probed = _readable(source.path, lambda path: probe_video(path, track=self.track))
        if probed is not None:
            self._check_duration(probed.duration_seconds)
        video, signed, judged = _readable(source.path, self._read)
        duration = self._check_duration(video.duration_seconds)
        score = self._judge(judged)
        return {
            "digest": digest_of(source.path),
            "duration": duration,
            "sampled_frames": max(1, math.floor(duration)),
            "signature": signature_of(signed),
            "aesthetic": score,
        }

    def settle(self, results: Mapping[str, Mapping[str, Any]]) -> dict[str, Rejected]:
        """All but the first of videos that are the same."""
        found = find_duplicates(results) if self.duplicates else {}
        return {name: Rejected("duplicate", duplicate.reason) for name, duplicate in found.items()}

    def _check_duration(self, seconds: float) -> float:
        """The duration to the millisecond: sums of rounded stamps must not make 59.99999 of 60 s."""
        duration = round(seconds, 3)
        if duration < self.min_duration:
            raise Rejected("too short", f"{duration:g} s, at least {self.min_duration:g} are wanted")
        if duration > self.max_duration:
            raise Rejected("too long", f"{duration:g} s, at most {self.max_duration:g} are wanted")
        return duration

    def _read(self, path: Path) -> tuple[Video, np.ndarray, np.ndarray]:
        """The video, the frames of its signature and those to judge: uint8 [K, H, W, 3] each."""
        signed = _fractions(SIGNATURE_FRAMES)
        judged = _fractions(self.aesthetic.frames) if self.aesthetic else np.empty(0)
        fractions, places = np.unique(np.concatenate([signed, judged]), return_inverse=True)
        chosen = np.empty(0)

        def choose(seconds: np.ndarray) -> np.ndarray:
            nonlocal chosen
            length = seconds[-1] * len(seconds) / (len(seconds) - 1)  # with the time that the last frame is shown
            numbers = nearest(fractions * length, seconds)
            chosen = seconds[numbers]
            return numbers

        video = read_frames(path, choose, self.track)
        for warning in video.warnings:
            logger.warning(warning)
        astray = int((np.abs(video.frame_seconds - chosen) > ASTRAY_SECONDS).sum())
        if astray > MOST_ASTRAY * len(fractions):
            raise Rejected(
                "damaged",
                f"{astray} of {len(fractions)} sampled moments have no intact frame within {ASTRAY_SECONDS:g} s",
            )
        return video, video.frames[places[: len(signed)]], video.frames[places[len(signed) :]]

    def _judge(self, frames: np.ndarray) -> float | None:
        if self._scorer is None or self.aesthetic is None:
            return None
        try:
            score = self._scorer.score(frames)
        except V2XumError as error:  # of the models, whatever the video
            raise Stop(str(error)) from error
        if score < self.aesthetic.threshold:
            raise Rejected("aesthetic", f"score {score:.2f}, at least {self.aesthetic.threshold:g} is wanted")
        return score


def _fractions(count: int) -> np.ndarray:
    """The middles of `count` equal parts of 0..1."""
    return (np.arange(count) + 0.5) / count


def _check_at_hand(path: Path) -> None:
    """Check that the file can be opened: what is wrong with a disk, a network or a permission may pass.

    Raises:
        Failed: if it cannot.
    """
    try:
        if stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would wait
            with open(path, "rb") as file:
                file.read(1)
    except OSError as error:
        raise Failed(f"the file cannot be read: {error.strerror}") from error


def _readable(path: Path, read: Callable[[Path], Any]) -> Any:
    """What `read` returns of a file that can be opened; what goes wrong in it is then the file's own fault.

    Raises:
        Rejected: if the file is no video that decodes.
        Failed: if the memory does not suffice.
    """
    try:
        return read(path)
    except (Rejected, ImportError):
        raise
    except MemoryError as error:  # of a size that a broken header tells, or really too little
        raise Failed(f"the memory does not suffice to decode it ({error})") from error
    except Exception as error:  # FFmpeg's errors are of many kinds
        what = str(error) if isinstance(error, VideoError) else f"{type(error).__name__}: {error}"
        what = what.removeprefix(f"{path}: ").replace(str(path), "the file")
        raise Rejected("unreadable", what[:_REASON_LENGTH]) from error
