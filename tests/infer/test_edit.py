"""Summaries edited as they come and after the fact, on real clips; no model answers here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from html_page import Page
from records import records_in
from summaries import CONSTANT, record_of, write_source

from llava_v2xum.core.lengths import EDIT_KEY, Length
from llava_v2xum.evaluate.formats.prediction_files import load_predictions
from llava_v2xum.infer.edit import main
from llava_v2xum.infer.editing import Editing
from llava_v2xum.infer.options import parse_arguments
from llava_v2xum.infer.results import ResultFolder
from llava_v2xum.infer.run import InferRun
from llava_v2xum.media.formats import DEFAULT_FORMATS, FORMATS, read_summary, write_files

ANSWERS = {
    "both": "One [02, 03, 04, 05, 06, 07, 08]. Two [30, 31, 32, 33]. Three [60, 61, 62, 63, 64, 65]. Four [90, 91].",
    "video": "[02, 03, 04, 30, 31, 60, 61, 62].",
    "text": "One. Two. Three.",
}


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return write_source(tmp_path_factory.mktemp("videos") / "film.mp4", CONSTANT, sound=True)


def put(out: Path, source: Path, task: str = "both", formats=("json",), **changes) -> dict:
    """What infer leaves of a film."""
    record = record_of(ANSWERS[task], task=task, seconds=6.0, video=source, video_id=source.stem, **changes)
    results = ResultFolder(out)
    write_files(record, np.zeros((100, 9, 16, 3), np.uint8), results.folder_of(source.stem), formats)
    results.append(record)
    return record


def edit(*arguments) -> int:
    return main([str(argument) for argument in arguments])


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("[!.]*") if path.is_file()}


def seconds_of(path: Path) -> list[float]:
    with av.open(str(path)) as clip:
        return [float(stream.duration * stream.time_base) for stream in clip.streams]


@pytest.mark.parametrize(("length", "seconds", "told"), [("1.5s", 1.5, "1.5s"), ("50%", 3.0, "50percent")])
def test_the_clip_is_as_long_as_asked_and_the_rest_fits(tmp_path, source, capsys, length, seconds, told):
    before = put(tmp_path / "out", source)
    assert edit(tmp_path / "out", "--length", length, "--export", "vtt") == 0
    folder = tmp_path / f"out_{told}"
    assert files_in(folder) == {
        "index.html", "summaries.jsonl", "film/index.html", "film/thumbnail.jpg", "film/summary.vtt",
        *(f"film/{FORMATS[name].file_name}" for name in DEFAULT_FORMATS),
    }  # fmt: skip
    (record,) = records_in(folder)
    assert json.loads((folder / "film" / "summary.json").read_text()) == record
    assert record[EDIT_KEY] == {"length": length, "snap": None} and record["answer"] == before["answer"]
    assert all(abs(lasts - seconds) < 0.05 for lasts in seconds_of(folder / "film" / "summary.mp4"))
    kept = [sentence["text"] for sentence in record["sentences"]]
    assert kept == [one["text"] for one in before["sentences"] if one["text"] in kept]
    assert read_summary(folder / "film" / "summary.vtt").text == record["text"]
    printed = capsys.readouterr()
    assert all(text in printed.out for text in kept)
    assert printed.err == f"page: {folder / 'index.html'}\n1 of 1 summaries: {folder}\n"
    page = Page(folder / "film" / "index.html")
    assert all((one["text"] in page.text) == (one["text"] in kept) for one in before["sentences"])
    (prediction,) = load_predictions(folder).values()  # the evaluators read it as any other
    assert prediction.frames == tuple(record["frames"])
    written = (folder / "summaries.jsonl").read_bytes()
    assert edit(tmp_path / "out", "--length", length, "--export", "vtt") == 0
    assert (folder / "summaries.jsonl").read_bytes() == written  # it is done already
    assert records_in(tmp_path / "out") == [before]


def test_other_files_of_summaries_are_put_beside_them(tmp_path, source, capsys):
    before = put(tmp_path / "out", source)
    written = (tmp_path / "out" / "film" / "summary.json").read_bytes()
    assert edit(tmp_path / "out", "--export", "srt,chapters") == 0
    assert files_in(tmp_path / "out") == {
        "summaries.jsonl", "film/summary.json", "film/summary.srt", "film/chapters.txt"
    }  # fmt: skip
    assert edit(tmp_path / "out" / "film", "--format", "sheet") == 0  # whose frames are read again
    assert (tmp_path / "out" / "film" / "keyframes.png").is_file()
    assert (tmp_path / "out" / "film" / "summary.json").read_bytes() == written
    assert records_in(tmp_path / "out") == [before]


def test_a_page_has_the_files_that_were_put_beside_it(tmp_path, source):
    for task in ("both", "video"):
        put(tmp_path / "out" / task, source, task)
        (tmp_path / "out" / task / "film" / "index.html").write_text("the page of before")
    assert edit(tmp_path / "out" / "both" / "film", "--export", "srt") == 0
    page = Page(tmp_path / "out" / "both" / "film" / "index.html")
    assert "summary.srt" in [one["href"] for one in page.of("a")] and len(page.of("button", role="tab")) == 2
    assert page.of("a")[0]["href"] == "../../index.html"


def test_an_output_folder_that_is_named_like_a_task_is_no_part_of_a_run(tmp_path, source):
    put(tmp_path / "out", source)
    page = tmp_path / "index.html"
    page.write_text("somebody else's")
    target = tmp_path / "both"
    assert edit(tmp_path / "out", "--length", "2s", "--format", "json", "--output-dir", target) == 0
    assert page.read_text() == "somebody else's"
    assert Page(target / "index.html").texts and "index.html" in files_in(target / "film")
    assert edit(target, "--export", "srt") == 0  # the page is written anew, of this run alone
    assert (target / "film" / "index.html").read_text().count("../../index.html") == 0


def test_a_clip_stays_where_it_cannot_be_cut_anew(tmp_path, source, capsys):
    moved = tmp_path / "film.mp4"
    moved.write_bytes(source.read_bytes())
    put(tmp_path / "out", moved, formats=("json", "clip"))
    clip = tmp_path / "out" / "film" / "summary.mp4"
    whole = clip.read_bytes()
    moved.unlink()
    assert edit(tmp_path / "out", "--format", "clip", "--export", "srt") == 0
    assert clip.read_bytes() == whole and "summary.srt" in files_in(clip.parent)
    assert "the summary keeps the clip that it has" in capsys.readouterr().err
    assert edit(tmp_path / "out", "--length", "2s", "--format", "clip,json") == 0
    assert not (tmp_path / "out_2s" / "film" / "summary.mp4").exists()


def test_a_length_that_a_task_has_not_is_told_also_beside_snap(tmp_path, source, capsys):
    put(tmp_path / "out", source, task="video")
    assert edit(tmp_path / "out", "--length", "2 sentences", "--snap", "shots") == 2
    assert "the VIDEO summary has no sentences, for a length of 2 sentences" in capsys.readouterr().err
    put(tmp_path / "text", source, task="text")
    assert edit(tmp_path / "text", "--snap", "shots") == 2
    assert "the TEXT summary has no cuts, for --snap shots" in capsys.readouterr().err


def test_one_summary_and_those_of_all_tasks(tmp_path, source, capsys):
    for task in ("both", "video", "text"):
        put(tmp_path / "out" / task, source, task)
    options = "--length", "1s", "--format", "json", "--no-page", "--output-dir"
    assert edit(tmp_path / "out", *options, tmp_path / "short") == 1
    assert files_in(tmp_path / "short") == {
        f"{task}/{name}" for task in ("both", "video") for name in ("summaries.jsonl", "film/summary.json")
    }
    assert "film/summary.json: the TEXT summary has no seconds, for a length of 1s" in capsys.readouterr().err
    one = tmp_path / "out" / "text" / "film" / "summary.json"
    assert edit(one, "--length", "2 sentences", "--format", "json") == 0
    (record,) = records_in(tmp_path / "out" / "text_2_sentences")
    assert len(record["sentences"]) == 2


def test_what_cannot_be_is_told_in_a_line(tmp_path, source, capsys):
    put(tmp_path / "out", source)
    (tmp_path / "none").mkdir()
    cases = [
        ((tmp_path / "none", "--length", "1s"), "expected an output folder of infer"),
        ((tmp_path / "gone.json", "--length", "1s"), "expected an output folder of infer"),
        ((tmp_path / "out", "--length", "1s", "--output-dir", tmp_path / "out"), "expected another folder"),
        ((tmp_path / "out", "--export", "srt", "--output-dir", tmp_path / "b"), "--output-dir is for edited summaries"),
    ]
    for arguments, what in cases:
        assert edit(*arguments) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ") and what in line
    assert edit(tmp_path / "out", "--length", "1s", "--format", "json") == 0
    assert edit(tmp_path / "out_1s", "--length", "2s") == 2
    assert "has been edited already: edit the one that the model gave" in capsys.readouterr().err
    assert edit(tmp_path / "out", "--length", "2s", "--output-dir", tmp_path / "out_1s", "--format", "json") == 2
    assert "holds the BOTH summary by tiny (length 1s), and not the BOTH summary by tiny (length 2s)" in (
        capsys.readouterr().err
    )
    (tmp_path / "out" / "film" / "summary.json").write_text('{"video": "a.mp4"}')
    assert edit(tmp_path / "out", "--length", "3s") == 2
    assert "summary.json: expected a summary record in JSON" in capsys.readouterr().err
    for arguments, what in ((("--length", "3"), "--length must be such as 30s"), ((), "nothing to do: give --length")):
        with pytest.raises(SystemExit) as stopped:
            edit(tmp_path / "out", *arguments)
        assert stopped.value.code == 2 and what in capsys.readouterr().err


def test_a_summary_of_an_older_release_is_edited(tmp_path, source):
    put(tmp_path / "out", source)
    file = tmp_path / "out" / "film" / "summary.json"
    old = {key: value for key, value in json.loads(file.read_text()).items() if key not in ("segments", "problems")}
    file.write_text(json.dumps(old))
    assert edit(tmp_path / "out", "--length", "1s", "--format", "json") == 0
    (record,) = records_in(tmp_path / "out_1s")
    assert sum(one["end_seconds"] - one["start_seconds"] for one in record["segments"]) == pytest.approx(1, abs=1e-4)


def test_cuts_snap_to_shots(tmp_path, source, monkeypatch):
    pytest.importorskip("scenedetect", exc_type=ImportError)  # OpenCV asks for libGL
    monkeypatch.setattr("llava_v2xum.infer.editing.shot_starts", lambda path, track: [0.0, 1.6, 2.1, 3.5, 6.0])
    put(tmp_path / "out", source)
    assert edit(tmp_path / "out", "--snap", "shots", "--format", "json") == 0
    (record,) = records_in(tmp_path / "out_shots")
    two = record["segments"][1]  # from 1.8 to 2.04
    assert (two["start_seconds"], two["end_seconds"]) == (1.6, 2.1) and record[EDIT_KEY]["snap"] == "shots"


def test_infer_edits_as_summaries_come(tmp_path, source, capsys):
    run = InferRun(parse_arguments(["film.mp4", "--task", "all", "--length", "1s"]))
    made = {task: run.editing.edited(record_of(answer, task=task, seconds=6.0)) for task, answer in ANSWERS.items()}
    assert made["text"] == record_of(ANSWERS["text"], task="text", seconds=6.0)
    for task in ("both", "video"):
        segments = made[task]["segments"]
        assert sum(one["end_seconds"] - one["start_seconds"] for one in segments) == pytest.approx(1, abs=1e-4)
    silent = run.editing.edited(record_of("A man sits.", seconds=6.0))
    assert silent["problems"][-1] == "not edited: the BOTH summary cites no frame: there is nothing to cut"
    assert silent[EDIT_KEY] == {"length": "1s", "snap": None} and silent["text"] == "A man sits."
    for task, length in (("text", "1s"), ("video", "2 sentences")):
        with pytest.raises(SystemExit):
            parse_arguments(["film.mp4", "--task", task, "--length", length])
        assert f"--length {length}: a {task.upper()} summary has no" in capsys.readouterr().err


def test_another_length_in_the_same_folder_is_refused(tmp_path, source, capsys):
    record = put(tmp_path / "out", source, formats=())
    arguments = [str(source), "--output-dir", str(tmp_path / "out"), "--format", "json"]
    (tmp_path / "out" / "film" / "summary.json").write_text(json.dumps(record))
    for more, is_refused in (([], False), (["--length", "1s"], True)):
        run = InferRun(parse_arguments([*arguments, *more]))
        with run.locks:
            run.open_results()
            if is_refused:
                with pytest.raises(ValueError, match=r"and not the BOTH summary by tiny \(length 1s\)"):
                    run.still_to_do(run.find(), "tiny")
            else:
                assert run.still_to_do(run.find(), "tiny") == {}


def test_one_video_is_looked_through_for_shots_once(monkeypatch):
    looked = []
    monkeypatch.setattr("llava_v2xum.infer.editing.shot_starts", lambda path, track: looked.append(path) or [0.0, 6.0])
    editing = Editing(Length(50, "%"), "shots")
    for task in ("both", "video", "text"):
        editing.edited(record_of(ANSWERS[task], task=task, seconds=6.0))
    assert len(looked) == 1


def test_v2xum_edit_is_this_command_and_loads_no_model(tmp_path, source):
    put(tmp_path / "out", source)
    code = (
        "import sys; from llava_v2xum.__main__ import main; sys.argv[1:] = sys.argv[1:]\n"
        "try: main()\nexcept SystemExit as end: print(end.code, sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, "edit", str(tmp_path / "out"), "--length", "1s"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], timeout=120)
    assert done.stdout.splitlines()[-1] == "0 []", done.stderr
