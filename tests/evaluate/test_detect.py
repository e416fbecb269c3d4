"""What a file is taken for is told with its sign and the commands that take it, and so is a file of another use."""

from __future__ import annotations

import json

import pytest
from evaluate_world import run
from published import videoxum

from llava_v2xum.data.convert import READERS
from llava_v2xum.evaluate.formats.detect import seen
from llava_v2xum.evaluate.formats.format_registry import ANNOTATION_FORMATS, PREDICTION_FORMATS
from llava_v2xum.evaluate.formats.prediction_files import load_predictions
from llava_v2xum.evaluate.formats.references import load_references


def dumped(path, content):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def others(folder):
    """Files that are neither predictions nor annotations, what they are, and the first command that takes them."""
    entry = {"id": "v", "conversations": []}
    (folder / "videos").mkdir()
    (folder / "videos" / "v.mp4").touch()
    dumped(folder / "report" / "report.json", {"dataset": "a", "system": "b", "facts": {}, "rows": {}})
    dumped(folder / "features" / "features.json", {"num_frames": 100})
    return [
        (folder / "report", "a report", "evaluate tables"),
        (folder / "report" / "report.json", "a report", "evaluate tables"),
        (dumped(folder / "splits.json", [{"train_keys": [], "test_keys": ["a"]}]), "splits", "evaluate tvsum --splits"),
        (dumped(folder / "train.json", [entry]), "instruction JSON", "train --data_path"),
        (folder / "features", "frame features", "infer --features"),
        (folder / "videos", "videos", "infer"),
        (folder / "videos" / "v.mp4", "videos", "infer"),
    ]


@pytest.mark.parametrize("name", [*PREDICTION_FORMATS, *ANNOTATION_FORMATS])
def test_every_format_says_what_it_is_told_by(name):
    for formats in (PREDICTION_FORMATS, ANNOTATION_FORMATS):
        assert name not in formats or formats[name].sign


def test_files_of_another_use_are_refused_with_the_commands_for_them(tmp_path):
    for path, what, command in others(tmp_path):
        found = seen(path)
        assert (found.what, found.taken_by[0]) == (what, command)
        for load in (load_predictions, load_references):
            with pytest.raises(ValueError, match=rf"expected .*, got {what}, by .*; it is taken by {command}"):
                load(path)


def test_an_own_report_is_told_and_its_predictions_form(tmp_path, capsys):
    annotations = dumped(tmp_path / "v.json", [videoxum()])
    captions = dumped(tmp_path / "c.json", [{"image_id": "v_1", "caption": "A man runs."}])
    options = ["--tokenizer", "plain", "--no-meteor", "--resamples", 0, "--seeds", 1, "--out", tmp_path / "report"]
    assert run("videoxum", "--predictions", captions, "--annotations", annotations, *options) == 0
    assert json.loads((tmp_path / "report" / "report.json").read_text())["facts"]["predictions"] == [
        "c.json (coco-captions)"
    ]
    capsys.readouterr()
    assert run("detect", captions, annotations, tmp_path / "report") == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{captions}: predictions (coco-captions), by the image_id and caption of its first entry",
        "  python -m llava_v2xum.evaluate DATASET --predictions",
        "  python -m llava_v2xum.evaluate compare",
        "  python -m llava_v2xum.evaluate export",
        f"{annotations}: annotations (videoxum), by the tsum and vsum of its first entry",
        "  python -m llava_v2xum.evaluate videoxum --annotations",
        "  python -m llava_v2xum.evaluate shapes --annotations",
        "  python -m llava_v2xum.convert videoxum",
        f"{tmp_path / 'report'}: a report, by its report.json, or what one has in it",
        "  python -m llava_v2xum.evaluate tables",
        "  python -m llava_v2xum.merge --report",
    ]


def test_what_is_not_known_or_not_there_is_told(tmp_path, capsys):
    unclear, broken = dumped(tmp_path / "u.json", [[1]]), tmp_path / "b.json"
    broken.write_text("{")
    assert run("detect", unclear, broken, tmp_path / "none.json") == 1
    first, second, third = capsys.readouterr().err.splitlines()
    assert first == f"error: {unclear}: it has none of the formats that are known"
    assert second.startswith(f"error: {broken}: ") and second.count(str(broken)) == 1
    assert third == f"error: {tmp_path / 'none.json'}: no such file"


def test_a_reader_takes_what_convert_is_told_to(tmp_path):
    path = dumped(tmp_path / "v.json", [videoxum()])
    assert seen(path).taken_by[-1] == "convert videoxum" and "videoxum" in READERS
