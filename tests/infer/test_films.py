"""A long film, told in windows: more of it is found than a hundred frames of the whole show."""

import json

import numpy as np
import pytest

from llava_v2xum import Summarizer
from llava_v2xum.core.answers import parse_answer
from llava_v2xum.core.errors import V2XumError
from llava_v2xum.evaluate.formats.predictions import Prediction
from llava_v2xum.features.video_features import VideoFeatures
from llava_v2xum.infer.run import main
from llava_v2xum.media.video import VideoError
from llava_v2xum.shapes import make_clip, truth_record, write_clip
from llava_v2xum.shapes.film import make_film

MINUTES = 20


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A rendered film of 20 minutes and its truth: of those with many events, the one that is most quickly made."""
    films = [make_film(21, index, MINUTES) for index in range(20)]
    clip = min((film for film in films if len(film.events) > 8), key=lambda film: film.noise_sigma)
    return write_clip(clip, tmp_path_factory.mktemp("films") / f"{clip.video_id}.mp4"), truth_record(clip)


@pytest.fixture(scope="module")
def summarizer() -> Summarizer:
    return Summarizer.from_pretrained(device="cpu")


def found(record: dict, truth: dict) -> float:
    """The share of the events whose seconds a sentence tells: intersection over union of at least a half."""

    def tells(event: dict, sentence: dict) -> bool:
        starts, ends = zip(*((one["start_seconds"], one["end_seconds"]) for one in (event, sentence)))
        return min(ends) - max(starts) >= (max(ends) - min(starts)) / 2

    cited = [sentence for sentence in record["sentences"] if sentence["frames"]]
    return float(np.mean([any(tells(event, sentence) for sentence in cited) for event in truth["events"]]))


def test_windows_find_what_frames_of_the_whole_do_not_show(summarizer, film):
    path, truth = film
    record = summarizer.summarize(path).record
    assert found(record, truth) >= 0.9 > 0.5 > found(summarizer.summarize(path, window="off").record, truth)
    assert record["duration_seconds"] == truth["duration"] == 60 * MINUTES
    seconds = np.array(record["frame_seconds"])
    assert len(seconds) == record["num_frames"] > 250 and (np.diff(seconds) > 0).all()
    assert sum(record["importance"]) == pytest.approx(1, abs=1e-4)
    assert [window["frames"][0] for window in record["windows"][1:]] == [
        window["frames"][1] + 1 for window in record["windows"][:-1]
    ]
    read = parse_answer(record["answer"], record["num_frames"])
    assert [one.text for one in read.sentences] == [one["text"] for one in record["sentences"]]
    assert list(read.frames) == record["frames"]


def test_a_short_video_is_answered_as_ever(summarizer, tmp_path):
    clip = make_clip(77, 3)
    path = write_clip(clip, tmp_path / "clip.mp4")
    as_ever = summarizer.summarize(path, window="off").record
    assert as_ever.pop("window") == "off" and "windows" not in as_ever
    record = summarizer.summarize(path).record
    np.testing.assert_allclose(record.pop("importance"), as_ever.pop("importance"), atol=1e-6)
    assert record == as_ever
    halves = summarizer.summarize(path, window=clip.duration_seconds * 0.6).record
    assert len(halves["windows"]) == 2 and 150 < halves["num_frames"] <= 200
    assert Prediction.from_record(halves).frames == tuple(halves["frames"])  # evaluate reads it


def test_all_tasks_of_a_film_come_from_one_reading_and_features_are_kept(film, tmp_path, monkeypatch):
    path, _ = film
    first = Summarizer.from_pretrained(device="cpu", feature_folder=tmp_path)
    made = first.summarize(path, "all")
    windows = len(made["both"].record["windows"])
    assert len(list(tmp_path.glob("*.npy"))) == windows == 4
    assert made["text"].record["importance"] is None and not made["text"].record["frames"]
    assert {len(one.thumbnails) for one in made.values()} == {made["both"].record["num_frames"]}
    monkeypatch.setattr(VideoFeatures, "_save", None)  # nothing is encoded again
    again = Summarizer.from_pretrained(device="cpu", feature_folder=tmp_path).summarize(path, "all")
    assert {task: one.record for task, one in again.items()} == {task: one.record for task, one in made.items()}
    with pytest.raises(V2XumError, match="made of another"):  # windows of another length are not taken for these
        for name in sorted(tmp_path.glob("*.npy")):
            name.rename(name.with_name(name.name.replace("of-4", "of-3")))
        sources = tmp_path / "sources.jsonl"
        sources.write_text(sources.read_text().replace("of-4", "of-3"))
        Summarizer.from_pretrained(device="cpu", feature_folder=tmp_path).summarize(path, window=450)


def test_a_film_that_cannot_be_read_fails_once(summarizer, film, tmp_path):
    path, _ = film
    cut = tmp_path / "cut.mp4"
    data = path.read_bytes()
    cut.write_bytes(data[: data.index(b"mdat") + 200] + bytes(len(data) - data.index(b"mdat") - 200))
    failed = []
    assert list(summarizer.summarize_many([cut], on_error=lambda *of: failed.append(of), workers=0)) == []
    assert len(failed) == 1 and failed[0][0] == cut and isinstance(failed[0][1], VideoError)


def test_the_command_tells_of_windows_and_does_a_film_anew_for_others(film, tmp_path, capsys):
    path, _ = film
    arguments = [str(path), "--output-dir", str(tmp_path), "--format", "json", "--device", "cpu"]
    assert main(arguments) == 0
    assert "(20:00, 4 fps, BOTH summary, in 4 windows)" in capsys.readouterr().out
    assert main(arguments) == 0
    assert capsys.readouterr().out == ""  # done already
    assert main([*arguments, "--window", "off", "--overwrite"]) == 0
    assert "windows" not in json.loads((tmp_path / path.stem / "summary.json").read_text())
    with pytest.raises(SystemExit):
        main([*arguments, "--window", "never"])
    assert "error: --window must be auto, off or at least 1 second, got 'never'" in capsys.readouterr().err
