"""LVSum: what people and systems say of a long video is read as the published script reads it, and scored so."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from evaluate_world import run
from published import lvsum_entry, lvsum_prediction
from scipy.stats import kendalltau, spearmanr

from llava_v2xum.evaluate.formats.prediction_files import load_predictions
from llava_v2xum.evaluate.formats.references import load_references
from llava_v2xum.evaluate.reports.scores import read_report

PEOPLE = (
    ((0, 1500, 3.0, "A man runs."), (4200, 6000, 1.0, "He stops."), (5100, 5900, 2.0, "He sits down.")),
    ((2000, 5000, 2.0, "The man sits."),),
)
SAID = (("00:00:00", "00:00:02", 3, "A man runs."), (4.5, 7.2, 1, "He sits."), (6, 40, 2, "A dog barks."))
LENGTH = 11.3


def dumped(path, content):
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def annotated(tmp_path):
    return dumped(tmp_path / "lvsum.json", [lvsum_entry(f"p{n}", *some) for n, some in enumerate(PEOPLE)])


def filled(segments, count):
    """Each second's score by brute force, 0 where nothing is selected, and -1 in place of a selected 0."""
    found = np.zeros(count)
    for start, end, score, *_ in segments:
        for second in range(count):
            if math.floor(start) <= second < math.ceil(end):
                found[second] = score
    return found


def expected():
    """The script's figures, by brute force over the seconds."""
    count = math.ceil(LENGTH)
    said = filled([(0, 2, 3), (4.5, 7.2, 1), (6, 40, 2)], count)
    rows = [filled([(a / 1000, b / 1000, c) for a, b, c, _ in some], count) for some in PEOPLE]
    f1 = [2 * ((said > 0) & (row > 0)).sum() / ((said > 0).sum() + (row > 0).sum()) for row in rows]
    return {
        "f1": np.mean(f1),
        "f1_max": max(f1),
        "kendall_per_annotator": np.mean([kendalltau(row, said).correlation for row in rows]),
        "spearman_per_annotator": np.mean([spearmanr(row, said).correlation for row in rows]),
    }


def test_people_are_read_in_milliseconds_with_their_scores_and_words(annotated):
    (one,) = load_references(annotated).annotations
    assert (one.duration_seconds, one.sampled_frames, one.annotators) == (6.0, 6, 2)
    assert one.selections == ((1, 1, 0, 0, 1, 1), (0, 0, 1, 1, 1, 0))
    assert one.saliency == ((3, 3, 0, 0, 1, 2), (0, 0, 2, 2, 2, 0))  # the later of overlapping segments
    assert [s.text for s in one.sentences] == ["A man runs.", "He stops.", "He sits down."]
    assert one.alternatives[0][0].text == "The man sits." and one.alternatives[0][0].segment == (2.0, 5.0)


def test_time_stamps_stand_in_for_milliseconds(tmp_path):
    entry = lvsum_entry("p", (0, 0, 1.0, "A man runs."))
    entry["summary_timestamps"] = [
        {"start_timestamp": "00:01:02", "end_timestamp": "00:01:04", "score": 1.0, "description": ""}
    ]
    (one,) = load_references(dumped(tmp_path / "l.json", [entry])).annotations
    assert np.flatnonzero(one.selections[0]).tolist() == [62, 63] and one.sentences == ()


def test_a_prediction_is_cut_at_its_videos_end_and_that_is_told(tmp_path, caplog):
    path = dumped(tmp_path / "p.json", [lvsum_prediction(LENGTH, *SAID), lvsum_prediction(5, video="silent")])
    found = load_predictions(path)
    one = found["long_1"]
    assert one.frames == (0, 1, 4, 5, 6, 7, 8, 9, 10, 11) and one.importance.tolist() == [3, 3, 0, 0, 1, 1, *[2] * 6]
    assert (one.clock, one.duration_seconds, one.text) == ("seconds", LENGTH, "A man runs. He sits. A dog barks.")
    assert (found["silent"].frames, found["silent"].text) == ((), "")
    assert "1 segments reach beyond their video's end" in caplog.text


def test_figures_are_those_of_the_script_and_seconds_behind_the_last_annotated_one_count(annotated, tmp_path):
    predictions = dumped(tmp_path / "p.json", [lvsum_prediction(LENGTH, *SAID)])
    options = ["--tokenizer", "plain", "--no-meteor", "--resamples", 0, "--out", tmp_path / "report"]
    assert run("lvsum", "--predictions", predictions, "--annotations", annotated, *options) == 0
    report = read_report(tmp_path / "report")
    for name, value in expected().items():
        assert report.score("system", name).value == pytest.approx(value, abs=1e-12), name
    assert "hl_map" not in report.rows["system"]  # QVHighlights' grades are another scale
    assert report.score("system", "rouge_l").value > 0.3


@pytest.mark.parametrize(
    "change, message",
    [
        ({"score": 4}, "score must be a number from 0 to 3, got 4"),
        ({"start_time": "soon"}, "start_time must be seconds or a time stamp HH:MM:SS, got 'soon'"),
        ({"end_time": 1.0, "start_time": 2.0}, r"ends before it starts: \[2.0, 1.0\]"),
        ({"description": None}, "description must be text"),
    ],
)
def test_a_wrong_segment_is_refused_by_name(tmp_path, change, message):
    entry = lvsum_prediction(LENGTH, *SAID)
    entry["summary_timestamps"][1].update(change)
    with pytest.raises(ValueError, match=rf"p.json: video 'long_1': summary_timestamps\[1\].*{message}"):
        load_predictions(dumped(tmp_path / "p.json", [entry]))


def test_wrong_annotations_lose_their_video_and_a_reversed_segment_itself_alone(tmp_path):
    entries = [
        lvsum_entry("p", (2000, 1000, 1.0, "Back."), (0, 900, 1.0, "A man runs.")),
        lvsum_entry("p", (0, 900, 1.0, "A man."), video="twice"),
        lvsum_entry("p", (0, 900, 1.0, "A man."), video="twice"),
    ]
    found = load_references(dumped(tmp_path / "l.json", entries))
    assert [one.video_id for one in found.annotations] == ["long_1"]
    assert "ends before it starts" in found.dropped["long_1"][0]
    assert "entry 2: the annotator 'p' is there twice" in str(found.rejected[0])
