"""Other systems' prediction files and published annotations: read, written, told apart; what is wrong is named."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
from evaluate_world import run
from published import (
    captions,
    eccv16_video,
    further_forms,
    instruct,
    summe_video,
    tvsum_video,
    videoxum,
    write_eccv16,
    write_summe,
    write_tvsum_mat,
)

from llava_v2xum.core.annotations import AnnotatedSentence, Annotation, write_annotations
from llava_v2xum.core.data_sets import DataSet
from llava_v2xum.core.readers import Accepted, Reader, load_object
from llava_v2xum.data.convert import READERS
from llava_v2xum.data.convert.command import main as convert
from llava_v2xum.evaluate.formats.data_sets import DATA_SETS
from llava_v2xum.evaluate.formats.detect import holds
from llava_v2xum.evaluate.formats.format import ANNOTATIONS, AUTO, PREDICTIONS, Format, Written
from llava_v2xum.evaluate.formats.format_registry import ANNOTATION_FORMATS, EXPORTS, PREDICTION_FORMATS
from llava_v2xum.evaluate.formats.prediction_files import load_predictions
from llava_v2xum.evaluate.formats.predictions import PredictedSentence, Prediction, write_predictions
from llava_v2xum.evaluate.formats.references import features_of, load_references, named_as
from llava_v2xum.evaluate.reports.scores import read_report

pytest.importorskip("h5py")
pytest.importorskip("scipy")
pytestmark = pytest.mark.pinned

WHOLE = Prediction(
    "v_a",
    3,
    (0, 2),
    np.array([0.25, 1.0, -0.5]),
    "A man runs. Er hält an.",
    (PredictedSentence("A man runs.", (0,), 0.0, 1.5), PredictedSentence("Er hält an.", (2,))),
)
SILENT = Prediction("-b", 3)
SCORES = ("scores-json", "scores-npy", "scores-h5")
PATHS = {
    "predictions": "p.jsonl",
    "scores-json": "p.json",
    "scores-npy": "scores",
    "scores-h5": "p.h5",
    "coco-captions": "p.json",
    "dense-captions": "p.json",
}


def dumped(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", PATHS)
def test_what_a_format_can_hold_is_written_told_apart_and_read_back(tmp_path, name):
    path = tmp_path / PATHS[name]
    written = PREDICTION_FORMATS[name].write(path, [WHOLE, SILENT])
    assert holds(path) == (PREDICTIONS, name)
    got = rf"got predictions \({name}\), by .*; it is taken by evalu"
    with pytest.raises(ValueError, match=rf"{path.name}: expected annotations, {got}"):
        load_references(path)
    read = load_predictions(path)
    assert {key: one.to_record() for key, one in load_predictions(path, name).items()} == {
        key: one.to_record() for key, one in read.items()
    }
    one = read["v_a"]
    if name == "predictions":
        assert str(written) == "2 videos written" and list(read) == ["v_a", "-b"]
        assert one.to_record() == WHOLE.to_record()
    elif name in SCORES:
        assert str(written) == "1 videos written, 1 left out (no importance)" and list(read) == ["v_a"]
        assert (one.importance.tolist(), one.num_frames, one.clock) == ([0.25, 1.0, -0.5], 3, "samples")
        assert (one.frames, one.text, one.sentences) == (None, None, None)
        assert load_predictions(path, clock="released")["v_a"].clock == "released"
    elif name == "coco-captions":
        assert str(written) == "1 videos written, 1 left out (no text)" and list(read) == ["v_a"]
        assert (one.text, one.frames, one.sentences, one.num_frames) == (WHOLE.text, None, None, 100)
    else:
        assert str(written) == "1 sentences written, 1 left out (no text or no seconds)" and list(read) == ["v_a"]
        assert one.sentences == (PredictedSentence("A man runs.", (), 0.0, 1.5),)
        assert (one.text, one.frames) == ("A man runs.", None)


@pytest.mark.parametrize("name", PATHS)
def test_after_an_error_nothing_half_written_stays(tmp_path, name):
    def broken():
        yield WHOLE
        raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError):
        PREDICTION_FORMATS[name].write(tmp_path / PATHS[name], broken())
    assert not list(tmp_path.rglob("*"))


@pytest.mark.parametrize("name", sorted(set(PATHS) - {"predictions"}))
def test_a_format_that_can_hold_nothing_of_it_writes_nothing(tmp_path, name):
    with pytest.raises(ValueError, match=r"^nothing to write: 1 videos, no (importance|text|sentences) in any$"):
        PREDICTION_FORMATS[name].write(tmp_path / PATHS[name], [Prediction("-b", 3, frames=(1,))])
    assert not list(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match="nothing to write: 1 videos, no text in any"):
        EXPORTS["coco-references"].write(tmp_path / "truth.json", [Annotation("c", 5.0, "x", selections=[[1]])])


@pytest.mark.parametrize("name", ["scores-npy", "scores-h5"])
def test_an_id_that_cannot_be_a_name_is_told(tmp_path, name):
    for video_id in ("../a", ".."):
        with pytest.raises(ValueError, match="its id cannot be a name in this format"):
            PREDICTION_FORMATS[name].write(tmp_path / PATHS[name], [Prediction(video_id, 1, importance=[1.0])])
    assert not list(tmp_path.rglob("*"))


def test_the_files_are_those_that_others_read(tmp_path):
    import h5py

    PREDICTION_FORMATS["scores-h5"].write(tmp_path / "p.h5", [WHOLE])
    with h5py.File(tmp_path / "p.h5") as file:
        assert file["v_a/score"][()].tolist() == [0.25, 1.0, -0.5]
    PREDICTION_FORMATS["dense-captions"].write(tmp_path / "d.json", [WHOLE, SILENT])
    dense = json.loads((tmp_path / "d.json").read_text(encoding="utf-8"))
    assert dense["results"] == {"v_a": [{"sentence": "A man runs.", "timestamp": [0.0, 1.5]}]}
    PREDICTION_FORMATS["coco-captions"].write(tmp_path / "c.json", [WHOLE])
    assert json.loads((tmp_path / "c.json").read_text(encoding="utf-8")) == [
        {"image_id": "v_a", "caption": "A man runs. Er hält an."}
    ]


def test_scores_of_other_layouts(tmp_path):
    flat = write_eccv16(tmp_path / "flat.h5", {"a": {"score": np.float32([[0.5], [1]])}})
    assert load_predictions(flat)["a"].importance.tolist() == [0.5, 1]
    import h5py

    with h5py.File(tmp_path / "top.h5", "w") as file:
        file["a"] = [1, 2]
    assert load_predictions(tmp_path / "top.h5")["a"].importance.tolist() == [1, 2]
    folder = tmp_path / "npy"
    folder.mkdir()
    np.save(folder / "a.npy", np.array([[1, 2]], np.int16))
    np.save(folder / ".b.part.npy", np.array([1]))  # what a kill leaves
    assert [(key, one.importance.tolist()) for key, one in load_predictions(folder).items()] == [("a", [1, 2])]


def test_infers_folder_is_read(tmp_path):
    write_predictions(tmp_path / "summaries.jsonl", [WHOLE])
    assert list(load_predictions(tmp_path)) == ["v_a"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("scores-json", {"a": [1, "b"]}, "p.json: video 'a': the scores must hold numbers, got <U"),
        ("scores-json", {"a": []}, "p.json: video 'a': num_frames must be a positive integer, got 0"),
        ("scores-json", '{"a": [1, NaN]}', "p.json: video 'a': the scores must hold finite numbers, and 1 are not"),
        ("scores-json", {"a": [[1, 2], [3, 4]]}, r"video 'a': the scores must have 1 dimensions, got shape \(2, 2\)"),
        ("scores-json", {"a": [[1], [2, 3]]}, "p.json: video 'a': "),
        ("scores-json", '{"a": [1], "a": [2]}', "p.json: video 'a': it is there twice"),
        ("scores-json", [], "p.json: expected a JSON object of scores by video id"),
        ("coco-captions", {}, "p.json: expected a JSON list of captions"),
        ("coco-captions", [{"image_id": 1}], "p.json: entry 0: missing: caption"),
        ("coco-captions", [7], "p.json: entry 0: expected a JSON object, got 7"),
        ("coco-captions", [{"image_id": [1], "caption": ""}], "entry 0: image_id must be text or an integer, got"),
        ("coco-captions", [{"image_id": 1, "caption": None}], "p.json: video '1': caption must be text, got None"),
        ("coco-captions", [{"image_id": 1, "caption": "a"}] * 2, "p.json: video '1': it is there twice"),
        ("dense-captions", {"result": {}}, "p.json: expected results, an object of sentences by video id, got None"),
        ("dense-captions", {"results": {"a": {}}}, "video 'a': expected a list of sentences, got an object of 0 items"),
        ("dense-captions", {"results": {"a": [{"sentence": "b"}]}}, "video 'a': sentence 0: missing: timestamp"),
        (
            "dense-captions",
            {"results": {"a": [{"sentence": "b", "timestamp": [1]}]}},
            "video 'a': sentence 0: timestamp must have 2 items, got 1",
        ),
        (
            "dense-captions",
            {"results": {"a": [{"sentence": "b", "timestamp": [2, 1]}]}},
            r"video 'a': sentences\[0\] must have 0 <= start_seconds <= end_seconds",
        ),
        ("dense-captions", '{"results": {"a": [], "a": []}}', "video 'a': it is there twice"),
        ("predictions", {"video_id": "a"}, "p.json:1: video 'a': missing: num_frames"),
        ("predictions", "", "p.json: expected one prediction a line"),
        ("scores-h5", "", "p.json: expected HDF5"),
        ("scores-npy", "", "p.json: expected a folder of .npy files"),
        ("others", "", "format must be one of predictions, .*, scores-json, .*, got 'others'"),
    ],
)
def test_a_wrong_prediction_file_is_told_with_its_video(tmp_path, name, content, message):
    with pytest.raises(ValueError, match=message):
        load_predictions(dumped(tmp_path / "p.json", content), name)


def test_wrong_arrays_are_told_with_their_video(tmp_path):
    path = write_eccv16(tmp_path / "p.h5", {"a": {"marks": [1, 2]}})
    with pytest.raises(ValueError, match=r"p\.h5: video 'a': the group must have one data set score or .*got marks"):
        load_predictions(path)
    (tmp_path / "npy").mkdir()
    (tmp_path / "npy" / "a.npy").write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(ValueError, match=r"a\.npy: expected an array of numbers in \.npy"):
        load_predictions(tmp_path / "npy")
    with pytest.raises(ValueError, match="clock must be one of frames, released, .*, got 'minutes'"):
        load_predictions(path, clock="minutes")


@pytest.mark.parametrize(
    "content, shown",
    [
        ([], "empty JSON"),
        ({}, "empty JSON"),
        (7, "JSON that is 7"),
        ([{"caption": "a"}], "JSON that is a list"),
        ({"a": {"b": 1}}, "JSON that is an object"),
        ({"results": 1}, "JSON that is an object"),
        ([[1]], "JSON that is a list"),
    ],
)
def test_json_that_may_be_anything_is_not_guessed(tmp_path, content, shown):
    path = dumped(tmp_path / "p.json", content)
    got = rf"got {shown}.*; if it has one of these formats, say which with"
    with pytest.raises(ValueError, match=rf"p\.json: expected predictions, {got} --prediction-format: "):
        load_predictions(path)
    with pytest.raises(ValueError, match=rf"p\.json: expected annotations, {got} --annotation-format: "):
        load_references(path)


def test_files_that_are_not_there_or_of_unknown_ending(tmp_path):
    for load in (load_predictions, load_references):
        with pytest.raises(FileNotFoundError, match="no such"):
            load(tmp_path / "a.json")
        with pytest.raises(ValueError, match=r"got a file named \.txt"):
            load(dumped(tmp_path / "a.txt", ""))
        (tmp_path / "folder.json").mkdir(exist_ok=True)
        with pytest.raises(ValueError, match="got a folder without"):
            load(tmp_path / "folder.json")
        with pytest.raises(ValueError, match=r"b\.json: expected JSON"):
            load(dumped(tmp_path / "b.json", "{"))


def test_pycocotools_reads_results_and_ground_truth(tmp_path):
    coco = pytest.importorskip("pycocotools.coco")
    sentences = (AnnotatedSentence("A man runs."), AnnotatedSentence(" He stops. "))
    annotations = [
        Annotation("v_a", 5.0, "x", sentences),
        Annotation("-b", 5.0, "x", sentences, text="The whole."),
        Annotation("c", 5.0, "x", selections=[[1]]),
    ]
    written = EXPORTS["coco-references"].write(tmp_path / "truth.json", annotations)
    assert str(written) == "2 videos written, 1 left out (no text)"
    PREDICTION_FORMATS["coco-captions"].write(tmp_path / "p.json", [WHOLE])
    truth = coco.COCO(str(tmp_path / "truth.json"))
    results = truth.loadRes(str(tmp_path / "p.json"))
    assert {key: [one["caption"] for one in truth.imgToAnns[key]] for key in truth.getImgIds()} == {
        "v_a": ["A man runs. He stops."],
        "-b": ["The whole."],
    }
    assert results.imgToAnns["v_a"][0]["caption"] == WHOLE.text


def test_a_registered_export_is_written_and_told_of(tmp_path, monkeypatch, capsys):
    def write(path, predictions):
        texts = [one.text for one in predictions if one.text]
        path.write_text("\n".join(texts))
        return Written(len(texts), "texts")

    monkeypatch.setitem(EXPORTS, "plain-text", Format("plain-text", "the texts alone", write=write))
    write_predictions(tmp_path / "p.jsonl", [WHOLE, SILENT])
    assert run("export", "plain-text", tmp_path / "p.jsonl", "--out", tmp_path / "p.txt") == 0
    assert "1 texts written" in capsys.readouterr().out and (tmp_path / "p.txt").read_text() == WHOLE.text
    with pytest.raises(SystemExit):
        run("export", "--help")
    assert "plain-text        the texts alone" in capsys.readouterr().out


# annotations


def test_a_registered_data_set_is_told_from_others_converted_and_scored(tmp_path, monkeypatch, capsys):
    """A reader says all of it; the dictionaries are made of READERS when the modules are loaded."""

    def read(path, tolerance_seconds):
        for place, (video_id, text) in enumerate(load_object(path, "texts by video id")):
            yield Accepted(Annotation(video_id, 4.0, "notes", (AnnotatedSentence(text["note"]),)), place)

    known = DataSet("Notes: captions", "notes.json", ("notes",), ("rouge_l", "f1"))
    reader = Reader(read, "Notes", "Reads notes.", looks=lambda look: look.is_json(dict, "note"), data_set=known)
    for formats in (READERS, ANNOTATION_FORMATS):
        monkeypatch.setitem(formats, "notes", reader)
    monkeypatch.setitem(DATA_SETS, "notes", known)
    path = dumped(tmp_path / "n.json", {"v_a": {"note": "A man runs."}, "-b": {"note": "He stops."}})
    assert holds(path) == (ANNOTATIONS, "notes") and load_references(path).form == "notes"
    write_predictions(tmp_path / "p.jsonl", [WHOLE, SILENT])
    files = ["--predictions", tmp_path / "p.jsonl", "--annotations", path, "--out", tmp_path / "report"]
    assert run("notes", *files, "--no-meteor", "--tokenizer", "plain", "--resamples", 0) == 0
    head = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("notes"))
    assert head.split() == ["notes", "ROUGE-L", "F1"]
    assert read_report(tmp_path / "report").score("system", "rouge_l").value > 0.2
    assert convert(["notes", str(path), "--out", str(tmp_path / "converted")]) == 0


def reference_files(folder):
    """A file of every format that annotations may have."""
    annotation = Annotation("a", 5.0, "x", (AnnotatedSentence("A man runs."),))
    write_annotations(folder / "a.jsonl", [annotation])
    (folder / "a.tsv").write_text("a\tVT\t1,2,3\n")
    return [
        ("annotations", folder / "a.jsonl"),
        ("videoxum", dumped(folder / "v.json", [videoxum()])),
        ("instruct-v2xum", dumped(folder / "i.json", [instruct()])),
        ("activitynet-captions", dumped(folder / "c.json", {"v_1": captions()})),
        ("eccv16", write_eccv16(folder / "a.h5", {"video_1": eccv16_video()})),
        ("tvsum", write_tvsum_mat(folder / "a.mat", [tvsum_video()])),
        ("tvsum", folder / "a.tsv"),
        ("summe", write_summe(folder / "GT", {"Jumps": summe_video()})),
        *further_forms(folder),
    ]


def test_annotations_of_every_format_are_told_apart(tmp_path):
    files = reference_files(tmp_path)
    assert {name for name, _ in files} == set(ANNOTATION_FORMATS) == {"annotations", *READERS}
    for name, path in files:
        found = load_references(path)
        assert (found.form, len(found.annotations), found.rejected, found.moved) == (name, 1, [], {})
        assert load_references(path, name) == found
        assert holds(path) == (ANNOTATIONS, name)
        got = rf"got annotations \({name}\), by .*; it is taken by evalu"
        with pytest.raises(ValueError, match=rf"{path.name}: expected predictions, {got}"):
            load_predictions(path)
    assert AUTO not in PREDICTION_FORMATS


def test_rejected_items_are_told_and_time_stamps_are_moved_within_the_tolerance(tmp_path):
    late = videoxum("v_2", timestamps=[[0, 1], [1, 4.9]])
    path = dumped(tmp_path / "v.json", [videoxum(), late, videoxum("v_3", duration=0), videoxum()])
    found = load_references(path)
    assert [one.video_id for one in found.annotations] == ["v_1", "v_2"] and found.moved == {"v_2": 1}
    assert [(one.video_id, one.place) for one in found.rejected] == [("v_3", 2), ("v_1", 3)]
    assert "duplicate id" in found.rejected[1].reason
    assert [one.video_id for one in load_references(path, tolerance_seconds=0.5).rejected] == ["v_2", "v_3", "v_1"]


def test_annotations_that_cannot_be_read_are_told(tmp_path):
    path = dumped(tmp_path / "v.json", [videoxum(duration=0)])
    with pytest.raises(ValueError, match=r"v\.json: expected annotations, got none, the first of 1 rejected: item 0"):
        load_references(path)
    with pytest.raises(ValueError, match=r"a\.jsonl: expected annotations, got none$"):
        load_references(dumped(tmp_path / "a.jsonl", "\n"))
    with pytest.raises(ValueError, match="v.json: expected HDF5"):
        load_references(path, "eccv16")
    with pytest.raises(ValueError, match="format must be one of annotations, videoxum, .*, got 'coco'"):
        load_references(path, "coco")


def test_features_come_from_hdf5_or_a_folder(tmp_path):
    h5 = write_eccv16(tmp_path / "a.h5", {"video_1": eccv16_video(), "b": {"features": np.ones((2, 3), np.float32)}})
    features = features_of(h5)
    assert {video_id: array.shape for video_id, array in features.items()} == {"video_1": (3, 2), "b": (2, 3)}
    folder = tmp_path / "npy"
    folder.mkdir()
    with pytest.raises(ValueError, match="expected a folder of .npy files"):
        features_of(folder)
    with pytest.raises(ValueError, match="expected features by video id, got none"):
        features_of(write_eccv16(tmp_path / "n.h5", {"a": eccv16_video(features=None)}))
    np.save(folder / "a.npy", features["b"])
    assert features_of(folder)["a"].tolist() == np.ones((2, 3)).tolist()
    np.save(folder / "b.npy", np.ones(3))
    with pytest.raises(ValueError, match=r"video 'b': features must have 2 dimensions, got shape \(3,\)"):
        features_of(folder)
    flat = write_eccv16(tmp_path / "b.h5", {"a": {"features": np.ones(3)}})
    with pytest.raises(ValueError, match=r"b\.h5: video 'a': features must have 2 dimensions"):
        features_of(flat)
    with pytest.raises(ValueError, match=r"c\.h5: expected HDF5"):
        features_of(dumped(tmp_path / "c.h5", ""))


def test_annotations_take_the_file_names_that_predictions_go_by(tmp_path):
    videos = {"video_1": eccv16_video(video_name=b"Jumps"), "video_2": eccv16_video(video_name=b"Cooking")}
    annotations = load_references(write_eccv16(tmp_path / "a.h5", videos)).annotations
    for ids, expected in [
        ({"video_1", "video_2"}, ["video_1", "video_2"]),
        ({"Jumps", "Cooking"}, ["Jumps", "Cooking"]),
        ({"Jumps", "other"}, ["Jumps", "video_2"]),
        ({"video_1", "Jumps"}, ["video_1", "video_2"]),
        (set(), ["video_1", "video_2"]),
    ]:
        assert [one.video_id for one in named_as(annotations, ids)] == expected
    twins = [annotations[0], Annotation("Jumps", 4.0, "x", selections=[[1]])]
    with pytest.raises(ValueError, match="video 'Jumps': two annotations go by this id or file name"):
        named_as(twins, {"Jumps"})


def test_importing_loads_no_optional_package():
    blocked = ("torch", "transformers", "llava", "h5py", "scipy", "pycocoevalcap", "matplotlib", "av", "PIL")
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({blocked!r}))\n"
        "import llava_v2xum.evaluate.formats.prediction_files, llava_v2xum.convert\n"
        "import llava_v2xum.evaluate.formats.references"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_h5py_the_pip_command_is_told(tmp_path, monkeypatch):
    path = write_eccv16(tmp_path / "a.h5", {"video_1": eccv16_video()})
    monkeypatch.setitem(sys.modules, "h5py", None)
    for load in (load_predictions, load_references):
        with pytest.raises(ImportError, match=r'pip install "llava_v2xum\[metrics\]"'):
            load(path)
