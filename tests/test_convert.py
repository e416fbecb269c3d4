"""Published files -> annotation form, instruction JSON and report, through the command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from llava_v2xum.annotations import read_annotations
from llava_v2xum.convert import READERS, run
from llava_v2xum.convert.__main__ import main
from llava_v2xum.shapes import instruct_records, make_clip, truth_record, videoxum_record
from llava_v2xum.summary import parse_answer

pytestmark = pytest.mark.pinned

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def videoxum(video_id="v_1", **changes):
    """A VideoXum entry of two sentences, three annotators and four samples."""
    entry = {
        "video_id": video_id,
        "duration": 4.2,
        "sampled_frames": 4,
        "timestamps": [[0, 2.5], [2.1, 4.2]],
        "tsum": ["A man runs.", " He stops. "],
        "vsum": [[[0.5, 1.0]] * 3, [[2.5, 3.0], [2.5, 3.5], [3.0, 4.0]]],
        "vsum_onehot": [[1, 0, 1, 0], [1, 0, 1, 1], [1, 0, 0, 1]],
    }
    return {**entry, **changes}


def instruct(answer="\n[<f0>]A man runs.\n[<f1>]He stops.\n", task="BOTH video and text", video_id="a", **changes):
    """An Instruct-V2Xum entry of one round."""
    entry = {
        "id": video_id,
        "meta": {"duration": 20.0, "sampled_frames": 20, "token": {"<f0>": 0.0, "<f1>": 5, "<f2>": 20.0}},
        "conversations": [
            {"from": "human", "value": f"<video>\nPlease generate {task} summarization for this video."},
            {"from": "gpt", "value": answer},
        ],
        "vsum_onehot": [1, 0, 0, 0, 0, 1] + [0] * 14,
    }
    return {**entry, **changes}


def captions(**changes):
    """An ActivityNet Captions entry."""
    entry = {"duration": 10.0, "timestamps": [[0, 4], [3.5, 10.0]], "sentences": ["A man runs.", " He stops."]}
    return {**entry, **changes}


@pytest.fixture
def convert(tmp_path, capsys):
    """Runs the command on entries; gives the status, the annotations, the entries, the report and stderr."""

    def convert_entries(name, content, *arguments):
        source = tmp_path / "in" / "set.json"
        source.parent.mkdir(exist_ok=True)
        source.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        status = main([name, str(source), "--out", str(tmp_path / "out"), *arguments])
        written = {path.name: path for path in (tmp_path / "out").glob("*")}
        read = lambda ending: json.loads(written["set" + ending].read_text(encoding="utf-8"))  # noqa: E731
        annotations = (
            list(read_annotations(written["set.annotations.jsonl"])) if "set.annotations.jsonl" in written else None
        )
        entries = read(".json") if "set.json" in written else None
        report = read(".report.json") if "set.report.json" in written else None
        return status, annotations, entries, report, capsys.readouterr().err

    return convert_entries


def answers(entries):
    return [(entry["id"], entry["conversations"][1]["value"]) for entry in entries]


def reasons(report):
    return [(item["id"], item["item"], item["reason"]) for item in report["rejected"]]


def test_videoxum_loses_nothing(convert):
    status, [annotation], entries, report, err = convert("videoxum", [videoxum()], "--tasks", "text,both")
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


def test_an_id_that_comes_twice_in_an_object_is_rejected(convert):
    one = json.dumps(captions())
    status, annotations, _, report, _ = convert("activitynet-captions", f'{{"v_1": {one}, "v_2": {one}, "v_1": {one}}}')
    assert status == 0
    assert [one.video_id for one in annotations] == ["v_1", "v_2"]
    assert reasons(report) == [("v_1", 2, "duplicate id: item 0 has it too")]


def test_instruct_v2xum_derives_the_tasks_that_are_left_out(convert):
    status, [annotation], entries, report, err = convert("instruct-v2xum", [instruct()], "--form", "before")
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
    assert "3 videos have no BOTH answer" in err


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


def test_strict_stops_at_the_first_and_writes_nothing(convert, tmp_path):
    content = [videoxum(), videoxum("v_2", duration=0), videoxum("v_3", tsum=[])]
    status, annotations, entries, report, err = convert("videoxum", content, "--strict")
    assert (status, annotations, entries, report) == (1, None, None, None)
    assert "set.json: item 1 ('v_2'): duration must be a positive number" in err and "v_3" not in err
    assert list((tmp_path / "out").iterdir()) == []
    assert convert("videoxum", content[:1], "--strict")[0] == 0


def test_where_no_item_is_left_only_the_report_is_written(convert):
    status, annotations, entries, report, err = convert("videoxum", [videoxum(duration=0)])
    assert (status, annotations, entries) == (1, None, None)
    assert report["counts"]["rejected"] == 1 and "no item is left" in err


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("content", ["{", "7", "[]", "{}", '"v_1"', "\udcff"])
def test_a_file_of_another_kind_is_named(tmp_path, capsys, name, content):
    source = tmp_path / "set.json"
    source.write_bytes(content.encode(errors="surrogateescape"))
    assert main([name, str(source), "--out", str(tmp_path / "out")]) == 1
    assert f"error: {source}: expected" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


def test_videos_that_are_not_there_are_rejected(convert, tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    (folder / "v_1.MP4").touch()
    (folder / "v_2.txt").touch()
    content = [videoxum(), videoxum("v_2")]
    _, annotations, _, report, _ = convert("videoxum", content, "--videos", str(folder))
    assert [one.video_id for one in annotations] == ["v_1"]
    assert reasons(report) == [("v_2", 1, "no video file of that name")]


def test_an_error_while_writing_leaves_nothing(convert, tmp_path, monkeypatch):
    def full(annotation):
        if annotation.video_id == "v_2":
            raise OSError(28, "No space left on device")
        return "{}\n"

    monkeypatch.setattr(run, "annotation_line", full)
    status, *_, err = convert("videoxum", [videoxum(), videoxum("v_2")])
    assert status == 1 and "No space left on device" in err
    assert list((tmp_path / "out").iterdir()) == []


def test_several_files_and_a_bad_one(tmp_path, capsys):
    sources = [tmp_path / f"{name}.json" for name in "abc"]
    for source, content in zip(sources, ([videoxum()], 7, [videoxum("v_2"), videoxum("v_3")])):
        source.write_text(json.dumps(content))
    assert main(["videoxum", *map(str, sources), "--out", str(tmp_path / "out")]) == 1
    captured = capsys.readouterr()
    assert [line.split() for line in captured.out.splitlines()] == [
        ["file", "videos", "rejected", "clipped", "BOTH", "VIDEO", "TEXT"],
        ["a.json", "1", "0", "0", "1", "1", "1"],
        ["c.json", "2", "0", "0", "2", "2", "2"],
    ]
    assert "b.json: expected a JSON list" in captured.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tasks", "vidoe"], "--tasks takes video, text, both, got 'vidoe'"),
        (["--tasks", ","], "--tasks takes"),
        (["--num-frames", "101"], "num_frames must be 1 to 100"),
        (["--temporal-prompt-template", "x"], "exactly one zero-padded integer field"),
        (["--tolerance-seconds", "-1"], "tolerance_seconds must be 0 or more"),
        (["--tolerance-seconds", "nan"], "tolerance_seconds must be 0 or more"),
        (["--annotators", "10"], "expected one of medoid, majority, union, first, all or 0 to 9, got '10'"),
        (["--videos", "nowhere"], "--videos must be a folder"),
        (["--form", "between"], "invalid choice"),
        (["--out", "."], "would replace"),
        (["missing.json"], "missing.json: no such file"),
        (["set.json"], "a source file is given twice"),
        (["sub/set.json"], "would replace"),
        (["--out", "set.json"], "--out must be a folder"),
    ],
)
def test_bad_arguments_end_with_a_usage_error(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    for path in ("set.json", "sub/set.json"):
        (tmp_path / path).write_text(json.dumps([videoxum()]))
    with pytest.raises(SystemExit) as stop:
        main(["videoxum", "--out", "out", *arguments, "set.json"])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err.replace("\n", " ")
    assert not (tmp_path / "out").exists()


def test_annotators_are_asked_for_where_there_are_any():
    with pytest.raises(SystemExit):
        main(["instruct-v2xum", "a.json", "--out", "out", "--annotators", "first"])


def test_the_shapes_world_converts_to_its_truth(convert):
    clips = [make_clip(7, index) for index in range(12)]
    truth = {clip.video_id: truth_record(clip)["events"] for clip in clips}

    def events(entries):
        for entry in entries:
            read = parse_answer(entry["conversations"][1]["value"], task="both")
            assert read.problems == ()
            yield entry["id"], [(one.text, one.frames) for one in read.sentences]

    _, _, entries, report, _ = convert("instruct-v2xum", [one for clip in clips for one in instruct_records(clip)])
    assert report["rejected"] == [] and len(entries) == 3 * len(clips)
    assert dict(events(entry for entry in entries[::3])) == {
        name: [(one["sentence"], tuple(one["frames"])) for one in some] for name, some in truth.items()
    }
    _, _, entries, report, _ = convert("videoxum", list(map(videoxum_record, clips)), "--tasks", "both")
    assert report["rejected"] == [] and len(entries) == len(clips)
    for name, found in events(entries):
        assert [text for text, _ in found] == [one["sentence"] for one in truth[name]]
        for (_, frames), event in zip(found, truth[name]):
            # An annotator is off by up to a tenth of the event, an index by its rounding and the other clock's.
            allowed = 2 + 0.1 * len(event["frames"])
            assert abs(frames[0] - event["frames"][0]) <= allowed and abs(frames[-1] - event["frames"][-1]) <= allowed
            assert frames == tuple(range(frames[0], frames[-1] + 1))


@pytest.mark.skipif(not SHARED.exists(), reason="../shared is not here")
def test_the_published_example(tmp_path, capsys):
    source = SHARED / "instruct_v2xum_example.json"
    assert main(["instruct-v2xum", str(source), "--out", str(tmp_path), "--form", "before"]) == 0
    [entry] = json.loads(source.read_text())
    both, video, text = (one["conversations"] for one in json.loads((tmp_path / source.name).read_text()))
    assert both[0] == entry["conversations"][0]
    published = entry["conversations"][1]["value"]
    for token, second in entry["meta"]["token"].items():
        published = published.replace(token, f"{min(round(second / 63.0 * 100), 99):02d}")
    assert both[1]["value"] == published.strip()
    assert parse_answer(video[1]["value"]).frames == parse_answer(published).frames
    assert text[1]["value"] == parse_answer(published).text


def test_neither_torch_nor_llava_is_loaded(tmp_path):
    (tmp_path / "set.json").write_text(json.dumps([videoxum()]))
    blocked = "import sys; sys.modules.update(dict.fromkeys(['torch', 'llava', 'transformers'])); "
    command = f"{blocked} from llava_v2xum.convert.__main__ import main; sys.exit(main(sys.argv[1:]))"
    arguments = ["videoxum", "set.json", "--out", "out", "--videos", "videos"]
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "v_1.mp4").touch()
    done = subprocess.run([sys.executable, "-c", command, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out" / "set.json").exists()
