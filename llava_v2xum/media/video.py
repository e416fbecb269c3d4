"""A video file -> N frames and their seconds. The choice of decoder hides behind `read_video` and `read_frames`.

A file is read in two passes. The first only demuxes: it numbers the packets by presentation time, which costs
no decoding. The second decodes what the sampled frames need: from the key frame before each, without the
frames that nothing refers to. Where that does not give every sampled frame intact (damage, packets without
time stamps, packets that show no picture), the whole file is decoded once to learn which frames there are,
and once more to take the sampled ones.

Shapes: N frames, H height, W width (of the upright picture). Times are seconds since the file's first frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..core.sampling import FrameSampling
from .demux import Frames, Packets, decode, scan
from .opening import VideoError, opened
from .pictures import pictures
from .whole import Damage, decode_all, mended_stamps

__all__ = ["VIDEO_EXTENSIONS", "Video", "VideoError", "find_videos", "probe_video", "read_frames", "read_video"]

VIDEO_EXTENSIONS = frozenset(
    {".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4"}
    | {".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".vob", ".webm", ".wmv"}
)
Choice = Callable[[np.ndarray], np.ndarray]  # see `stream_frames`

MIN_FRAMES = 2  # a single picture has nothing to choose key frames from
_UNUSUAL = 0.05  # our choice: the share of steps by which a varying rate is known
_NONE = np.empty((0, 0, 0, 3), dtype=np.uint8)  # of frames
_GAP_SECONDS = 0.5  # our choice: what is lost in a shorter pause hardly shifts the N frames


@dataclass(frozen=True)
class Video:
    """N frames that stand for a video.

    Args:
        path: the file.
        frames: uint8 [N, H, W, 3], RGB, upright.
        frame_indices: int64 [N], each frame's number in the file, in presentation order.
        frame_seconds: float64 [N], each frame's presentation time since the file's first frame.
        duration_seconds: from the first frame to the end of the last one that decodes.
        fps: frames a second; the mean where the rate varies.
        total_frames: how many frames the file has, up to the last one that decodes.
        warnings: what was wrong with the file and did not stop it from being read; each names the file.
        track: the video track that was asked for; None for the one that players choose.
    """

    path: Path
    frames: np.ndarray
    frame_indices: np.ndarray
    frame_seconds: np.ndarray
    duration_seconds: float
    fps: float
    total_frames: int
    warnings: tuple[str, ...] = ()
    track: int | None = None


def read_video(
    path: str | Path,
    timeline: FrameSampling = FrameSampling(),  # noqa: B008 (frozen)
    track: int | None = None,
) -> Video:
    """Read the N frames that stand for a video; see `read_frames`.

    Args:
        timeline: a `Timeline`, or any other sampling.

    Raises:
        VideoError: as `read_frames`.
    """
    return read_frames(path, chooser(path, timeline), track)


def chooser(path: str | Path, timeline: FrameSampling) -> Choice:
    """What a sampling chooses of the frames of a file."""
    return lambda seconds: timeline.frame_numbers(seconds, Path(path).stem)


def read_frames(path: str | Path, choose: Choice, track: int | None = None) -> Video:
    """Read chosen frames of a video, as `stream_frames` gives them, into memory.

    Raises:
        VideoError: as `stream_frames`.
    """
    frames, place = _NONE, 0
    for came in stream_frames(path, choose, track):
        if isinstance(came, Video):
            video = came
        elif isinstance(came, int):
            count, place, frames = came, 0, _NONE
        else:
            if not place:
                frames = np.empty((count, *came.shape), dtype=np.uint8)
            frames[place] = came
            place += 1
    return replace(video, frames=frames)


def stream_frames(path: str | Path, choose: Choice, track: int | None = None) -> Iterator[int | np.ndarray | Video]:
    """Read chosen frames of a video, one after the other: the package's one decode function.

    Few frames are in memory at a time. A rotation flag of 90, 180 or 270 degrees (or a mirrored picture) is
    applied; any other leaves the frames as stored, with a warning. Of a file that is cut off, the part that decodes
    is chosen from; a chosen frame that is damaged gives way to the nearest intact one, as `frame_indices` and
    `frame_seconds` then tell. Both add a warning, and so does what is neither tone-mapped nor deinterlaced.

    Args:
        choose: the seconds of all frames, float64 [F], ascending from 0 -> the numbers of the wanted frames, int64 [N],
            in any order; called again where a first reading shows that the file has other frames than it announces.
        track: which of several video tracks (`opening.opened`).

    Yields:
        N where a reading begins, then the frames in the order in which they were chosen, uint8 [H, W, 3]; where
        another reading begins, what came before is void. At the end the video, without frames.

    Raises:
        VideoError: if the path is missing, is a folder, is empty or may not be read; if the file is no
            video, has sound only, has no such track, or lacks its index (an mp4 without its `moov` box); if fewer than
            two frames decode.
    """
    path = Path(path)
    _check_file(path)
    packets = scan(path, track)
    frames = packets.frames()
    odd = None
    if frames is not None:
        _check_count(path, frames, packets)
        if not packets.corrupt:
            indices = choose(_times(path, packets, frames)[0])
            yield len(indices)
            odd = yield from pictures(path, frames, indices, packets, is_part=True)
    warnings = []
    if frames is None or odd is None:
        frames, damage = decode_all(path, packets)
        _check_count(path, frames, packets)
        indices, replaced = _nearest_intact(choose(_times(path, packets, frames)[0][: frames.total]), frames.intact)
        warnings += _told(path, frames, damage, indices, replaced)
        yield len(indices)
        odd = yield from pictures(path, frames, indices, packets, is_part=False)
    if odd is None:
        raise VideoError(f"{path}: corrupt: decoding it twice did not give the same frames")
    seconds, fps, duration = _times(path, packets, frames)
    warnings += _shortfalls(path, packets, frames, fps, duration)
    warnings += _gaps(path, packets, seconds) + odd
    yield Video(path, _NONE, indices, seconds[indices], duration, fps, frames.total, tuple(warnings), track)


def probe_video(
    path: str | Path,
    timeline: FrameSampling = FrameSampling(),  # noqa: B008 (frozen)
    track: int | None = None,
) -> Video | None:
    """What `read_video` says of a file, without its frames and without decoding; None where only decoding can tell.

    Damage inside of packets stays unseen: it is for files that have been read before without a warning.

    Raises:
        VideoError: if the path is missing, is a folder, is empty or may not be read, the file is no video, or it has no
            such track.
    """
    path = Path(path)
    _check_file(path)
    packets = scan(path, track)
    frames = packets.frames()
    if frames is None or packets.is_cut_off or packets.missing or frames.total < MIN_FRAMES:
        return None
    seconds, fps, duration = _times(path, packets, frames)
    indices = chooser(path, timeline)(seconds)
    warnings = tuple(_gaps(path, packets, seconds))
    return Video(path, _NONE, indices, seconds[indices], duration, fps, frames.total, warnings, track)


def check_opens(path: str | Path, track: int | None = None) -> None:
    """Look at a file's head alone: enough for an empty, cut off or foreign file, not for damage inside.

    Raises:
        VideoError: if the file is no video, or has no such track.
    """
    _check_file(Path(path))
    with opened(Path(path), track):
        pass


def decoded_seconds(path: Path, track: int | None = None) -> np.ndarray:
    """The second of every frame in the order in which a decoder gives them out, float64 [F], whatever its stamps are.

    Raises:
        VideoError: if the file is no video, or has neither time stamps nor a frame rate.
    """
    packets, stamps = scan(path, track), [frame.pts for frame in decode(path, None, track=track)]
    frames = Frames(list(range(len(stamps))), mended_stamps(stamps), np.ones(len(stamps), dtype=bool))
    return _times(path, packets, frames)[0]


def find_videos(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    """The video files that the paths name: files as they are, of folders the video files directly in them.

    In a folder a video is what has a known extension and is not hidden; they come sorted by name. Folders
    within folders are left out (an output folder's own clips may lie there). A file named twice comes once.

    Raises:
        VideoError: if a path is missing, or a folder cannot be listed or holds no video.
    """
    found: dict[Path, None] = {}
    for given in [paths] if isinstance(paths, (str, Path)) else paths:
        path = Path(given)
        try:
            is_folder, is_there = path.is_dir(), path.exists()
        except OSError as error:  # a name that is too long, a folder that may not be entered
            raise VideoError(f"{path}: cannot be looked up: {error.strerror or error}") from error
        if not is_folder:
            if not is_there:
                raise VideoError(f"{given}: {_told_of_missing(given)}")
            found[path] = None
            continue
        try:
            entries = sorted(path.iterdir())
        except OSError as error:
            raise VideoError(f"{path}: the folder cannot be listed: {error.strerror}") from error
        videos = [
            entry
            for entry in entries
            if entry.suffix.lower() in VIDEO_EXTENSIONS and not entry.name.startswith(".") and entry.is_file()
        ]
        if not videos:
            raise VideoError(f"{path}: the folder holds no video file ({', '.join(sorted(VIDEO_EXTENSIONS))})")
        found.update(dict.fromkeys(videos))
    return list(found)


def _told_of_missing(given: str | Path) -> str:
    """What to do about a path that leads to nothing."""
    if "://" in str(given):
        return "an address is not fetched: download the video first, such as by yt-dlp, and give the file"
    if str(given) == "-":
        return "standard input is not read, for videos are read here and there: put it in a file, and give that"
    return "no such file or folder"


def _check_file(path: Path) -> None:
    """Refuse what is not a readable file that holds something."""
    try:
        if path.is_dir():
            raise VideoError(f"{path}: is a folder, expected a video file")
        if not path.exists():
            raise VideoError(f"{path}: no such file")
        if not path.is_file():
            raise VideoError(f"{path}: is not a regular file, expected a video file")
        with open(path, "rb") as file:
            first = file.read(1)
    except PermissionError as error:
        raise VideoError(f"{path}: no permission to read the file") from error
    except OSError as error:
        raise VideoError(f"{path}: the file cannot be read: {error.strerror or error}") from error
    if not first:
        raise VideoError(f"{path}: the file is empty (0 bytes)")


def _check_count(path: Path, frames: Frames, packets: Packets) -> None:
    """Refuse a file of which fewer than two frames decode."""
    intact, announced = int(frames.intact.sum()), max(packets.header_frames, len(packets.stamps))
    if intact >= MIN_FRAMES:
        return
    if not announced:
        raise VideoError(f"{path}: the video has zero length: it holds no frames")
    if intact == announced:
        raise VideoError(f"{path}: the video has {intact} frame, at least {MIN_FRAMES} are needed")
    raise VideoError(
        f"{path}: the file is corrupt or cut off: {intact} of {announced} frames can be decoded, "
        f"at least {MIN_FRAMES} are needed"
    )


def _told(path: Path, frames: Frames, damage: Damage, indices: np.ndarray, replaced: int) -> list[str]:
    """A warning where frames are damaged or missing, or may show the damage of others."""
    total, doubtful = frames.total, damage.doubtful
    damaged, touched = int((~frames.intact[:total]).sum()), int((doubtful & frames.intact)[:total].sum())
    said = []
    if damaged:
        said.append(
            f"{damaged} of {total} frames do not decode intact; for {replaced} "
            f"of the {len(indices)} sampled frames the nearest intact one is taken"
        )
    if damage.lost:
        said.append(f"{damage.lost} of {total + damage.lost} frames do not decode at all")
    if touched:
        sampled = int(doubtful[indices].sum())
        said.append(
            f"{touched} of {total} frames, {sampled} of the {len(indices)} sampled ones, come after damage and before "
            "the next key frame, and may show it"
        )
    return [f"{path}: damaged: {'; '.join(said)}"] if said else []


def _nearest_intact(indices: np.ndarray, intact: np.ndarray) -> tuple[np.ndarray, int]:
    """Frame numbers int64 [N] with the nearest intact frame for each damaged one, and how many those are."""
    numbers = np.flatnonzero(intact)
    after = np.minimum(np.searchsorted(numbers, indices), len(numbers) - 1)
    before = np.maximum(after - 1, 0)
    is_before = np.abs(numbers[before] - indices) < np.abs(numbers[after] - indices)
    nearest = numbers[np.where(is_before, before, after)].astype(np.int64)
    return nearest, int((nearest != indices).sum())


def _times(path: Path, packets: Packets, frames: Frames) -> tuple[np.ndarray, float, float]:
    """The second of every frame, float64 [frames], the frames a second and the duration in seconds."""
    count = len(frames.names)
    measured, seconds = 0.0, None
    if frames.stamps is not None:
        seconds = (np.array(frames.stamps, dtype=np.float64) - frames.stamps[0]) * packets.time_base
        measured = (count - 1) / float(seconds[-1])
    # The header's rate is exact where the rate is constant; stamps may be rounded (Matroska: milliseconds).
    is_constant = packets.rate and (not measured or abs(packets.rate / measured - 1) < 0.01)
    fps = packets.rate if is_constant else measured
    if not fps:
        raise VideoError(f"{path}: the video has neither time stamps nor a frame rate")
    if seconds is None:
        seconds = np.arange(count) / fps
    last = frames.total - 1
    lasts = packets.durations[frames.packets[last]] * packets.time_base if frames.packets else 0.0
    if not lasts:
        lasts = 1 / fps if is_constant else float(np.quantile(np.diff(seconds), 0.5, method="lower"))
    return seconds, fps, float(seconds[last]) + lasts


def _gaps(path: Path, packets: Packets, seconds: np.ndarray) -> list[str]:
    """A warning where frames seem to be lost in the middle: fewer than the header's rate, and a long pause.

    A varying frame rate alone does not warn: its header gives the mean, or its steps differ all along.
    """
    steps = np.diff(seconds)
    longest = int(np.argmax(steps))
    is_complete = packets.rate * float(seconds[-1]) < 1.02 * len(steps)
    usual = float(np.median(steps))
    varies = not packets.corrupt and np.mean(abs(steps - usual) > usual / 2) > _UNUSUAL
    if is_complete or varies or steps[longest] < max(_GAP_SECONDS, 5 / packets.rate):
        return []
    start, end = seconds[longest : longest + 2]
    return [f"{path}: holds no frame from second {start:.1f} to {end:.1f}: it may be damaged there"]


def _shortfalls(path: Path, packets: Packets, frames: Frames, fps: float, duration: float) -> list[str]:
    """A warning where the file announces more than decodes at its end."""
    announced = packets.announced_seconds
    if not packets.is_cut_off:
        if packets.missing:
            count = f"{packets.missing} of the announced {packets.header_frames} frames are missing"
            return [f"{path}: {count}: the seconds behind them may be that much too early"]
        if frames.total == len(frames.names):
            return []
        announced = max(announced, duration + (len(frames.names) - frames.total) / fps)
    text = f"cut off: {duration:.1f} of the announced {announced:.1f} seconds could be decoded"
    return [f"{path}: {text}; the frames are sampled over that part"]
