"""What the evaluators' commands say of bad files and options: one line, the right status, nothing scored in vain."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluate_world import make_world, run

from llava_v2xum.core.annotations import write_annotations
from llava_v2xum.core.extras import MissingExtra
from llava_v2xum.evaluate.__main__ import told
from llava_v2xum.evaluate.formats.references import load_references
from llava_v2xum.evaluate.reports.scores import read_report


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--predictions", "none.jsonl"], "none.jsonl: no such"),
        (["--predictions", "other.jsonl"], "none of the 1 predicted videos ('somebody')"),
        (["--predictions", "bad.jsonl"], "bad.jsonl:1: video 'shapes_5_0000'"),
        (["--predictions", "good.jsonl", "--clip", "ViT-L-14"], "give their folder with --videos"),
        (["--predictions", "good.jsonl", "--annotation-format", "annotations"], "videoxum.json:1: expected a JSON obj"),
    ],
)
def test_bad_input_is_named_and_leaves_nothing(world, tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(world)
    Path("other.jsonl").write_text('{"video_id": "somebody", "num_frames": 100, "frames": [1]}\n')
    Path("bad.jsonl").write_text('{"video_id": "shapes_5_0000", "num_frames": 100, "frames": [100]}\n')
    bad_option = 2 if "--clip" in arguments else 1
    files = ["--annotations", "videoxum.json", "--out", tmp_path / "report"]
    assert run("videoxum", *arguments, *files) == bad_option
    assert message in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize("dataset, got", [("tvsum", "tvsum (eccv16 or tvsum)"), ("instruct-v2xum", "instruct-v2xum")])
def test_another_data_sets_annotations_are_no_annotations_of_this_one(world, tmp_path, capsys, dataset, got):
    """Its table would bear a wrong name; what was converted still says what it was."""
    files = ["--predictions", world / "good.jsonl", "--out", tmp_path / "report"]
    assert run(dataset, *files, "--annotations", world / "videoxum.json") == 1
    expected = rf"videoxum.json: expected annotations of {dataset} ("
    assert expected in capsys.readouterr().err
    write_annotations(tmp_path / "a.jsonl", load_references(world / "videoxum.json").annotations)
    assert run(dataset, *files, "--annotations", tmp_path / "a.jsonl") == 1
    printed = capsys.readouterr().err
    assert f"a.jsonl: expected annotations of {got}" in printed and "got videoxum" in printed


def test_annotations_without_keyshots_are_told_by_their_video(world, tmp_path, capsys):
    annotations = load_references(world / "videoxum.json").annotations
    write_annotations(tmp_path / "a.jsonl", [replace(one, source="ours") for one in annotations])
    files = ["--predictions", world / "good.jsonl", "--annotations", tmp_path / "a.jsonl", "--out", tmp_path]
    assert run("summe", *files) == 1
    assert "a.jsonl: video 'shapes_5_0000': summe is scored against keyshots, in frames" in capsys.readouterr().err


@pytest.mark.parametrize(
    "option, message",
    [
        (["--out", "good.jsonl"], "argument --out: expected a folder, and good.jsonl is a file"),
        (["--out", "good.jsonl/report"], "argument --out: expected a folder, and "),
        (["--resamples", "-1"], "argument --resamples: expected an integer of 0 or more, got '-1'"),
        (["--seed", "x"], "argument --seed: expected an integer of 0 or more, got 'x'"),
        (["--annotation-format", "eccv16"], "argument --annotation-format: invalid choice"),
    ],
)
def test_bad_options_are_told_before_anything_is_read(world, monkeypatch, capsys, option, message):
    monkeypatch.chdir(world)
    with pytest.raises(SystemExit) as stop:
        run("videoxum", "--predictions", "good.jsonl", "--annotations", "videoxum.json", *option)
    assert stop.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--videos", "."], ["--clip-cache", "a"], ["--clip-device", "cpu"]])
def test_options_of_clip_are_not_passed_over_in_silence(world, tmp_path, capsys, option):
    files = ["--predictions", world / "good.jsonl", "--annotations", world / "videoxum.json", "--out", tmp_path]
    assert run("videoxum", *files, *option) == 2
    assert f"{option[0]} is of use with --clip MODEL alone" in capsys.readouterr().err


def test_a_clip_or_folder_that_is_not_there_is_told_before_the_scoring(world, tmp_path, capsys, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr("llava_v2xum.evaluate.commands.scoring.v2v_rows", lambda *_, **__: pytest.fail("scored"))
    files = ["--predictions", world / "good.jsonl", "--annotations", world / "videoxum.json", "--out", tmp_path]
    assert run("videoxum", *files, "--clip", tmp_path / "none.pt", "--videos", tmp_path / "nowhere") == 1
    assert "nowhere: no such file or folder" in capsys.readouterr().err
    (tmp_path / "a.mp4").touch()
    assert run("videoxum", *files, "--clip", tmp_path / "none.pt", "--videos", tmp_path) == 1
    assert "none.pt: no such file" in capsys.readouterr().err


def test_the_report_is_written_before_the_table_is_printed(world, tmp_path, monkeypatch):
    """Piped to `head`, the rest of the table is lost, and nothing else."""
    files = ["--predictions", world / "good.jsonl", "--annotations", world / "videoxum.json", "--out", tmp_path]
    more = ["--seeds", "2", "--resamples", "0", "--no-meteor", "--tokenizer", "plain"]
    command = [sys.executable, "-m", "llava_v2xum.evaluate", "videoxum", *map(str, files), *more]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")
    assert read_report(tmp_path).score("system", "f1").value > 0


def test_an_interrupt_is_one_line(monkeypatch, capsys, world):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("llava_v2xum.evaluate.commands.scoring.load_annotations", interrupted)
    assert run("videoxum", "--predictions", "a", "--annotations", "b") == 130
    assert capsys.readouterr().err == "python -m llava_v2xum.evaluate videoxum: interrupted\n"


@pytest.mark.parametrize(
    "error, line",
    [
        (FileNotFoundError(2, "No such file or directory", "none.json"), "none.json: No such file or directory"),
        (ModuleNotFoundError("No module named 'av'", name="av"), "av is needed here and not installed: pip install "),
        (MissingExtra("h5py is needed"), "h5py is needed"),
        (ValueError("a: b\n\n  c"), "a: b c"),
    ],
)
def test_errors_are_told_in_one_line(error, line):
    assert told(error).startswith(line) and "\n" not in told(error)


def test_without_matplotlib_nothing_is_scored_in_vain(world, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    files = ["--predictions", world / "good.jsonl", "--annotations", world / "videoxum.json", "--out", tmp_path]
    monkeypatch.setattr("llava_v2xum.evaluate.commands.scoring.v2v_rows", lambda *_, **__: pytest.fail("scored"))
    assert run("videoxum", *files) == 1
    assert 'pip install "llava_v2xum[metrics]"' in capsys.readouterr().err


def test_scores_of_prompts_taken_for_samples_are_told_what_to_say(world, tmp_path, capsys):
    assert run("export", "scores-json", world / "good.jsonl", "--out", tmp_path / "scores.json") == 0
    files = ["--predictions", tmp_path / "scores.json", "--annotations", world / "videoxum.json", "--out", tmp_path]
    assert run("videoxum", *files) == 1
    assert "got 100; if they are of temporal prompts, say the clock frames" in capsys.readouterr().err


def test_features_that_do_not_fit_are_told_by_file_and_video(tmp_path, capsys):
    (tmp_path / "anno.tsv").write_text("a\tVT\t" + ",".join("12345" * 20) + "\n")
    (tmp_path / "scores.json").write_text('{"a": [1, 2, 3, 4, 5, 6, 7]}')
    (tmp_path / "features").mkdir()
    np.save(tmp_path / "features" / "a.npy", np.ones((3, 2)))
    files = ["--predictions", tmp_path / "scores.json", "--annotations", tmp_path / "anno.tsv"]
    assert run("tvsum", *files, "--features", tmp_path / "features", "--out", tmp_path / "report") == 1
    assert f"{tmp_path / 'features'}: video 'a': expected one pick a sample" in capsys.readouterr().err


def test_a_device_that_is_none_is_told_before_the_scoring(world, tmp_path, capsys):
    pytest.importorskip("torch")
    files = ["--predictions", world / "good.jsonl", "--annotations", world / "videoxum.json", "--out", tmp_path]
    assert run("videoxum", *files, "--clip", "ViT-B-32", "--videos", tmp_path, "--clip-device", "nowhere") == 1
    assert "device 'nowhere' cannot be used: " in capsys.readouterr().err
