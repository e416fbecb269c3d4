"""Which windows a film gets where its header says little or wrong things, and what each adds to the summary."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from summaries import CONSTANT, write_source

from llava_v2xum.core.sampling import FrameSampling
from llava_v2xum.core.timeline import Timeline
from llava_v2xum.core.windows import windows_of
from llava_v2xum.infer.engine.answers import Answer
from llava_v2xum.infer.films import Gathering, Part, film_summary, parts_of
from llava_v2xum.infer.video_summary import VideoSummary
from llava_v2xum.media.render import format_for_people
from llava_v2xum.media.video import Video

N = 10
RATE = 10.0  # frames a second of the films here
SAMPLING = FrameSampling(N)
LOOP = "A man runs. " * 30


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """Six seconds."""
    return write_source(tmp_path_factory.mktemp("film") / "film.mp4", CONSTANT)


def copied(source: Path, path: Path, form: str, **options: str) -> Path:
    with av.open(str(source)) as whole, av.open(str(path), "w", format=form, options=options) as copy:
        stream = copy.add_stream_from_template(whole.streams.video[0])
        for packet in whole.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                copy.mux(packet)
    return path


def parts(path: Path, window: str | float) -> list[Part]:
    return list(parts_of([path], SAMPLING, window))


def test_a_file_whose_header_tells_no_length_has_the_windows_of_its_packets(source, tmp_path):
    recorded = copied(source, tmp_path / "recorded.mkv", "matroska", live="1")
    with av.open(str(recorded)) as container:
        assert container.duration is None
    assert len(parts(source, 4.0)) == 2
    assert [part.window for part in parts(recorded, 4.0)] == [part.window for part in parts(source, 4.0)]
    assert parts(recorded, "auto") == parts(recorded, "off") == [Part(recorded)]


def made_of(seconds: np.ndarray, answer: str, duration: float, warnings: tuple[str, ...] = ()) -> VideoSummary:
    video = Video(
        Path("v.mp4"), np.empty((0, 4, 4, 3), np.uint8), np.arange(N), seconds, duration, RATE, N, warnings
    )
    told = Answer(answer, (1, 2), np.full(N, 1 / N), True)
    return VideoSummary.of(video, "both", told, Timeline(N), "m")


def film_of(announced: float, duration: float, *answers: str) -> VideoSummary:
    """A film that announces one length and has another, in windows of ten seconds."""
    windows = windows_of(SAMPLING, announced, 10.0)
    seconds = np.arange(round(duration * RATE)) / RATE
    made = [
        made_of(seconds[window.frame_numbers(seconds)], answer, duration)
        for window, answer in zip(windows, answers, strict=True)
    ]
    return film_summary(windows, made, SAMPLING)


def test_windows_behind_the_end_of_a_film_that_is_cut_off_tell_nothing():
    still = "Nothing moves [01, 02]."
    record = film_of(28.0, 8.0, "A man runs [01, 02].", still, still).record
    assert record["text"] == "A man runs." and len(record["windows"]) == 1
    assert record["windows"][0]["frames"] == [0, record["num_frames"] - 1]
    assert "in 1 window)" in format_for_people(record)


def test_a_window_whose_answer_goes_round_in_circles_leaves_the_others_theirs():
    made = film_of(19.0, 19.0, LOOP, "A man jumps [03, 04].")
    assert made.record["text"] == made.summary.text == "A man jumps."
    assert any("window 1 of 2: the answer repeats itself" in problem for problem in made.record["problems"])
    assert made.record["windows"][0]["answer"] == LOOP
    assert "A man jumps." in format_for_people(made.record) and "A man runs. A" not in format_for_people(made.record)


@pytest.mark.parametrize(("announced", "warns"), [(0.0, True), (28.0, True), (59.5, False)])
def test_a_film_that_is_much_longer_than_its_header_says_is_warned_of(announced, warns):
    gathering, path, duration = Gathering(SAMPLING, 10.0), Path("v.mp4"), 60.0
    windows = windows_of(SAMPLING, announced, 10.0) or (None,)
    seconds = np.arange(round(duration * RATE)) / RATE
    for window in reversed(windows):  # in any order
        numbers = (window or SAMPLING).frame_numbers(seconds)
        made = list(gathering.add(Part(path, window), {"both": made_of(seconds[numbers], "One [01].", duration)}))
    warnings = made[0]["both"].warnings
    assert made[0]["both"].record["window"] == 10.0
    assert bool(warnings) == warns
    assert all(warning.startswith("v.mp4: is longer than its header says: 10 frames") for warning in warnings)
