"""The prediction form: what infer writes and what models answer is read; what the schema does not allow is named."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llava_v2xum.core.answers import parse_answer
from llava_v2xum.core.clock import FrameTimes
from llava_v2xum.core.errors import V2XumError
from llava_v2xum.evaluate.formats.prediction_records import FORM_KEYS, INFER_KEYS, SENTENCE_KEYS
from llava_v2xum.evaluate.formats.predictions import (
    SUMMARIES,
    PredictedSentence,
    Prediction,
    merge_predictions,
    read_predictions,
    write_predictions,
)
from llava_v2xum.infer.results import FILE_NAME
from llava_v2xum.media.render import make_record

pytestmark = pytest.mark.pinned

ANSWERS = Path(__file__).resolve().parents[3] / "shared" / "data" / "released_model_answers.jsonl"

RECORD = {
    "video_id": "v_1",
    "num_frames": 4,
    "frames": [1, 3],
    "importance": [0, 0.5, 1, 0.25],
    "text": "A man runs. He stops.",
    "sentences": [
        {"text": "A man runs.", "frames": [1], "start_seconds": 0.5, "end_seconds": 2},
        {"text": "He stops.", "frames": [3], "start_seconds": None, "end_seconds": None},
    ],
    "clock": "frames",
    "frame_seconds": [0.0, 1.0, 7.5, 8.0],
    "duration_seconds": 9.0,
}


def written(folder, *records, name="p.jsonl"):
    path = folder / name
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def summary_record(answer="A man runs [03, 01]. He stops [01].", task="both", video_id="v_1", importance=None):
    """What infer writes of a video of four frames, a second each."""
    return make_record(
        parse_answer(answer, 4, task),
        video_id=video_id,
        video=f"videos/{video_id}.mp4",
        duration_seconds=4.0,
        fps=25.0,
        frame_seconds=[0.0, 1.0, 2.0, 3.0],
        task=task,
        answer=answer,
        importance=importance,
        model="demo",
        versions={"llava_v2xum": "0"},
    )


def test_a_record_is_read_and_written_as_it_stands(tmp_path):
    [prediction] = read_predictions(written(tmp_path, RECORD)).values()
    assert prediction.to_record() == {**RECORD, "frames": (1, 3), "sentences": [
        {**sentence, "frames": tuple(sentence["frames"])} for sentence in RECORD["sentences"]
    ], "frame_seconds": (0.0, 1.0, 7.5, 8.0)}  # fmt: skip
    assert prediction.importance.dtype == float and not prediction.importance.flags.writeable
    assert write_predictions(tmp_path / "q.jsonl", [prediction]) == 1
    assert json.loads((tmp_path / "q.jsonl").read_text()) == RECORD


def test_null_and_empty_are_not_the_same(tmp_path):
    path = written(tmp_path, {"video_id": "a", "num_frames": 3}, {"video_id": "b", "num_frames": 3, "frames": [],
        "text": "", "sentences": []})  # fmt: skip
    silent, empty = read_predictions(path).values()
    assert (silent.frames, silent.importance, silent.text, silent.sentences, silent.clock) == (None,) * 4 + ("frames",)
    assert (empty.frames, empty.importance, empty.text, empty.sentences) == ((), None, "", ())


def test_n_is_the_lines_own_or_the_number_of_scores_or_the_callers(tmp_path):
    path = written(tmp_path, {"video_id": "a", "num_frames": 7}, {"video_id": "b", "importance": [1, 2]})
    assert [one.num_frames for one in read_predictions(path).values()] == [7, 2]
    path = written(tmp_path, {"video_id": "a", "frames": [4]})
    assert read_predictions(path, 5)["a"].num_frames == 5
    with pytest.raises(ValueError, match=r"p\.jsonl:1: video 'a': missing: num_frames"):
        read_predictions(path)
    with pytest.raises(ValueError, match="importance must have 5 numbers, got 2"):
        read_predictions(written(tmp_path, {"video_id": "b", "importance": [1, 2]}), 5)


def test_indexes_are_kept_ascending_and_once():
    sentence = PredictedSentence("A man.", (2, 0, 2))
    prediction = Prediction("a", 4, [3, 1, 3], sentences=[sentence])
    assert (prediction.frames, prediction.sentences[0].frames) == ((1, 3), (0, 2))


def test_citations_are_taken_out_of_every_text(tmp_path):
    record = {
        "video_id": "a",
        "num_frames": 9,
        "text": "A man runs [05, 06]. He [laughs] stops [99].",
        "sentences": [{"text": "[07]A man runs."}, {"text": " as it [stands] "}],
    }
    prediction = read_predictions(written(tmp_path, record))["a"]
    assert prediction.text == "A man runs. He [laughs] stops."
    assert [one.text for one in prediction.sentences] == ["A man runs.", " as it [stands] "]
    del record["text"]
    assert read_predictions(written(tmp_path, record))["a"].text == "A man runs. as it [stands]"


@pytest.mark.parametrize("task", ["both", "video", "text"])
def test_infers_records_speak_of_what_their_task_asks_for(tmp_path, task):
    answers = {"both": "A man runs [03, 01]. He stops [01].", "video": "[01, 03].", "text": "A man runs. He stops."}
    importance = None if task == "text" else [0.1, 0.2, 0.3, 0.4]
    record = summary_record(answers[task], task, importance=importance)
    prediction = read_predictions(written(tmp_path, record, name=SUMMARIES))["v_1"]
    assert prediction.num_frames == 4
    if task == "text":
        assert (prediction.frames, prediction.importance) == (None, None)
    else:
        assert (prediction.frames, prediction.importance.tolist()) == ((1, 3), importance)
    if task == "video":
        assert (prediction.text, prediction.sentences) == (None, None)
    else:
        assert prediction.text == "A man runs. He stops."
    if task == "both":
        assert prediction.sentences[0] == PredictedSentence("A man runs.", (1, 3), 1.0, 4.0)


def test_infers_empty_answers_are_empty_answers(tmp_path):
    prediction = read_predictions(written(tmp_path, summary_record("")))["v_1"]
    assert (prediction.frames, prediction.importance, prediction.text, prediction.sentences) == ((), None, "", ())


def test_the_windows_of_a_film_that_infer_summarized_are_no_moments(tmp_path):
    window = {"start_seconds": 0.0, "end_seconds": 4.0, "frames": [0, 3], "answer": "A man runs [01]."}
    record = {**summary_record("A man runs [01]."), "windows": [window], "window": 60.0}
    prediction = read_predictions(written(tmp_path, record, name=SUMMARIES))["v_1"]
    assert prediction.windows is None and prediction.frames == (1,)
    with pytest.raises(V2XumError, match=r"windows\[0\] must be a list"):  # a slip must not score as a miss
        Prediction.from_record({**RECORD, "windows": [{"start": 0.0, "end": 4.0}]})


def test_what_infer_writes_is_known():
    assert set(summary_record()) == {*FORM_KEYS, *INFER_KEYS} - {
        "clock", "edit", "video_track", "window", "windows",
    }  # fmt: skip
    assert set(summary_record()["sentences"][0]) == set(SENTENCE_KEYS)
    assert SUMMARIES == FILE_NAME


def test_older_files_call_the_clock_of_the_frames_that_of_the_prompts():
    assert Prediction.from_record({**RECORD, "clock": "prompts"}).to_record()["clock"] == "frames"


def test_a_raw_answer_may_tell_when_its_frames_are_shown():
    raw = {"video_id": "v", "answer": "A man runs [01].", "num_frames": 3, "frame_seconds": [0, 9, 10], "other": 1}
    assert Prediction.from_record(raw).frame_times == FrameTimes((0.0, 9.0, 10.0), 15.0)
    assert Prediction.from_record({**raw, "duration_seconds": 12, "clock": "released"}).frame_times is None


def test_in_a_summaries_file_the_later_line_counts(tmp_path, caplog):
    lines = [summary_record(), summary_record(video_id="v_2"), summary_record("Nothing [00].")]
    with caplog.at_level(logging.WARNING):
        predictions = read_predictions(written(tmp_path, *lines, name=SUMMARIES))
    assert list(predictions) == ["v_1", "v_2"] and predictions["v_1"].frames == (0,)
    assert "1 lines were replaced by later ones" in caplog.text
    with pytest.raises(ValueError, match=r"p\.jsonl:3: video 'v_1': line 1 predicts the same video"):
        read_predictions(written(tmp_path, *lines))


def test_a_raw_answer_is_parsed(tmp_path):
    answer = "A man runs [03, 05]. He stops [11]."
    lines = [
        {"video_id": "a", "answer": answer, "duration": 4.2},
        {"video_id": "b", "answer": answer, "num_frames": 10},
        {"video_id": "c", "answer": "A man runs.", "task": "text"},
        {"video_id": "d", "answer": "[03]", "task": "video"},
        {"video_id": "e", "answer": ""},
    ]
    whole, short, text, video, empty = read_predictions(written(tmp_path, *lines)).values()
    assert (whole.num_frames, whole.frames, whole.text) == (100, (3, 5, 11), "A man runs. He stops.")
    assert whole.sentences == (PredictedSentence("A man runs.", (3, 5)), PredictedSentence("He stops.", (11,)))
    assert (short.num_frames, short.frames) == (10, (3, 5))
    assert (text.frames, text.text, video.frames, video.text) == (None, "A man runs.", (3,), None)
    assert (empty.frames, empty.text, empty.sentences) == ((), "", ())
    assert read_predictions(written(tmp_path, lines[0]), 8)["a"].frames == (3, 5)


@pytest.mark.skipif(not ANSWERS.exists(), reason="the released model's answers are not here")
def test_the_released_models_answers_are_read():
    predictions = read_predictions(ANSWERS)
    records = [json.loads(line) for line in ANSWERS.read_text().splitlines()]
    assert len(predictions) == len(records) == 300
    for record in records:
        summary = parse_answer(record["answer"])
        prediction = predictions[record["video_id"]]
        assert (prediction.frames, prediction.text) == (summary.frames, summary.text)
        assert "[" not in prediction.text


def changed(**changes):
    return {**RECORD, **changes}


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ([], "p.jsonl:1: expected a JSON object, got list"),
        ({"num_frames": 3}, "p.jsonl:1: missing: video_id"),
        ({"answer": "A man."}, "p.jsonl:1: missing: video_id"),
        ({"video_id": "a", "answer": 7}, "answer must be text, got 7"),
        ({"video_id": "a", "answer": "", "num_frames": 0}, "num_frames must be a positive integer, got 0"),
        ({"video_id": "a", "answer": "", "task": "all"}, "task must be one of video, text, both, got 'all'"),
        (changed(video_id=""), "video '': video_id must be text that is not empty"),
        (changed(frame=[1]), "video 'v_1': unknown keys frame; expected video_id"),
        (changed(num_frames=4.0), "num_frames must be a positive integer, got 4.0"),
        (changed(frames=[4]), r"frames must be indexes in 0..3, got 4"),
        (changed(frames=[-1]), r"frames must be indexes in 0..3, got -1"),
        (changed(frames=[1.0]), r"frames must be indexes in 0..3, got 1.0"),
        (changed(frames=[True]), r"frames must be indexes in 0..3, got True"),
        (changed(frames=2), "frames must be a list, got 2"),
        (changed(importance=[0, 1, 2]), "importance must have 4 numbers, got 3"),
        (changed(importance=[0, 1, 2, float("nan")]), "importance must hold finite numbers alone, got nan"),
        (changed(importance=[0, 1, 2, None]), "importance must hold finite numbers alone, got None"),
        (changed(text=["A man."]), r"text must be text, got \['A man.'\]"),
        (changed(text="\ud800"), "text is no valid Unicode"),
        (changed(sentences={}), "sentences must be a list"),
        (changed(sentences=["A man."]), r"sentences\[0\]: expected a JSON object, got str"),
        (changed(sentences=[{"frames": [1]}]), r"sentences\[0\]: missing: text"),
        (changed(sentences=[{"text": "", "frame": 1}]), r"sentences\[0\]: unknown keys frame"),
        (changed(sentences=[{"text": "", "frames": [9]}]), r"sentences\[0\].frames must be indexes in 0..3, got 9"),
        (changed(sentences=[{"text": "", "start_seconds": 1}]), r"sentences\[0\] must have 0 <= start_seconds"),
        (changed(sentences=[{"text": "", "start_seconds": 2, "end_seconds": 1}]), r"got \[2, 1\]"),
        (changed(sentences=[{"text": "", "start_seconds": -1, "end_seconds": 1}]), r"got \[-1, 1\]"),
        (changed(frame_seconds=[0, 1, 2]), "frame_seconds must have 4 numbers, got 3"),
        (changed(frame_seconds=[0, 2, 1, 3]), r"frame_seconds must ascend from 0 or later, got \[0.0, 2.0, 1.0, 3.0\]"),
        (changed(duration_seconds=0), "duration_seconds must be a positive number, got 0"),
        (changed(clock="minutes"), "clock must be one of frames, released, samples, .*, got 'minutes'"),
    ],
)
def test_what_the_schema_does_not_allow_is_named(tmp_path, record, message):
    with pytest.raises(ValueError, match=message):
        read_predictions(written(tmp_path, record))


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + json.dumps(RECORD).encode() + b"\r\n")
    assert list(read_predictions(tmp_path / "a.jsonl")) == [RECORD["video_id"]]


def test_a_file_that_is_none_is_named(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps(RECORD) + "\n\n{")
    with pytest.raises(ValueError, match=r"a\.jsonl:3: expected one JSON object a line"):
        read_predictions(tmp_path / "a.jsonl")
    (tmp_path / "a.jsonl").write_bytes(json.dumps(RECORD).encode("utf-16"))
    with pytest.raises(ValueError, match=r"a\.jsonl:1: expected one JSON object a line, in UTF-8"):
        read_predictions(tmp_path / "a.jsonl")
    (tmp_path / "a.jsonl").write_text("\n")
    with pytest.raises(ValueError, match=r"a\.jsonl: expected one prediction a line, got an empty file"):
        read_predictions(tmp_path / "a.jsonl")


def test_nothing_half_written_stays(tmp_path):
    def broken():
        yield Prediction("a", 3)
        raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError):
        write_predictions(tmp_path / "p.jsonl", broken())
    assert not list(tmp_path.iterdir())


def test_merging_takes_each_kind_from_the_file_that_has_it():
    video = {"a": Prediction("a", 4, (1,), np.arange(4.0)), "b": Prediction("b", 4, ())}
    sentences = (PredictedSentence("A."),)
    text = {"c": Prediction("c", 9, text="C."), "a": Prediction("a", 9, text="A.", sentences=sentences)}
    both = {"d": Prediction("d", 4, (2,), text="both", sentences=())}
    merged = merge_predictions([video, text, both, {"a": video["a"], "d": both["d"]}])
    assert list(merged) == ["a", "b", "c", "d"]
    assert (merged["a"].frames, merged["a"].importance.tolist(), merged["a"].num_frames) == ((1,), [0, 1, 2, 3], 4)
    assert (merged["a"].text, merged["a"].sentences) == ("A.", sentences)
    assert (merged["b"], merged["c"], merged["d"]) == (video["b"], text["c"], both["d"])
    silent = Prediction("e", 4)
    assert merge_predictions([{"e": silent}])["e"] is silent and merge_predictions([]) == {}


@pytest.mark.parametrize(
    "one, other, what",
    [
        ({"importance": np.arange(4.0)}, {"importance": np.arange(4.0)[::-1]}, "frames or importance"),
        ({"importance": np.arange(4.0)}, {"frames": (3,)}, "frames or importance"),
        ({"frames": (1,)}, {"frames": (1,), "num_frames": 9}, "frames or importance"),
        ({"text": "A."}, {"text": "B."}, "text or sentences"),
        ({"text": "A."}, {"frames": (1,), "text": ""}, "text or sentences"),
    ],
)
def test_two_files_that_differ_over_a_video_are_refused_in_either_order(one, other, what):
    """Whichever came first won once, and the figure was that of the order."""
    made = [Prediction("a", **{"num_frames": 4, **fields}) for fields in (one, other)]
    for files, names in ((made, ["x.json", "y.json"]), (made[::-1], ["y.json", "x.json"])):
        expected = f"video 'a': {names[0]} and {names[1]} both say its {what}, and not the same"
        with pytest.raises(ValueError, match=re.escape(expected)):
            merge_predictions([{"a": file} for file in files], names)


@pytest.mark.parametrize("other", [{"num_frames": 9}, {"num_frames": 4, "clock": "samples"}])
def test_merging_never_mixes_scales(other):
    video = Prediction("a", 4, (1,))
    text = Prediction("a", text="A.", sentences=(PredictedSentence("A.", (1,)),), **other)
    with pytest.raises(ValueError, match="video 'a': .* of different N or clock: 4 frames and"):
        merge_predictions([{"a": video}, {"a": text}])


texts = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="["), max_size=12)


@st.composite
def predictions(draw):
    count = draw(st.integers(1, 6))
    frames = st.lists(st.integers(0, count - 1), max_size=4).map(tuple)
    span = st.just((None, None)) | st.tuples(st.floats(0, 9), st.floats(0, 9)).map(sorted)
    sentence = st.builds(lambda text, cited, times: PredictedSentence(text, cited, *times), texts, frames, span)
    return Prediction(
        draw(texts.map(lambda text: "v" + text)),
        count,
        draw(st.none() | frames),
        draw(st.none() | st.lists(st.floats(-9, 9), min_size=count, max_size=count)),
        draw(texts),
        draw(st.none() | st.lists(sentence, max_size=3).map(tuple)),
        draw(st.sampled_from(["frames", "released", "samples"])),
    )


@settings(max_examples=50, deadline=None, database=None)
@given(items=st.lists(predictions(), min_size=1, max_size=3, unique_by=lambda one: one.video_id))
def test_what_is_written_is_read_back(tmp_path_factory, items):
    file = tmp_path_factory.mktemp("predictions") / "p.jsonl"
    write_predictions(file, items)
    assert [one.to_record() for one in read_predictions(file).values()] == [one.to_record() for one in items]
