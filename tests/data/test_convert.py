"""The command: files, exit status, what stays after an error; shapes and the published example end to end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from published import converter, instruct, reasons, videoxum

from llava_v2xum.core.answers import parse_answer
from llava_v2xum.data.convert import READERS, conversion
from llava_v2xum.data.convert.command import main
from llava_v2xum.shapes import instruct_records, make_clip, truth_record, videoxum_record

pytestmark = pytest.mark.pinned

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture
def convert(tmp_path, capsys):
    return converter(tmp_path, capsys)


def test_strict_stops_at_the_first_and_writes_nothing(convert, tmp_path):
    content = [videoxum(), videoxum("v_2", duration=0), videoxum("v_3", tsum=[])]
    status, annotations, entries, report, err = convert("videoxum", content, "--strict")
    assert (status, annotations, entries, report) == (1, None, None, None)
    assert "set.json: item 1 ('v_2'): duration must be a positive number" in err and "v_3" not in err
    assert list((tmp_path / "out").iterdir()) == []
    assert convert("videoxum", content[:1], "--strict")[0] == 0


@pytest.mark.parametrize("name", ["videoxum", "instruct-v2xum"])
def test_a_stop_token_in_a_text_rejects_the_item_by_its_id(convert, name):
    texts = ("A man runs. </s> Then he rests.", "<s>A man runs.")
    if name == "videoxum":
        content = [videoxum(), *(videoxum(f"v_{n}", tsum=[text, "He stops."]) for n, text in enumerate(texts, 2))]
    else:
        content = [instruct(), *(instruct(f"\n[<f0>]{text}\n", video_id=f"v_{n}") for n, text in enumerate(texts, 2))]
    status, annotations, entries, report, _ = convert(name, content)
    assert status == 0 and len(annotations) == 1 and {entry["id"] for entry in entries} == {annotations[0].video_id}
    assert [item["id"] for item in report["rejected"]] == ["v_2", "v_3"]
    assert ["</s>" in item["reason"] or "<s>" in item["reason"] for item in report["rejected"]] == [True, True]
    assert convert(name, content, "--strict")[0] == 1


def test_where_no_item_is_left_only_the_report_is_written(convert):
    status, annotations, entries, report, err = convert("videoxum", [videoxum(duration=0)])
    assert (status, annotations, entries) == (1, None, None)
    assert report["counts"]["rejected"] == 1 and "no item is left" in err and "earlier" not in err
    assert convert("videoxum", [videoxum()])[0] == 0
    *_, err = convert("videoxum", [videoxum(duration=0)])
    assert "set.json are an earlier run's" in err


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

    monkeypatch.setattr(conversion, "annotation_line", full)
    status, *_, err = convert("videoxum", [videoxum(), videoxum("v_2")])
    assert status == 1 and "the disk is full" in err
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
        (["--temporal-prompt-template", "x"], "expected a temporal prompt template or the prompt of frame 0"),
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
def test_real_dense_captions_convert_whole(convert):
    lines = (SHARED / "released_model_answers.jsonl").read_text(encoding="utf-8").splitlines()
    content = {
        one["video_id"]: {
            "duration": one["duration"],
            "timestamps": one["reference_timestamps"],
            "sentences": one["reference_sentences"],
        }
        for one in map(json.loads, lines)
    }
    status, annotations, entries, report, err = convert("activitynet-captions", content)
    assert (status, report["rejected"]) == (0, [])
    (note,) = err.splitlines()
    assert "of 300 of 300 videos only the mean frame rate is known" in note
    assert (len(annotations), len(entries)) == (300, 900)
    for annotation in annotations:
        assert [one.text for one in annotation.sentences] == content[annotation.video_id]["sentences"]


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
    command = f"{blocked} from llava_v2xum.data.convert.command import main; sys.exit(main(sys.argv[1:]))"
    arguments = ["videoxum", "set.json", "--out", "out", "--videos", "videos", "--features", "features"]
    for folder in ("videos", "features"):
        (tmp_path / folder).mkdir()
    (tmp_path / "features" / "features.json").write_text(json.dumps({"num_frames": 100}))
    source = {"duration_seconds": 4.2, "frame_seconds": [i * 0.04 for i in range(100)]}
    line = json.dumps({"id": "v_1", "source": source, "saved": 0})
    (tmp_path / "features" / "sources.jsonl").write_text(line + "\n")
    (tmp_path / "videos" / "v_1.mp4").touch()
    done = subprocess.run([sys.executable, "-c", command, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out" / "set.json").exists()


def test_without_the_decoder_videos_cannot_be_looked_up(tmp_path):
    (tmp_path / "v.json").write_text("[]")
    blocked = "import sys; sys.modules['av'] = None; "
    command = f"{blocked} from llava_v2xum.data.convert.command import main; sys.exit(main(sys.argv[1:]))"
    arguments = ["videoxum", "v.json", "--out", "out", "--videos", "."]
    done = subprocess.run([sys.executable, "-c", command, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and "error: --videos: av is needed here and not installed: pip install" in done.stderr
