"""From a system's N indexes to the T samples that people annotated.

Shapes: N indexes, T samples.

A system says which of its N indexes matter; annotators said which samples do: one a second (VideoXum, Instruct-V2Xum),
or every 15th frame or so (TVSum and SumMe, the picks). The rule here is that of the training labels, read backwards:

- A sample at time t of a video of length D belongs to index min(round(t / D * N), N - 1), rounding half to even: the
  index that a label cites for that moment (`Timeline.index_at`). So where a video has more than N samples, a cited
  index selects all that belong to it.
- Where it has fewer, most indexes have no sample of their own. Such an index i is given to the sample nearest to its
  time i / N * D, of two the earlier: no citation is lost.
- A sample's value is the greatest over its own index and those given to it. So a set and its 0/1 importance are mapped
  alike, and neighbouring citations do not add up.

Where the seconds of the system's frames are known, and their rate varies or the file is of another length than its
annotation, a sample belongs to the frame that is shown then, and index i is at the second of its frame (`core/clock`).

For runs of samples the rule undoes the labels: with T <= N samples at the seconds of the video, the labels of samples
j to k (index of j up to index of k) give back j to k and no other. One case is different: where the last sample lies
less than 3 / 2 D / N - 1 seconds from the end (T > 2 / 3 N and a fraction of a second over), the last two samples share
index N - 1, and a citation of it selects both.
"""

from __future__ import annotations

import numpy as np

from ...core.clock import Clock, FrameTimes
from ...core.errors import V2XumError
from ...core.sampling import FrameSampling


def own_index(num_frames: int, times: np.ndarray, duration: float, frames: FrameTimes | None = None) -> np.ndarray:
    """The index that each sample belongs to: min(round(t / D * N), N - 1), as the training labels have it.

    Args:
        num_frames: N.
        times: float [T], ascending, in any unit: seconds, or frame numbers.
        duration: D, in the same unit.
        frames: when the N frames are shown, in seconds; None where only the mean rate is known, or is to count.

    Returns:
        int [T].

    Raises:
        V2XumError: if N or D is not positive, or a time lies outside 0..D or before the one in front of it.
    """
    times = np.asarray(times, dtype=float)
    return _clock(num_frames, times, duration, frames).indexes_at(times)


def _clock(num_frames: int, times: np.ndarray, duration: float, frames: FrameTimes | None) -> Clock:
    if num_frames < 1 or not duration > 0:
        raise V2XumError(f"expected frames and a positive duration, got {num_frames} and {duration}")
    if len(times) and not (times[0] >= 0 and times[-1] <= duration and (np.diff(times) >= 0).all()):
        raise V2XumError(f"times must ascend within 0..{duration} (the duration), got {times[0]}..{times[-1]}")
    return Clock.of(FrameSampling(num_frames), duration, frames)


def at_samples(
    values: np.ndarray, times: np.ndarray, duration: float, frames: FrameTimes | None = None
) -> np.ndarray:
    """What a system says of each sample, by the rule of this module.

    Args:
        values: [N], importance, or a mask of the selected indexes.
        times: float [T], ascending, in any unit.
        duration: D, in the same unit.
        frames: as `own_index`.

    Returns:
        [T] of the same type.

    Raises:
        V2XumError: as `own_index`.
    """
    values, times = np.asarray(values), np.asarray(times, dtype=float)
    clock = _clock(len(values), times, duration, frames)
    owners = clock.indexes_at(times)
    mapped = values[owners]
    unowned = np.ones(len(values), dtype=bool)
    unowned[owners] = False
    given = np.flatnonzero(unowned)
    if len(times) and len(given):
        np.maximum.at(mapped, nearest(clock.moments()[given], times), values[given])
    return mapped


def nearest(moments: np.ndarray, times: np.ndarray) -> np.ndarray:
    """The sample nearest to each moment, of two the earlier: float [M] and ascending [T] -> int [M]."""
    after = np.minimum(np.searchsorted(times, moments), len(times) - 1)
    before = np.maximum(after - 1, 0)
    return np.where(moments - times[before] <= times[after] - moments, before, after)


def second_times(samples: int, duration_seconds: float) -> np.ndarray:
    """The times of samples at 1 FPS: sample k is second k, the last ones at the duration where it is less.

    Returns:
        float [T], seconds.
    """
    return np.minimum(np.arange(samples, dtype=float), duration_seconds)
