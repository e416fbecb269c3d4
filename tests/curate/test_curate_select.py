"""Which videos are taken: what is measured of a file, why one falls out, and which are there twice."""

from __future__ import annotations

import hashlib
import itertools
import random
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from curate_world import encoded_again, short_clip, write_frames

from llava_v2xum.core.endpoint.outcomes import Failed
from llava_v2xum.curate.stages import duplicates, select
from llava_v2xum.curate.stages.duplicates import MOST_BITS, contents_of, find_duplicates, mean_bits, signature_of
from llava_v2xum.curate.stages.select import SelectStage
from llava_v2xum.curate.store.stage import Rejected, Source
from llava_v2xum.shapes import write_clip

REAL = sorted((Path(__file__).resolve().parents[3] / "shared" / "videos").glob("*.*"))
STAGE = SelectStage(min_duration=1)


def work(path: Path, stage: SelectStage = STAGE) -> dict:
    return stage.work(Source(path.stem, path), {}, ledger=None)


def rejected(path: Path, stage: SelectStage = STAGE) -> Rejected:
    with pytest.raises(Rejected) as caught:
        work(path, stage)
    assert str(path.parent) not in str(caught.value)
    return caught.value


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("clips")
    return [write_clip(short_clip(index), folder / f"c{index}.mp4") for index in range(4)]


# What is measured


def test_a_clip_is_measured(clips):
    found = work(clips[0])
    assert found["digest"] == hashlib.sha256(clips[0].read_bytes()).hexdigest()
    assert found["duration"] == 6.0 and found["sampled_frames"] == 6 and found["aesthetic"] is None
    with av.open(str(clips[0])) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    middles = [round((k + 0.5) / 8 * len(frames) - 1e-6) for k in range(8)]  # of two frames equally near, the earlier
    assert found["signature"] == signature_of(np.stack([frames[number] for number in middles]))
    assert len(set(found["signature"])) > 1
    assert work(clips[0]) == found


def test_sampled_frames_are_whole_seconds(tmp_path):
    picture = np.random.default_rng(1).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    assert work(write_frames(tmp_path / "a.mp4", [picture] * 39, fps=13))["sampled_frames"] == 3
    assert work(write_frames(tmp_path / "b.mp4", [picture] * 38, fps=13))["sampled_frames"] == 2
    brief = work(write_frames(tmp_path / "c.mp4", [picture] * 4), SelectStage(min_duration=0))
    assert brief["duration"] == 0.4 and brief["sampled_frames"] == 1


@pytest.mark.skipif(not REAL, reason="the sample videos are not here")
def test_real_videos():
    found = {path.stem: work(path) for path in REAL}
    assert [one["sampled_frames"] for one in found.values()] == [14, 18, 6, 14]
    assert all(text for one in found.values() for text in one["signature"])
    assert find_duplicates(found) == {}


# Why a video falls out


def test_durations(clips):
    short = rejected(clips[0], SelectStage())
    assert short.kind == "too short" and str(short) == "6 s, at least 40 are wanted"
    long = rejected(clips[0], SelectStage(1, 5.5))
    assert long.kind == "too long" and str(long) == "6 s, at most 5.5 are wanted"
    assert work(clips[0], SelectStage(6, 6))["duration"] == 6


def test_a_duration_out_of_range_costs_no_decoding(clips, monkeypatch):
    monkeypatch.setattr(select, "read_frames", None)
    assert rejected(clips[0], SelectStage()).kind == "too short"


def test_what_is_no_video_is_rejected(tmp_path, clips):
    for name, data, word in [
        ("empty.mp4", b"", "empty"),
        ("noise.mp4", random.Random(1).randbytes(5000), "not a video"),
        ("text.mp4", b"no film " * 99, ""),
        ("torn.mp4", clips[0].read_bytes()[:3000], ""),
    ]:
        (tmp_path / name).write_bytes(data)
        error = rejected(tmp_path / name)
        assert error.kind == "unreadable" and word in str(error) and 0 < len(str(error)) <= 300


def test_an_error_of_the_decoder_is_the_videos_own(clips, monkeypatch):
    def fail(path, choose, track):
        raise RuntimeError(f"a fault in {path}" + "!" * 999)

    monkeypatch.setattr(select, "read_frames", fail)
    error = rejected(clips[0])
    assert error.kind == "unreadable" and str(error).startswith("RuntimeError: a fault in the file!")
    assert len(str(error)) == 300


def test_what_may_pass_is_no_reason_to_reject(tmp_path, clips, monkeypatch):
    with pytest.raises(Failed, match="cannot be read: No such file"):
        work(tmp_path / "gone.mp4")

    def starve(path, choose, track):
        raise MemoryError

    monkeypatch.setattr(select, "read_frames", starve)
    with pytest.raises(Failed, match="memory"):
        work(clips[0])


def fill(path: Path, source: Path, start: float, end: float) -> Path:
    """A copy with a part of the media data replaced by 0xFF."""
    data = bytearray(source.read_bytes())
    media = data.index(b"mdat") + 4
    first, last = (media + int((len(data) - media) * share) for share in (start, end))
    data[first:last] = b"\xff" * (last - first)
    path.write_bytes(data)
    return path


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory) -> Path:
    """20 seconds of noise, a key frame each second."""
    rng = np.random.default_rng(5)
    frames = [rng.integers(0, 255, (32, 48, 3), dtype=np.uint8) for _ in range(200)]
    return write_frames(tmp_path_factory.mktemp("long") / "a.mp4", frames, g="10")


def test_a_little_damage_is_passed_over_with_a_warning(tmp_path, long_clip, caplog):
    found = work(fill(tmp_path / "a.mp4", long_clip, 0.42, 0.48))
    assert found["duration"] == 20 and "damaged" in caplog.text
    assert mean_difference(found["signature"], work(long_clip)["signature"]) < MOST_BITS


def test_much_damage_is_rejected(tmp_path, long_clip):
    error = rejected(fill(tmp_path / "a.mp4", long_clip, 0.2, 0.8))
    assert error.kind == "damaged" and "of 8 sampled moments have no intact frame within 1 s" in str(error)


def test_what_is_cut_off_counts_as_long_as_what_decodes(tmp_path, long_clip, caplog):
    data = long_clip.read_bytes()
    path = tmp_path / "a.mp4"
    path.write_bytes(data[: len(data) // 2])
    assert 5 < work(path)["duration"] < 15 and "cut off" in caplog.text
    assert rejected(path, SelectStage(min_duration=18)).kind == "too short"


def mean_difference(one: list[str], other: list[str]) -> float:
    return twin({"signature": one}, {"signature": other})


# Videos that are there twice


def twin(one: dict, other: dict) -> float:
    """The mean difference of two signatures, as their description has it."""
    pairs = list(zip(one["signature"], other["signature"]))
    if sum(bool(a and b) for a, b in pairs) < 4:
        return float("inf")
    bits = [bin(int(a, 16) ^ int(b, 16)).count("1") if a and b else 32 for a, b in pairs if a or b]
    return sum(bits) / len(bits)


def brute(videos: dict) -> dict[str, str]:
    """The id that each duplicate is one of."""
    stays, found = [], {}
    for name in sorted(videos):
        mine = videos[name]
        same = [other for other in stays if videos[other]["digest"] == mine["digest"]]
        near = [
            other
            for other in stays
            if round(abs(videos[other]["duration"] - mine["duration"]), 3) <= 0.5 and twin(mine, videos[other]) <= 8
        ]
        if same or near:
            found[name] = min(same or near)
        else:
            stays.append(name)
    return found


def some_videos(seed: int, count: int) -> dict:
    """Random ones; some are copies, some are near others, some have frames without a hash."""
    rng, videos = random.Random(seed), {}
    for number in range(count):
        like = rng.choice(list(videos.values())) if videos and rng.random() < 0.6 else None
        signature, digest = [f"{rng.getrandbits(64):016x}" for _ in range(8)], str(number)
        duration = rng.choice([50.0, 50.25, 50.5, 50.75, 51.001, 60.0])
        if like is not None:
            flips = [sum(1 << bit for bit in rng.sample(range(64), rng.randrange(18))) for _ in range(8)]
            signature = [f"{int(a or '0', 16) ^ flip:016x}" for a, flip in zip(like["signature"], flips)]
            digest = like["digest"] if rng.random() < 0.15 else digest
        for frame in rng.sample(range(8), rng.choice([0, 0, 0, 1, 3, 5])):
            signature[frame] = ""
        videos[f"v{rng.getrandbits(20)}"] = {"digest": digest, "duration": duration, "signature": signature}
    return videos


@pytest.mark.parametrize("seed", range(8))
def test_duplicates_are_those_of_the_brute_force_twin(seed):
    videos = some_videos(seed, 90)
    found = find_duplicates(videos)
    assert {name: duplicate.kept for name, duplicate in found.items()} == brute(videos)
    assert 2 < len(found) < 45
    for name, duplicate in found.items():
        if duplicate.bits is not None:
            assert duplicate.bits == pytest.approx(twin(videos[name], videos[duplicate.kept]))
    shuffled = list(videos.items())
    random.Random(seed).shuffle(shuffled)
    assert find_duplicates(dict(shuffled)) == found


def test_contents_are_the_connected_parts_of_what_is_alike():
    for seed in range(4):
        videos = some_videos(seed, 60)
        parts = [{name} for name in videos]
        for one, other in itertools.combinations(videos, 2):
            mine, its = videos[one], videos[other]
            near = round(abs(mine["duration"] - its["duration"]), 3) <= 0.5 and twin(mine, its) <= 8
            if near or mine["digest"] == its["digest"]:
                joined = [part for part in parts if part & {one, other}]
                parts = [part for part in parts if part not in joined] + [set().union(*joined)]
        expected = {name: min(videos[other]["digest"] for other in part) for part in parts for name in part}
        assert contents_of(videos) == expected and 5 < len(parts) < 60


def test_bits_are_counted_alike_by_every_numpy():
    words = np.random.default_rng(1).integers(0, 2**64, 500, dtype=np.uint64)
    words[:2] = 0, 2**64 - 1
    expected = [bin(word).count("1") for word in words.tolist()]
    assert duplicates._popcount(words).tolist() == expected
    assert duplicates._popcount_by_sums(words).tolist() == expected


def test_frames_without_a_hash():
    hashes, known = np.zeros((8, 2), dtype=np.uint64), np.ones((8, 2), dtype=bool)
    hashes[:, 1], known[:3, 0], known[2:4, 1] = 1, False, False
    # frames 0, 1: one has no hash; 2: neither; 3: one; 4 to 7: one bit
    assert mean_bits(hashes[:, 0], known[:, 0], hashes[:, 1:], known[:, 1:]) == [(3 * 32 + 4) / 7]
    known[4, 1] = False
    assert mean_bits(hashes[:, 0], known[:, 0], hashes[:, 1:], known[:, 1:]) == [np.inf]  # three are too few


def test_no_chain_takes_away_what_differs():
    """b is like a, and c like b: c stays, for it is not like a."""
    values = [0, 0x1F, 0x3FF]
    videos = {
        name: {"digest": name, "duration": 50.0, "signature": [f"{value:016x}"] * 8}
        for name, value in zip("abc", values)
    }
    assert find_duplicates(videos) == {"b": duplicates.Duplicate("a", 5.0)}
    assert find_duplicates({**videos, "c": {**videos["c"], "digest": "b"}})["b"].kept == "a"
    assert contents_of(videos) == dict.fromkeys("abc", "a")  # but a split must not come between b and c


def test_a_broken_signature_is_told():
    for signature in (["00"] * 7, ["x"] * 8, ["f" * 17] * 8):
        with pytest.raises(ValueError, match="video v: expected a signature of 8 hashes of 64 bits"):
            find_duplicates({"v": {"digest": "", "duration": 50.0, "signature": signature}})
    assert find_duplicates({}) == {}


def test_clips_encoded_again_are_duplicates_and_different_ones_are_not(tmp_path, clips):
    found = {path.stem: work(path) for path in clips}
    assert find_duplicates(found) == {}
    changed = {
        "c0_half": encoded_again(clips[0], tmp_path / "half.mp4", scale=0.5),
        "c0_large": encoded_again(clips[0], tmp_path / "large.mp4", scale=2, crf="30"),
        "c1_poor": encoded_again(clips[1], tmp_path / "poor.avi", b="200k"),
        "c1_slow": encoded_again(clips[1], tmp_path / "slow.mp4", fps=10),
    }
    found.update({name: work(path) for name, path in changed.items()})
    twins = STAGE.settle(found)
    assert {name: error.kind for name, error in twins.items()} == dict.fromkeys(changed, "duplicate")
    assert all(f"the same pictures as {name[:2]}: " in str(error) for name, error in twins.items())


@pytest.mark.skipif(not REAL, reason="the sample videos are not here")
def test_real_videos_encoded_again_are_duplicates(tmp_path):
    source = next(path for path in REAL if path.stem == "landscape_15fps_14s")
    found = {"a": work(source), "b": work(encoded_again(source, tmp_path / "b.mp4", scale=0.5, fps=10, crf="32"))}
    assert find_duplicates(found)["b"].kept == "a"


def test_the_same_bytes_are_duplicates_whatever_they_show(tmp_path):
    black = write_frames(tmp_path / "black.mp4", [np.zeros((32, 32, 3), dtype=np.uint8)] * 20)
    other = write_frames(tmp_path / "other.mp4", [np.zeros((32, 32, 3), dtype=np.uint8)] * 20, crf="40")
    grey = write_frames(tmp_path / "grey.mp4", [np.full((32, 32, 3), 128, dtype=np.uint8)] * 20)
    found = {"a": work(black), "b": work(other), "c": work(grey), "d": work(black)}
    assert found["a"]["signature"] == [""] * 8 == found["c"]["signature"]
    assert {name: str(error) for name, error in STAGE.settle(found).items()} == {"d": "the same bytes as a"}
    assert SelectStage(duplicates=False).settle(found) == {}


# Of the module


def test_importing_it_loads_nothing_heavy():
    code = (
        "import sys, llava_v2xum.curate.stages.select\n"
        "heavy = {'torch', 'transformers', 'llava', 'imagehash', 'open_clip', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
