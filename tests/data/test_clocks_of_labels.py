"""The label of a second points at the frame of that second, also where the rate varies."""

from __future__ import annotations

import logging
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from instruct import an_entry, checker_of, gpt, human, write_json
from published import converter, instruct, videoxum

from llava_v2xum.core.answers import parse_answer
from llava_v2xum.data.frame_sources import StoredFeatures
from llava_v2xum.data.mixing import load_entries
from llava_v2xum.features import FeatureFolder
from llava_v2xum.features.sources import video_source
from llava_v2xum.media.video import Video, read_video

pytestmark = pytest.mark.pinned

VARYING = [1000 * i for i in range(20)] + [20000 + 40 * i for i in range(100)]  # milliseconds: a second, then 1/25
EVEN = [40 * i for i in range(600)]
CHANNELS = 4


def film(path: Path, stamps: list[int]) -> Path:
    """Grey frames that are shown at these milliseconds."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, stamp in enumerate(stamps):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), number % 256, np.uint8), format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 1000)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> dict[str, Video]:
    folder = tmp_path_factory.mktemp("videos")
    films = {"varying": VARYING, "even": EVEN}
    return {name: read_video(film(folder / f"{name}.mkv", stamps)) for name, stamps in films.items()}


def store_of(folder: Path, videos: dict[str, Video], num_frames: int = 100) -> FeatureFolder:
    store = FeatureFolder(folder, {"num_frames": num_frames, "frame_sampling": "linspace"})
    for name, video in videos.items():
        store.save(name, np.zeros((num_frames, CHANNELS), np.float32), video_source(video))
    return store


def shown_at(video: Video, answer: str) -> list[float]:
    """The seconds of the frames that an answer cites."""
    return [float(video.frame_seconds[index]) for index in parse_answer(answer).frames]


def published(name: str, seconds: list[float], duration: float = 24.0) -> dict:
    token = {f"<f{number}>": second for number, second in enumerate(seconds)}
    turns = [human("<video>\nPlease generate a VIDEO summarization for this video."),
        gpt("\n[" + ", ".join(token) + "].")]  # fmt: skip
    return {"id": name, "meta": {"duration": duration, "sampled_frames": 24, "token": token}, "conversations": turns}


def marked(name: str, start: float, end: float) -> dict:
    """A VideoXum entry of one sentence, whose span three annotators marked."""
    hot = [[int(start <= second <= end) for second in range(24)]] * 3
    return videoxum(name, duration=24.0, sampled_frames=24, timestamps=[[start, end]], tsum=["A man runs."],
        vsum=[[[start, end]] * 3], vsum_onehot=hot)  # fmt: skip


def test_training_takes_the_seconds_of_the_stored_frames(tmp_path, videos, caplog):
    source = StoredFeatures(store_of(tmp_path / "features", videos), (100, CHANNELS))
    entries = [published("varying", [3, 10, 21.01]), published("even", [3, 10, 21.01]), published("varying", [2])]
    checker = checker_of(source, frames=100)
    checker = type(checker)(**{**vars(checker), "clocks": type(checker.clocks)("frames", source.times)})
    with caplog.at_level(logging.WARNING):
        checked = load_entries([write_json(tmp_path / "set.json", entries)], checker, strict=True)
    answers = [entry.turns[1]["value"] for entry in checked]
    assert shown_at(videos["varying"], answers[0]) == [3.0, 10.0, 21.0]
    assert shown_at(videos["varying"], answers[2]) == [2.0]
    assert answers[1] == "\n[12, 42, 88]."  # the released rule: round(3 / 24 * 100), ...
    assert [record.message for record in caplog.records] == [
        "1 video ('varying') with frames at a varying rate, or of another length than annotated: the indexes go by the "
        "seconds of the frames"
    ]


def test_a_store_without_the_seconds_goes_on_and_it_is_said_once(tmp_path, caplog):
    folder = FeatureFolder(tmp_path / "features", {"tower": "tiny"})
    for name in ("v_1", "v_2"):
        folder.save(name, np.zeros((10, 4)), {"bytes": 7})  # as older releases kept it
    entries = [an_entry(), an_entry(id="v_2"), an_entry(frame_indices=[0, 5, 9])]
    checker = checker_of(StoredFeatures(folder, (10, 4)))
    with caplog.at_level(logging.WARNING):
        checked = load_entries([write_json(tmp_path / "set.json", entries)], checker, strict=True)
    assert checked[0].turns[1]["value"] == "\n[00]A woman brushes her hair.\n[05][09]A man runs."
    assert len(caplog.records) == 1 and "of 2 of 2 videos only the mean frame rate is known" in caplog.text


def test_conversion_takes_the_seconds_of_the_stored_frames(tmp_path, capsys, videos):
    store_of(tmp_path / "features", videos)
    convert, more = converter(tmp_path, capsys), ("--tasks", "video", "--annotators", "first")
    content = [marked("varying", 2, 10), marked("even", 2, 10)]
    *_, plain, report, err = convert("videoxum", content, *more)
    assert "of 2 of 2 videos only the mean frame rate is known" in err
    assert report["clocks"]["mean_rate_alone_known"] == 2
    *_, made, report, err = convert("videoxum", content, *more, "--features", str(tmp_path / "features"))
    varying, even = (entry["conversations"][1]["value"] for entry in made)
    frames = videos["varying"].frame_seconds
    assert shown_at(videos["varying"], varying) == [second for second in frames if 2 <= second <= 10]
    assert made[1] == plain[1] and even == f"[{', '.join(f'{index:02d}' for index in range(8, 43))}]."
    assert "1 video ('varying') with frames at a varying rate" in err and "mean" not in err
    assert report["settings"]["clock"] == "frames" and report["clocks"]["by_frame_seconds"] == 1
    released = ("--features", str(tmp_path / "features"), "--clock", "released")
    *_, made, report, err = convert("videoxum", content, *more, *released)
    assert made == plain and err == "" and report["settings"]["clock"] == "released"


def test_conversion_refuses_features_of_other_frames(tmp_path, capsys):
    store_of(tmp_path / "features", {}).save("v_1", np.zeros((100, 4)), {"bytes": 7})
    convert = converter(tmp_path, capsys)
    with pytest.raises(SystemExit):
        convert("videoxum", [videoxum()], "--num-frames", "50", "--features", str(tmp_path / "features"))
    assert "expected features of FrameSampling(num_frames=50, rule='linspace'), got those of" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        convert("videoxum", [videoxum()], "--features", str(tmp_path / "none"))
    assert "expected a folder of features with features.json" in capsys.readouterr().err


def test_a_file_that_is_cut_off_is_told_and_its_seconds_count(tmp_path, capsys, videos):
    """The even film is 24 s long; an annotation of 40 s is of a longer one."""
    store_of(tmp_path / "features", videos)
    entry = instruct()
    entry["id"], entry["meta"]["duration"] = "even", 40.0
    *_, made, _, err = converter(tmp_path, capsys)(
        "instruct-v2xum", [entry], "--tasks", "video", "--features", str(tmp_path / "features")
    )
    seconds = sorted(set(entry["meta"]["token"].values()))
    assert shown_at(videos["even"], made[0]["conversations"][1]["value"])[:2] == pytest.approx(seconds[:2], abs=0.13)
    assert "'even' (24.0 s, annotated 40.0 s): perhaps other files, or cut ones" in err
