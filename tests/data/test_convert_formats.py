"""Each published format is read whole, and what is wrong with an entry is told with its reason."""

from __future__ import annotations

import json

import pytest
from published import answers, captions, converter, instruct, reasons, videoxum
from tail_rule import add_tail

pytestmark = pytest.mark.pinned


@pytest.fixture
def convert(tmp_path, capsys):
    return converter(tmp_path, capsys)


def test_videoxum_loses_nothing(convert):
    arguments = ("--tasks", "text,both", "--clock", "released")
    status, [annotation], entries, report, err = convert("videoxum", [videoxum()], *arguments)
    assert (status, err) == (0, "")
    entry = videoxum()
    assert annotation.to_record() == {
        "video_id": "v_1",
        "duration_seconds": 4.2,
        "source": "videoxum",
        "sampled_frames": 4,
        "sentences": [
            {"text": text, "segment": tuple(segment), "key_spans": tuple((tuple(span),) for span in spans)}
            for text, segment, spans in zip(entry["tsum"], entry["timestamps"], entry["vsum"])
        ],
        "key_spans": (),
        "text": None,
        "selections": tuple(map(tuple, entry["vsum_onehot"])),
        "keyshots": None,
    }
    assert answers(entries) == [
        ("v_1", "A man runs. He stops."),
        ("v_1", f"A man runs [{', '.join(map(str, range(12, 25)))}]. He stops [{', '.join(map(str, range(60, 84)))}]."),
    ]
    assert report["counts"]["entries"] == {"text": 1, "both": 1}
    assert report["settings"]["annotators"] == "medoid"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"video_id": None}, "video_id must be text that is not empty, got None"),
        ({"video_id": ""}, "video_id must be text that is not empty, got ''"),
        ({"duration": 0}, "duration must be a positive number of seconds, got 0"),
        ({"duration": "4.2"}, "duration must be a positive number of seconds, got '4.2'"),
        ({"tsum": []}, "tsum must be a list that is not empty, got a list of 0 items"),
        ({"tsum": ["A man runs.", ""]}, "sentence 1: text must be text that is not empty, got ''"),
        ({"tsum": ["A man runs.", " ."]}, "sentence 1: text holds no words: ' .'"),
        ({"timestamps": [[0, 1]]}, "timestamps must have 2 items, got 1"),
        ({"timestamps": [[0, 1], [1, 5.3]]}, "timestamps[1]: end is 5.3 s, more than 1 s outside the video"),
        ({"timestamps": [[2, 1], [1, 2]]}, "timestamps[0] ends before it starts: [2, 1]"),
        ({"timestamps": [[0, None], [1, 2]]}, "timestamps[0]: end must be a number of seconds, got None"),
        ({"timestamps": [[0], [1, 2]]}, "timestamps[0] must be [start, end] in seconds, got [0]"),
        ({"vsum": [[[0, 1]] * 3]}, "vsum must have 2 items, got 1"),
        ({"vsum": [[[0, 1]] * 3, [[0, 1]] * 2]}, "vsum[1] must have 3 items, got 2"),
        ({"vsum_onehot": [[1, 0, 1]] * 3}, "selections[0] must have 4 samples, got 3"),
        ({"vsum_onehot": [[1, 0, 1, 7]] * 3}, "selections[0] must hold 0 and 1 alone, got ['7']"),
        ({"vsum_onehot": None}, "vsum_onehot must be a list that is not empty, got None"),
        ({"tsum": ["A man [05].", "He."]}, "the BOTH answer does not read back"),
    ],
)
def test_a_bad_videoxum_entry_is_rejected_with_its_reason(convert, changes, reason):
    status, annotations, entries, report, err = convert("videoxum", [videoxum(), {**videoxum("v_2"), **changes}])
    assert status == 0
    assert [one.video_id for one in annotations] == ["v_1"] and len(entries) == 3
    [(video_id, item, told)] = reasons(report)
    assert (video_id, item) == (changes.get("video_id", "v_2"), 1)
    assert told.startswith(reason)
    assert "1 item rejected, the first: item 1" in err and "set.report.json" in err


def test_a_missing_key_and_what_is_no_entry_are_rejected(convert):
    entry = videoxum("v_2")
    del entry["vsum"], entry["duration"]
    _, _, _, report, _ = convert("videoxum", [videoxum(), entry, 7])
    assert reasons(report) == [("v_2", 1, "missing: duration, vsum"), (None, 2, "expected a JSON object, got 7")]


def test_the_second_of_two_equal_ids_is_rejected(convert):
    _, annotations, _, report, _ = convert("videoxum", [videoxum(), videoxum("v_2"), videoxum(duration=4.3)])
    assert [(one.video_id, one.duration_seconds) for one in annotations] == [("v_1", 4.2), ("v_2", 4.2)]
    assert reasons(report) == [("v_1", 2, "duplicate id: item 0 has it too")]
    broken = videoxum(tsum=["A man [05].", "He."])
    _, annotations, _, report, _ = convert("videoxum", [broken, videoxum()])
    assert len(annotations) == 1 and [item for _, item, _ in reasons(report)] == [0]  # it is no duplicate of that


def test_time_stamps_a_little_outside_are_clipped_and_counted(convert):
    content = {"v_1": captions(timestamps=[[-0.5, 4], [3.5, 10.9]]), "v_2": captions(timestamps=[[0, 4], [10.4, 10.8]])}
    status, annotations, _, report, _ = convert("activitynet-captions", content)
    assert status == 0
    segments = [[sentence.segment for sentence in one.sentences] for one in annotations]
    assert segments == [[(0, 4), (3.5, 10)], [(0, 4), (10, 10)]]
    assert report["clipped_time_stamps"] == {"v_1": 2, "v_2": 2}
    assert (report["counts"]["clipped_time_stamps"], report["counts"]["clipped_videos"]) == (4, 2)
    content["v_3"] = captions()
    _, annotations, _, report, _ = convert("activitynet-captions", content, "--tolerance-seconds", "0.5")
    assert [one.video_id for one in annotations] == ["v_3"]
    assert [reason for _, _, reason in reasons(report)] == [
        "timestamps[1]: end is 10.9 s, more than 0.5 s outside the video (0 to 10.0 s)",
        "timestamps[1]: end is 10.8 s, more than 0.5 s outside the video (0 to 10.0 s)",
    ]


def test_rounding_is_no_time_stamp_outside(convert):
    content = {"v_1": captions(duration=161.07999999999998, timestamps=[[0, 4], [3.5, 161.08]])}
    status, [annotation], _, report, _ = convert("activitynet-captions", content, "--tolerance-seconds", "0")
    assert (status, report["counts"]["clipped_time_stamps"]) == (0, 0)
    assert annotation.sentences[1].segment == (3.5, 161.07999999999998)


def test_activitynet_captions_cite_their_segments(convert):
    status, [annotation], entries, report, _ = convert("activitynet-captions", {"v_1": captions()}, "--num-frames=10")
    assert status == 0
    assert [(one.text, one.segment, one.key_spans) for one in annotation.sentences] == [
        ("A man runs.", (0, 4), ()),
        (" He stops.", (3.5, 10), ()),
    ]
    assert answers(entries) == [
        ("v_1", "A man runs [00, 01, 02, 03, 04]. He stops [04, 05, 06, 07, 08, 09]."),
        ("v_1", "[00, 01, 02, 03, 04, 05, 06, 07, 08, 09]."),
        ("v_1", "A man runs. He stops."),
    ]
    assert report["settings"]["annotators"] is None


def test_a_temporal_prompt_is_named_as_in_training(convert):
    arguments = ("--num-frames=200", "--temporal-prompt-template=[000]", "--tasks=video")
    status, _, [entry], report, _ = convert("activitynet-captions", {"v_1": captions()}, *arguments)
    assert status == 0 and report["settings"]["temporal_prompt_template"] == "[{:03d}]"
    assert entry["conversations"][1]["value"].endswith(" 198, 199].")


def test_indexes_of_another_rule_name_it(convert, monkeypatch):
    tail = add_tail(monkeypatch)
    flags = ("--num-frames=4", "--frame-sampling=tail", "--tasks=video")
    status, _, [entry], report, _ = convert("activitynet-captions", {"v_1": captions()}, *flags)
    assert status == 0 and set(tail.asked) == {"v_1"}
    assert entry["frame_sampling"] == report["settings"]["frame_sampling"] == "tail"
    assert entry["conversations"][1]["value"].endswith("[00, 01, 02, 03].")
    _, _, [entry], report, _ = convert("activitynet-captions", {"v_1": captions()}, "--tasks=video")
    assert entry.keys() == {"id", "num_frames", "conversations"} and report["settings"]["frame_sampling"] == "linspace"


def test_an_id_that_comes_twice_in_an_object_is_rejected(convert):
    one = json.dumps(captions())
    status, annotations, _, report, _ = convert("activitynet-captions", f'{{"v_1": {one}, "v_2": {one}, "v_1": {one}}}')
    assert status == 0
    assert [one.video_id for one in annotations] == ["v_1", "v_2"]
    assert reasons(report) == [("v_1", 2, "duplicate id: item 0 has it too")]


def test_instruct_v2xum_derives_the_tasks_that_are_left_out(convert):
    arguments = ("--form", "before", "--clock", "released")
    status, [annotation], entries, report, err = convert("instruct-v2xum", [instruct()], *arguments)
    assert (status, err, report["rejected"]) == (0, "", [])
    assert [(one.text, one.key_spans) for one in annotation.sentences] == [
        ("A man runs.", (((0.0, 0.0),),)),
        ("He stops.", (((5.0, 5.0),),)),
    ]
    assert (annotation.sampled_frames, annotation.selections) == (20, (tuple(instruct()["vsum_onehot"]),))
    assert answers(entries) == [
        ("a", "[00]A man runs.\n[25]He stops."),
        ("a", "[00, 25]."),
        ("a", "A man runs. He stops."),
    ]


def test_instruct_v2xum_entries_and_turns_of_one_id_are_one_video(convert):
    both, video = instruct(), instruct("[<f0>, <f2>].", "a VIDEO")
    text = instruct("Someone runs. He stops.", "a TEXT", vsum_onehot=None)
    turns = {**both, "conversations": both["conversations"] + video["conversations"] + text["conversations"]}
    expected = [
        ("a", "A man runs [00]. He stops [25]."),
        ("a", "[00, 99]."),
        ("a", "Someone runs. He stops."),
    ]
    for content in ([text, both, video], [video, text, both], [turns]):
        _, [annotation], entries, report, _ = convert("instruct-v2xum", content)
        assert report["rejected"] == []
        assert answers(entries) == expected
        assert annotation.text == "Someone runs. He stops."
        assert annotation.key_spans == (((0.0, 0.0), (20.0, 20.0)),)
        assert annotation.selections is not None
    same = [both, instruct("[<f0>, <f1>].", "a VIDEO"), instruct("A man runs. He stops.", "a TEXT")]
    _, [annotation], *_ = convert("instruct-v2xum", same)
    assert (annotation.text, annotation.key_spans) == (None, ())


def test_instruct_v2xum_without_both(convert):
    content = [
        instruct("A man runs.", "a TEXT", "a", vsum_onehot=None),
        instruct("[<f1>, <f2>].", "a VIDEO", "b", vsum_onehot=None),
        instruct("A man runs.", "a TEXT", "c"),
    ]
    status, _, entries, report, err = convert("instruct-v2xum", content)
    assert status == 0
    assert answers(entries) == [("a", "A man runs."), ("b", "[25, 99]."), ("c", "[00, 25]."), ("c", "A man runs.")]
    assert [(item["id"], item["task"]) for item in report["tasks_without_answer"]] == [
        ("a", "both"), ("a", "video"), ("b", "both"), ("b", "text"), ("c", "both")
    ]  # fmt: skip
    assert "3 without a BOTH answer" in err


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (instruct("[<f9>]A man.", video_id="b"), "<f9> has no second in meta.token"),
        (instruct("[<f0>]A man at <f1>.", video_id="b"), "the BOTH answer has <fK> outside of brackets"),
        (instruct("[05]A man.", video_id="b"), "the BOTH answer cites [05]: expected <fK> with its second"),
        (instruct("\n", video_id="b"), "the BOTH answer cannot be read: the answer is empty"),
        (instruct("A man.", video_id="b"), "the BOTH answer cannot be read: a BOTH answer cites no frame"),
        (instruct("[<f0>]A man.", "a TEXT", "b"), "the TEXT answer cannot be read: a TEXT answer cites frames"),
        (instruct("[<f0>A man.", video_id="b"), "the BOTH answer"),
        (instruct("[<f0>]A man.", "BOTH or a VIDEO", "b"), "turn 0 must ask for one of VIDEO, TEXT, BOTH"),
        (instruct(video_id="b", meta={"duration": 4.0, "token": {"<f0>": 0, "<f1>": 5.1}}), "<f1> is 5.1 s, more than"),
        (instruct(video_id="b", meta={"duration": 0}), "duration must be a positive number of seconds, got 0"),
        (instruct(video_id="b", meta={}), "missing: duration"),
        (instruct(video_id="b", vsum_onehot=[1, 0]), "selections[0] must have 20 samples, got 2"),
        (instruct(video_id="b", conversations=[]), "conversations must be a list that is not empty"),
        (instruct(video_id="b", conversations=instruct()["conversations"][:1]), "the last of 1 turns has no answer"),
        (instruct(video_id="b", conversations=instruct()["conversations"][::-1]), "turn 0 must be text from 'human'"),
        (instruct(video_id="b", conversations=instruct()["conversations"] * 2), "two turns ask for BOTH"),
        (instruct(), "duplicate id: an earlier item has the same answers"),
        (instruct("[<f0>]A dog."), "gives another BOTH answer than an earlier item of the same id"),
        (instruct("A dog.", "a TEXT", meta={"duration": 21.0}), "contradicts item 0 of the same id in its duration"),
        (instruct("A dog.", "a TEXT", vsum_onehot=[0] * 20), "contradicts item 0 of the same id in its selection"),
    ],
)
def test_a_bad_instruct_v2xum_entry_is_rejected_with_its_reason(convert, entry, reason):
    status, annotations, _, report, _ = convert("instruct-v2xum", [instruct(), entry])
    assert status == 0 and [one.video_id for one in annotations] == ["a"]
    [(video_id, item, told)] = reasons(report)
    assert (video_id, item) == (entry["id"], 1)
    assert told.startswith(reason)
