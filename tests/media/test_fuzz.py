"""A short run of `scripts/fuzz_videos.py`; and that it would notice what is wrong."""

from __future__ import annotations

import dataclasses
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import film_trial
import numpy as np
import pytest
from film_draws import DAMAGES, damage, draw_film
from films import Film, make, numbers_in, picture, truth_of

from llava_v2xum.media.video import read_video

ROOT = Path(__file__).resolve().parents[2]
CASES = "16"  # as many on a slow machine as on a fast one


def fuzz(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "scripts" / "fuzz_videos.py"), *arguments]
    return subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, timeout=300)


def test_no_film_of_a_short_run_is_read_wrong_without_a_word():
    done = fuzz("--seconds", "250", "--cases", CASES, "--seed", "6", "--workers", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    told = re.search(r"(\d+) films: (\d+) exact, (\d+) warned, (\d+) refused", done.stdout)
    assert told and all(int(count) > 0 for count in told.groups()) and done.stdout.endswith("no fault\n")


@pytest.mark.parametrize(
    ("seed", "case"),
    [
        (100, 23),  # the picture behind the last one tells that both are damaged
        (100, 89),  # a span that begins in a pause
        (777, 35),  # an avi without its head: the rate is the codec's
        (777, 55),  # HEVC in open groups, where strict decoding alone tells
        (777, 477),  # a range's key frame in open groups
        (4321, 12),  # MPEG-2, of which several threads tell nothing
        (4321, 67),  # HEVC, of which threads of slices tell nothing
        (4321, 199),  # a reference picture of H.264 is lost
        (4321, 324),  # the first key frame is lost, and so all up to the next one
        (4321, 641),  # a clip's last frame of a varying rate
        (4321, 778),  # a unit that cannot be one
    ],
)
def test_what_was_found_wrong_stays_mended(tmp_path, seed, case):
    steps = list(film_trial.trial(seed, case, tmp_path))
    assert any(step.verdict for step in steps)
    assert not [step for step in steps if step.verdict in film_trial.FAULTS]


def test_a_case_is_the_same_again(tmp_path):
    def verdicts(done):
        return re.findall(r"^(?:exact|warned|refused|untold): .*\n    (.*)$", done.stdout, re.MULTILINE)

    first, again = (fuzz("--seed", "6", "--case", "3", "--out", str(tmp_path / name)) for name in "ab")
    assert verdicts(first) == verdicts(again) and len(verdicts(first)) > 3
    kept = [sorted(file.read_bytes() for file in (tmp_path / name).rglob("film.*")) for name in "ab"]
    assert len(kept[0]) == 1 and [len(data) for data in kept[0]] == [len(data) for data in kept[1]]


def spoiled(frames: np.ndarray) -> np.ndarray:
    """The same with a corner gone black."""
    corner = np.zeros(frames.shape[1:], dtype=bool)
    corner[60:, 84:] = True
    return np.where(corner, 0, frames)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda video: {"frames": np.roll(video.frames, 1, axis=0)}, "frames are others"),
        (lambda video: {"frame_seconds": video.frame_seconds + 0.1}, "seconds are off"),
        (lambda video: {"frames": spoiled(video.frames)}, "of 100 frames are"),
        (lambda video: {"total_frames": video.total_frames - 1}, "99 frames for 100"),
    ],
)
def test_what_is_wrong_is_noticed(tmp_path, monkeypatch, change, why):
    path = make(Film(), tmp_path / "film.mp4")
    right = read_video(path)
    assert film_trial._read(Film(), truth_of(Film()), path, None) == ("exact", "")
    monkeypatch.setattr(film_trial, "read_video", lambda path: dataclasses.replace(right, **change(right)))
    verdict, told = film_trial._read(Film(), truth_of(Film()), path, None)
    assert verdict == "wrong" and why in told


def test_pictures_tell_their_numbers_and_their_damage():
    frames = np.stack([picture(number, (96, 72), "yuv420p").to_ndarray(format="rgb24") for number in range(300)])
    numbers, off = numbers_in(frames, 300)
    assert numbers.tolist() == list(range(300)) and off.max() < 3
    frames[7, :40] = 0
    assert numbers_in(frames[7:8], 300)[1] > film_trial.VISIBLE


@pytest.mark.parametrize("kind", DAMAGES)
def test_damage_changes_a_file_and_is_the_same_again(tmp_path, kind):
    path = make(Film(ending="flv"), tmp_path / "film.flv")
    for name in ("a.flv", "b.flv"):
        damage(kind, path, tmp_path / name, random.Random(3))
    assert (tmp_path / "a.flv").read_bytes() == (tmp_path / "b.flv").read_bytes() != path.read_bytes()


def test_films_of_many_kinds_are_drawn():
    films = [draw_film(random.Random(f"1-{case}")) for case in range(400)]
    assert len({film.ending for film in films}) > 12 and len({film.codec for film in films}) > 14
    assert {film.stamps for film in films} == {
        "even", "late", "varying", "pause", "early", "storage", "missing", "equal"
    }  # fmt: skip
