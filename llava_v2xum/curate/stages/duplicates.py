"""Videos that are there twice: the same bytes, or the same pictures at the same moments, encoded again.

Shapes: V videos, K frames of a signature, R videos that one video is compared with.

A signature is a perceptual hash (pHash, 64 bits) of each of K frames at fixed fractions of the duration. Two videos
are the same when they last equally long and their hashes differ by few bits in the mean. A frame without structure
(black, white, a flat colour, a fade) has no hash, for its bits would be those of the noise: where both videos have such
a frame it says nothing, where one has, the frames differ. So two black videos are no duplicates of each other, unless
their bytes are the same.

What this cannot tell: K frames in shades of grey are all that is compared. Recordings of one scene by a camera that
does not move, equally long, in which only something small happens, count as the same. What was cropped, mirrored,
slowed down or cut to another length counts as different.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...core.errors import V2XumError
from ...core.extras import require

SIGNATURE_FRAMES = 8  # K, our choice
SIDE = 32  # pixels: what pHash looks at
FLAT = 1.0  # grey levels of standard deviation over SIDE x SIDE: less is no structure. The shapes' darkest have 1.3

# Measured on the four sample videos and eight clips of the shapes world. At half or twice the size, with a CRF of 35,
# as MPEG-4 or at 10 fps the mean is 0 to 6 bits for the sample videos and mostly 2 to 7 for the clips (up to 13 where
# the picture is almost black); for a clip with one event recoloured or left out, 0 to 4; for any two different videos,
# 24 or more. Of 64 fair bits, 8 or fewer differ in one of 3e9 pairs. Durations differed by 0.09 s at most.
MOST_BITS = 8.0
MOST_SECONDS = 0.5
_UNLIKE = 32  # bits by which hashes of different pictures differ: half of them
_LEAST_FRAMES = SIGNATURE_FRAMES // 2  # of two signatures, that must both have a hash


@dataclass(frozen=True)
class Duplicate:
    """What a video is a duplicate of.

    Args:
        kept: the video_id of the one that stays.
        bits: how many of 64 differ, in the mean over the frames; None if the bytes are the same.
    """

    kept: str
    bits: float | None

    @property
    def reason(self) -> str:
        """For a person."""
        if self.bits is None:
            return f"the same bytes as {self.kept}"
        return f"the same pictures as {self.kept}: {self.bits:.1f} of 64 bits of their hashes differ"


def signature_of(frames: np.ndarray) -> list[str]:
    """The hashes of frames.

    Args:
        frames: uint8 [K, H, W, 3].

    Returns:
        [K], 16 hexadecimal digits each, or "" for a frame without structure.

    Raises:
        MissingExtra: if imagehash is not installed.
    """
    from PIL import Image

    imagehash = require("imagehash", "curate")
    hashes = []
    for frame in frames:
        small = Image.fromarray(frame).convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        hashes.append(str(imagehash.phash(small)) if np.asarray(small).std() >= FLAT else "")
    return hashes


def find_duplicates(videos: Mapping[str, Mapping[str, Any]]) -> dict[str, Duplicate]:
    """The videos that are the same as one with a smaller id that stays.

    They are gone through in the order of their ids, and each is compared with those that stay, so that what stays is
    the same in any order, and of those that stay no two are the same.

    Args:
        videos: video_id -> an object with `digest`, `duration` (seconds) and `signature`, as the select stage has it.

    Returns:
        video_id -> the one that stays; of several, the one with the smallest id.

    Raises:
        V2XumError: if a signature is no list of K hashes.
    """
    signatures = _Signatures(videos)
    stays = np.zeros(len(videos), dtype=bool)
    first_of: dict[str, str] = {}  # digest -> the id that stays
    found = {}
    for number, name in enumerate(signatures.ids):
        if (first := first_of.get(videos[name]["digest"])) is not None:
            found[name] = Duplicate(first, None)
            continue
        alike, bits = signatures.alike(number)
        alike, bits = alike[stays[alike]], bits[stays[alike]]
        if len(alike):
            found[name] = Duplicate(signatures.ids[alike.min()], float(bits[alike.argmin()]))
        else:
            stays[number], first_of[videos[name]["digest"]] = True, name
    return found


def contents_of(videos: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """What each video shows: videos that are the same, also by way of others, show one content.

    Where duplicates were kept, this is what keeps them in one split.

    Args:
        videos: as for `find_duplicates`.

    Returns:
        video_id -> the smallest digest among the videos of its content, so that ids and their order do not matter.

    Raises:
        V2XumError: as `find_duplicates`.
    """
    signatures = _Signatures(videos)
    digests = [videos[name]["digest"] for name in signatures.ids]
    above = {digest: digest for digest in digests}  # each digest -> a smaller one of its content, or itself

    def smallest(digest: str) -> str:
        while above[digest] != digest:
            above[digest] = digest = above[above[digest]]
        return digest

    for number, digest in enumerate(digests):
        for other in signatures.alike(number)[0]:
            first, second = sorted((smallest(digest), smallest(digests[other])))
            above[second] = first
    return {name: smallest(digest) for name, digest in zip(signatures.ids, digests)}


class _Signatures:
    """The signatures of videos, by number in the order of their ids; see `find_duplicates` for what is given."""

    def __init__(self, videos: Mapping[str, Mapping[str, Any]]) -> None:
        self.ids = sorted(videos)
        milliseconds = np.rint([videos[name]["duration"] * 1000 for name in self.ids]).astype(np.int64)
        # All by duration: what a video is compared with is then one slice.
        self._numbers = np.argsort(milliseconds, kind="stable")
        self._places = np.argsort(self._numbers)
        in_order = [self.ids[number] for number in self._numbers]
        self._hashes, self._known = _packed([(name, videos[name]["signature"]) for name in in_order])
        ascending, within = milliseconds[self._numbers], round(MOST_SECONDS * 1000)
        self._starts = np.searchsorted(ascending, milliseconds - within, side="left")
        self._ends = np.searchsorted(ascending, milliseconds + within, side="right")

    def alike(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """The numbers of the videos that show the same, int64 [R], itself among them where it has enough hashes, and
        by how many bits they differ, float64 [R]."""
        place, others = self._places[number], slice(self._starts[number], self._ends[number])
        hashes, known = self._hashes, self._known
        bits = mean_bits(hashes[:, place], known[:, place], hashes[:, others], known[:, others])
        near = bits <= MOST_BITS
        return self._numbers[others][near], bits[near]


def mean_bits(hashes: np.ndarray, known: np.ndarray, others: np.ndarray, others_known: np.ndarray) -> np.ndarray:
    """By how many bits one signature differs from others, in the mean over the frames that say something.

    Args:
        hashes, known: uint64 and bool [K], of the one; where a frame has no hash, `known` is False.
        others, others_known: uint64 and bool [K, R].

    Returns:
        float64 [R]; infinite where fewer than half of the frames have a hash in both.
    """
    differing, in_both, in_either = np.zeros((3, others.shape[1]), dtype=np.uint16)
    for frame in range(len(hashes)):  # a row at a time: 30,000 videos of one duration take seconds, not minutes
        both, either = others_known[frame] & known[frame], others_known[frame] | known[frame]
        differing += np.where(both, _popcount(others[frame] ^ hashes[frame]), np.uint8(_UNLIKE) * either)
        in_both += both
        in_either += either
    return np.where(in_both >= _LEAST_FRAMES, differing / np.maximum(in_either, 1), np.inf)


def _packed(signatures: Sequence[tuple[str, Sequence[str]]]) -> tuple[np.ndarray, np.ndarray]:
    """Ids and signatures -> the hashes, uint64 [K, V], and which frames have one, bool [K, V]."""
    hashes = np.zeros((SIGNATURE_FRAMES, len(signatures)), dtype=np.uint64)
    known = np.zeros(hashes.shape, dtype=bool)
    for place, (name, signature) in enumerate(signatures):
        try:
            values = [int(text, 16) if text else 0 for text in signature]
            if len(values) != SIGNATURE_FRAMES:
                raise V2XumError(f"{len(values)} hashes")
            hashes[:, place] = values
        except (ValueError, OverflowError) as error:
            raise V2XumError(
                f"video {name}: expected a signature of {SIGNATURE_FRAMES} hashes of 64 bits, got {error}"
            ) from error
        known[:, place] = [bool(text) for text in signature]
    return hashes, known


def _popcount(words: np.ndarray) -> np.ndarray:
    """How many bits of each word are set: uint64 [R] -> uint8 [R]."""
    if hasattr(np, "bitwise_count"):  # NumPy 2
        return np.bitwise_count(words)
    return _popcount_by_sums(words)


def _popcount_by_sums(words: np.ndarray) -> np.ndarray:
    """The same by adding neighbouring bits, then pairs, fours and bytes (Warren, Hacker's Delight, 5-1)."""
    ones, twos, fours, eights = (np.uint64(int(byte * 8, 16)) for byte in ("55", "33", "0f", "01"))
    one, two, four, top = map(np.uint64, (1, 2, 4, 56))
    words = words - ((words >> one) & ones)
    words = (words & twos) + ((words >> two) & twos)
    words = (words + (words >> four)) & fours
    return ((words * eights) >> top).astype(np.uint8)
