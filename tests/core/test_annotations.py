"""The annotation form: what is written is read back, and what the schema does not allow is named."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llava_v2xum.core.annotations import AnnotatedSentence, Annotation, read_annotations, write_annotations
from llava_v2xum.core.keyshots import Keyshots, runs_of

pytestmark = pytest.mark.pinned

RECORD = {
    "video_id": "v_1",
    "duration_seconds": 3.4,
    "source": "videoxum",
    "sampled_frames": 3,
    "sentences": [
        {"text": "A man runs.", "segment": [0, 2.5], "key_spans": [[[0.5, 1]], []]},
        {"text": "Elle s'arrête.", "segment": None, "key_spans": [[[2, 2], [3, 3.4]], [[2.5, 3]]]},
    ],
    "key_spans": [],
    "text": None,
    "selections": [[1, 0, 1], [0, 0, 0]],
    "keyshots": None,
}
KEYSHOTS = {
    "n_frames": 40,
    "picks": [0, 15, 30],
    "change_points": [[0, 19], [20, 39]],
    "user_summaries": [[[0, 3], [39, 39]], []],
    "scores": [[1, 5, 2.5], [1, 1, 3]],
    "mean_scores": [1, 3, 2.75],
    "video_name": None,
}


def test_a_record_is_read_as_it_stands():
    annotation = Annotation.from_record(RECORD)
    assert annotation.sentences[0] == AnnotatedSentence("A man runs.", (0.0, 2.5), (((0.5, 1.0),), ()))
    assert annotation.sentences[1].key_spans == (((2.0, 2.0), (3.0, 3.4)), ((2.5, 3.0),))
    assert (annotation.annotators, annotation.selections) == (2, ((1, 0, 1), (0, 0, 0)))
    assert json.loads(json.dumps(annotation.to_record())) == RECORD


def test_keys_that_may_be_null_or_empty_may_be_left_out():
    short = {"video_id": "a", "duration_seconds": 2, "source": "x", "sentences": [{"text": "A man."}]}
    annotation = Annotation.from_record(short)
    assert annotation == Annotation("a", 2.0, "x", (AnnotatedSentence("A man."),))
    assert annotation.annotators == 0
    assert Annotation("a", 2.0, "x", key_spans=[[[0, 1]]]).annotators == 1
    assert Annotation("a", 2.0, "x", selections=[[0, 1], [1, 1]]).annotators == 2


def changed(**changes):
    return {**json.loads(json.dumps(RECORD)), **changes}


def keyshots(**changes):
    return changed(keyshots={**KEYSHOTS, **changes})


def sentence(**changes):
    return [{**RECORD["sentences"][0], **changes}]


def test_keyshots_are_read_as_they_stand_and_give_masks():
    record = {"video_id": "a", "duration_seconds": None, "source": "summe", "keyshots": KEYSHOTS}
    annotation = Annotation.from_record(record)
    shots = annotation.keyshots
    assert (annotation.annotators, shots.annotators, shots.n_frame_per_segment) == (0, 2, (20, 20))
    assert [np.flatnonzero(row).tolist() for row in shots.user_summary()] == [[0, 1, 2, 3, 39], []]
    assert shots.user_summary().shape == (2, 40)
    assert json.loads(json.dumps(annotation.to_record()))["keyshots"] == KEYSHOTS
    assert Annotation.from_record(json.loads(json.dumps(annotation.to_record()))) == annotation


def test_keyshots_may_hold_the_mean_of_the_scores_alone():
    shots = Keyshots(4, [0, 2], mean_scores=[0.5, 1])
    assert (shots.annotators, shots.n_frame_per_segment, shots.user_summary().shape) == (0, None, (0, 4))
    assert Keyshots.from_record({"n_frames": 4, "picks": [0, 2], "mean_scores": [0.5, 1]}) == shots


@given(st.lists(st.booleans(), max_size=12))
@settings(max_examples=50)
def test_runs_hold_the_frames_of_a_mask(mask):
    runs = runs_of(mask)
    assert [frame for start, end in runs for frame in range(start, end + 1)] == list(np.flatnonzero(mask))
    assert all(later[0] > earlier[1] + 1 for earlier, later in pairwise(runs))


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ([], "expected a JSON object, got list"),
        ({"video_id": "a"}, "missing: duration_seconds, source"),
        (changed(seconds=1), "unknown keys seconds"),
        (changed(video_id=""), "video_id must be text that is not empty"),
        (changed(video_id=7), "video_id must be text that is not empty, got 7"),
        (changed(video_id="\ud800"), "no valid Unicode"),
        (changed(source=" "), "source must be text"),
        (changed(text=""), "text must be text that is not empty"),
        (changed(duration_seconds=0), "duration_seconds must be a positive number, got 0"),
        (changed(duration_seconds=float("nan")), "duration_seconds must be a positive number, got nan"),
        (changed(duration_seconds=True), "duration_seconds must be a positive number, got True"),
        (changed(duration_seconds=10**400), "duration_seconds must be a positive number"),
        (changed(sentences={}), "sentences must be a list"),
        (changed(sentences=["A man."]), "sentence 0: expected a JSON object, got str"),
        (changed(sentences=[{}]), "sentence 0: missing: text"),
        (changed(sentences=sentence(frames=[])), "sentence 0: unknown keys frames"),
        (changed(sentences=sentence(text=None)), "sentence 0: text must be text"),
        (changed(sentences=sentence(text=" . ")), "sentence 0: text holds no words"),
        (changed(sentences=sentence(segment=[2, 1])), r"sentence 0: segment must have 0 <= start <= end <= 3\.4"),
        (changed(sentences=sentence(segment=[0, 3.5])), r"got \[0\.0, 3\.5\]"),
        (changed(sentences=sentence(segment=[-1, 3])), r"got \[-1\.0, 3\.0\]"),
        (changed(sentences=sentence(segment=[1])), r"segment must be \[start, end\] in seconds, got \[1\]"),
        (changed(sentences=sentence(segment=["a", "b"])), r"segment must be \[start, end\] in seconds"),
        (changed(sentences=sentence(key_spans=[[[0, 9]], []])), r"sentence 0: key_spans\[0\]\[0\] must have"),
        (changed(sentences=sentence(key_spans=[[0, 1]])), r"key_spans\[0\]\[0\] must be \[start, end\]"),
        (changed(sentences=sentence(key_spans=[7])), r"key_spans\[0\] must be a list, got 7"),
        (changed(sentences=sentence(key_spans=[[]])), r"same length, got \[1, 2\]"),
        (changed(key_spans=[[], [], []]), r"same length, got \[2, 3\]"),
        (changed(sampled_frames=4), r"selections\[0\] must have 4 samples, got 3"),
        (changed(sampled_frames=3.0), "sampled_frames must be a positive integer or null"),
        (changed(selections=[[1, 0, 1], [0, 0]]), r"selections\[1\] must have 3 samples, got 2"),
        (changed(selections=[[1, 0, 1], [0, 0, 2]]), r"selections\[1\] must hold 0 and 1 alone, got \['2'\]"),
        (changed(selections=[[1, 0, 1], [0, 0, [1]]]), r"selections\[1\] must hold 0 and 1 alone"),
        (changed(selections=[[1, 0, 1], 7]), r"selections\[1\] must be a list"),
        (changed(selections=[]), "selections must have one row an annotator or be null"),
        (changed(sentences=[], selections=None), "expected sentences, key_spans, selections or keyshots"),
        (changed(duration_seconds=None), "duration_seconds may be null only where there are keyshots, or sentences"),
        (changed(saliency=[[1, 2]]), r"saliency\[0\] must have 3 numbers, got 2"),
        (changed(saliency=[[1, 2, 3]], selections=None), "saliency is of samples, and there are no selections"),
        (changed(alternatives=[[{"text": ""}]]), "alternative 0, sentence 0: text must be text that is not empty"),
        (changed(alternatives=[[{"word": "a"}]]), "alternative 0, sentence 0: missing: text"),
        (changed(keyshots=[]), "keyshots: expected a JSON object, got list"),
        (changed(keyshots={"picks": [0]}), "keyshots: missing: n_frames"),
        (keyshots(fps=25), "keyshots: unknown keys fps"),
        (keyshots(n_frames=0), "keyshots: n_frames must be a positive integer, got 0"),
        (keyshots(n_frames=40.0), r"n_frames must be a positive integer, got 40\.0"),
        (keyshots(picks=[]), r"picks must be frame numbers in 0\.\.39, got \[\]"),
        (keyshots(picks=[0, 15, 40]), r"picks must be frame numbers in 0\.\.39, got 40"),
        (keyshots(picks=[0, 15, True]), r"picks must be frame numbers in 0\.\.39, got True"),
        (keyshots(picks=[0, 15, 15]), "picks must be ascending"),
        (keyshots(change_points=[]), "change_points must have one segment or more, or be null"),
        (keyshots(change_points=[[1, 39]]), r"change_points\[0\] must begin at frame 0, behind the last, got 1"),
        (keyshots(change_points=[[0, 9], [11, 39]]), r"change_points\[1\] must begin at frame 10, .* got 11"),
        (keyshots(change_points=[[0, 40]]), r"change_points\[0\] must be \[first, last\] .* got \[0, 40\]"),
        (keyshots(user_summaries=[[[5, 4]], []]), r"user_summaries\[0\]\[0\] must be \[first, last\] frame"),
        (keyshots(user_summaries=[[[4, 9], [9, 12]], []]), r"user_summaries\[0\]\[1\] begins at 9, inside or before"),
        (keyshots(user_summaries=[[3], []]), r"user_summaries\[0\]\[0\] must be a list, got 3"),
        (keyshots(user_summaries=[[]] * 3), r"as many annotators, got \[2, 3\]"),
        (keyshots(scores=[]), "scores must have one row an annotator or be null"),
        (keyshots(scores=[[1, 2, 3], [1, 2]]), r"scores\[1\] must have 3 numbers, got 2"),
        (keyshots(scores=[[1, 2, 3], [1, 2, float("nan")]]), r"scores\[1\] must hold finite numbers alone, got nan"),
        (keyshots(mean_scores=[1, 2, "3"]), "mean_scores must hold finite numbers alone, got '3'"),
        (keyshots(video_name=""), "video_name must be text that is not empty"),
        (keyshots(user_summaries=[], scores=None, mean_scores=None), "expected user_summaries, scores or mean_scores"),
    ],
)
def test_what_the_schema_does_not_allow_is_named(record, message):
    with pytest.raises(ValueError, match=message):
        Annotation.from_record(record)


def test_what_editors_write_around_lines_is_read(tmp_path):
    """A byte order mark, line ends of two characters, blank lines, none at the end."""
    file = tmp_path / "a.jsonl"
    lines = [json.dumps(changed(video_id=name)) for name in ("v_1", "v_2")]
    file.write_bytes(b"\xef\xbb\xbf" + "\r\n \r\n".join(lines).encode())
    assert [one.video_id for one in read_annotations(file)] == ["v_1", "v_2"]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_file_in_another_encoding_is_named(tmp_path, encoding):
    file = tmp_path / "a.jsonl"
    lines = json.dumps(RECORD) + "\n" + json.dumps(changed(video_id="caf\u00e9"), ensure_ascii=False)
    file.write_bytes(lines.encode(encoding))
    with pytest.raises(ValueError, match=r"a\.jsonl:[12]: expected one JSON object a line, in UTF-8 \('utf-8' codec"):
        list(read_annotations(file))


def test_errors_name_file_line_and_video(tmp_path):
    file = tmp_path / "a.jsonl"
    line = json.dumps(RECORD)
    for content, message in [
        (f"{line}\n\n{line}\n", r"a\.jsonl:3: video 'v_1': line 1 annotates the same video"),
        (json.dumps(changed(text="")), r"a\.jsonl:1: video 'v_1': text must be"),
        (f"{line}\n{line[:-9]}", r"a\.jsonl:2: expected one JSON object a line"),
        ("[1]", r"a\.jsonl:1: expected a JSON object, got list"),
        ("[" * 100_000, r"a\.jsonl:1: expected one JSON object a line"),  # deeper than Python follows
    ]:
        file.write_text(content)
        with pytest.raises(ValueError, match=message):
            list(read_annotations(file))


def test_nothing_half_written_stays(tmp_path):
    def broken():
        yield Annotation.from_record(RECORD)
        raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError):
        write_annotations(tmp_path / "a.jsonl", broken())
    assert not list(tmp_path.iterdir())


DURATION = 60.0
spans = st.tuples(st.floats(0, DURATION), st.floats(0, DURATION)).map(sorted).map(tuple)
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=20).map(lambda text: "A " + text)


@st.composite
def annotation_lists(draw):
    people, samples = draw(st.integers(1, 3)), draw(st.integers(1, 5))
    per_person = st.lists(st.lists(spans, max_size=2).map(tuple), min_size=people, max_size=people).map(tuple)
    rows = st.lists(st.integers(0, 1), min_size=samples, max_size=samples).map(tuple)
    sentences = st.builds(AnnotatedSentence, texts, st.none() | spans, st.just(()) | per_person)
    build = st.builds(
        Annotation,
        texts,
        st.just(DURATION),
        texts,
        st.lists(sentences, min_size=1, max_size=3).map(tuple),
        st.none() | st.just(samples),
        st.just(()) | per_person,
        st.none() | texts,
        st.none() | st.lists(rows, min_size=people, max_size=people).map(tuple),
    )
    return draw(st.lists(build, max_size=3, unique_by=lambda one: one.video_id))


@settings(max_examples=100, deadline=None, database=None)
@given(annotations=annotation_lists())
def test_what_is_written_is_read_back(tmp_path_factory, annotations):
    file = tmp_path_factory.mktemp("annotations") / "a.jsonl"
    assert write_annotations(file, annotations) == len(annotations)
    assert list(read_annotations(file)) == annotations
