"""The task pack for lmms-eval: its files agree with each other, and its figures are those of this package."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llava_v2xum.core.annotations import AnnotatedSentence, Annotation, read_annotations, write_annotations
from llava_v2xum.core.answers import parse_answer
from llava_v2xum.core.keyshots import Keyshots
from llava_v2xum.core.tasks import INSTRUCTIONS
from llava_v2xum.evaluate.formats.cases import Case, pair
from llava_v2xum.evaluate.formats.predictions import Prediction, read_predictions, write_predictions
from llava_v2xum.evaluate.groups.v2t import v2t_rows
from llava_v2xum.evaluate.groups.v2v import keyshot_rows, v2v_rows
from llava_v2xum.evaluate.lmms_eval import documents, scoring

PACK = Path(documents.__file__).parent
TASKS = {path.stem: path for path in sorted(PACK.glob("*.yaml"))}
ANSWERS = {
    "a": "A man runs over a field [10, 11, 12, 12]. He jumps into the water [60, 61].",
    "b": "A dog sleeps [05, 06, 07, 08]. The dog wakes up [90].",
    "c": "I cannot help with that.",
}


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Three videos of VideoXum and two of TVSum, with the environment that names them."""
    draw = np.random.default_rng(0)
    texts = {"a": "A man runs over a field.", "b": "A dog sleeps and wakes up.", "c": "A child sings a song."}
    annotations = []
    for number, (video_id, text) in enumerate(texts.items()):
        samples = 40 + 70 * number  # shorter and longer than 100 seconds
        rows = (draw.random((10, samples)) < 0.2).astype(int).tolist()
        sentences = (AnnotatedSentence(text), AnnotatedSentence("It ends in the water."))
        annotations.append(Annotation(video_id, float(samples), "videoxum", sentences, samples, selections=rows))
    write_annotations(tmp_path / "videoxum.jsonl", annotations)
    keyshots = []
    for video_id in ("a", "b"):
        shots = Keyshots(
            300, tuple(range(0, 300, 15)), tuple((first, first + 29) for first in range(0, 300, 30)),
            (((0, 40), (200, 230)), ((100, 140),), ((250, 299),)), draw.integers(1, 6, (3, 20)).astype(float).tolist(),
        )  # fmt: skip
        keyshots.append(Annotation(video_id, None, "tvsum", keyshots=shots))
    write_annotations(tmp_path / "tvsum.jsonl", keyshots)
    (tmp_path / "videos").mkdir()
    for video_id in texts:
        (tmp_path / "videos" / f"{video_id}.mp4").write_bytes(b"not decoded here")
    for data_set in documents.DATA_SETS:
        made_of = "videoxum" if data_set not in documents.KEYSHOT_SETS else "tvsum"
        monkeypatch.setenv(f"LLAVA_V2XUM_{data_set.upper()}", str(tmp_path / f"{made_of}.jsonl"))
        monkeypatch.setenv(f"LLAVA_V2XUM_{data_set.upper()}_VIDEOS", str(tmp_path / "videos"))
    monkeypatch.delenv("LLAVA_V2XUM_INSTRUCTION", raising=False)
    return tmp_path


def load_utils():
    """As lmms-eval does for every name: the file itself, as a module of its own."""
    spec = importlib.util.spec_from_file_location("utils", PACK / "utils.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load_yaml(path):
    """A YAML file with what it includes, each `!function` looked up in utils.py."""
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    def look_up(loader, node):
        module, name = loader.construct_scalar(node).split(".")
        assert module == "utils"
        return getattr(load_utils(), name)

    Loader.add_constructor("!function", look_up)
    config = yaml.load(path.read_text(), Loader)
    included = config.pop("include", None)
    return {**(load_yaml(path.parent / included) if included else {}), **config}


def run(data_set, task, answers):
    """What lmms-eval does with the answers, by utils.py's functions: figures by metric."""
    config = load_yaml(TASKS[f"{data_set}_{task}"])
    collected = {}
    for document in documents.documents_of(data_set, task):
        results = config["process_results"](document, [answers[document["video_id"]]])
        for metric, item in results.items():
            collected.setdefault(metric, []).append(item)
    return {one["metric"]: one["aggregation"](collected[one["metric"]]) for one in config["metric_list"]}


def figures(measures, names):
    return {measure.name: measure.value for measure in measures if measure.name in names}


def test_every_data_set_has_its_tasks():
    asked = {"videoxum": ("both", "video", "text"), "instruct_v2xum": ("both", "video", "text")}
    expected = {f"{name}_{task}" for name in documents.DATA_SETS for task in asked.get(name, ("video",))}
    assert set(TASKS) == expected


@pytest.mark.parametrize("name", TASKS)
def test_a_task_file_fits_the_code(name, world):
    pytest.importorskip("yaml")
    config = load_yaml(TASKS[name])
    data_set, task = re.fullmatch(r"(\w+)_(both|video|text)", name).groups()
    assert config["task"] == name and config["tag"] == ["v2xum", data_set]
    assert tuple(one["metric"] for one in config["metric_list"]) == scoring.metrics_of(data_set, task)
    assert all(one["higher_is_better"] is True for one in config["metric_list"])
    assert config["dataset_kwargs"]["data_files"]["test"] == os.environ[f"LLAVA_V2XUM_{data_set.upper()}"]
    assert config["process_docs"].args == (data_set, task)
    document = documents.documents_of(data_set, task)[0]
    assert config["doc_to_visual"](document) == [str(world / "videos" / "a.mp4")]
    question = config["doc_to_text"](document, config["lmms_eval_specific_kwargs"]["default"])
    assert question == documents.EXPLAINED[task]
    answer = config["process_results"](document, ["A man [03]."])
    assert list(answer) == list(scoring.metrics_of(data_set, task))
    assert set(answer.values()) == {(data_set, task, "a", "A man [03].")}


def test_questions(monkeypatch):
    monkeypatch.setenv("LLAVA_V2XUM_INSTRUCTION", "trained")
    assert load_utils().form == "trained"
    for task, instruction in INSTRUCTIONS.items():
        assert documents.doc_to_text({"task": task}, {"form": "trained"}) == instruction
    monkeypatch.setenv("LLAVA_V2XUM_INSTRUCTION", "short")
    with pytest.raises(ValueError, match="LLAVA_V2XUM_INSTRUCTION must be one of explained, trained, got 'short'"):
        load_utils().form  # noqa: B018 (looking it up is what raises)


@pytest.mark.parametrize("task", ["video", "both"])
def test_the_explained_answer_form_is_one_that_is_read(task):
    """The example in the question, taken out of it, parses without a problem."""
    example = (
        documents.EXPLAINED[task].partition("such as")[2].lstrip(": ").removesuffix("Answer with the summary alone.")
    )
    summary = parse_answer(example.strip(), task=task)
    assert summary.problems == ()
    assert summary.frames == ((12, 13, 14) if task == "video" else (12, 13, 14, 61, 62))


def test_documents(world):
    assert documents.documents_of("videoxum", "both")[0] == {
        "video_id": "a", "data_set": "videoxum", "task": "both",
        "target": "A man runs over a field. It ends in the water.",
    }  # fmt: skip
    assert [one["target"] for one in documents.documents_of("tvsum", "video")] == ["", ""]


def test_what_is_missing_is_named(world, monkeypatch, caplog):
    (world / "videos" / "b.mp4").unlink()
    documents._videos_in.cache_clear()
    found = documents.documents_of("videoxum", "video")
    assert "has no video of 1 of 3, first b" in caplog.text
    with pytest.raises(FileNotFoundError, match="has no video 'b'"):
        documents.doc_to_visual(found[1])
    with pytest.raises(ValueError, match=r"tvsum.jsonl: no video has what the task 'text' is scored against"):
        documents.documents_of("tvsum", "text")
    monkeypatch.setenv("LLAVA_V2XUM_SUMME", str(world / "videoxum.jsonl"))
    with pytest.raises(ValueError, match=r"videoxum.jsonl: video 'a' has no keyshots"):
        documents.documents_of("summe", "video")
    monkeypatch.setenv("LLAVA_V2XUM_SUMME", str(world / "nowhere.jsonl"))
    with pytest.raises(FileNotFoundError, match="LLAVA_V2XUM_SUMME: .*nowhere.jsonl: no such file"):
        load_utils().annotations_summe  # noqa: B018
    monkeypatch.delenv("LLAVA_V2XUM_SUMME")
    with pytest.raises(ValueError, match="the environment variable LLAVA_V2XUM_SUMME is not set; it names the annot"):
        load_utils().annotations_summe  # noqa: B018
    monkeypatch.delenv("LLAVA_V2XUM_VIDEOXUM_VIDEOS")
    with pytest.raises(ValueError, match="LLAVA_V2XUM_VIDEOXUM_VIDEOS is not set; it names the folder"):
        documents.documents_of("videoxum", "video")
    with pytest.raises(AttributeError, match="no attribute 'annotate'"):
        load_utils().annotate  # noqa: B018
    with pytest.raises(ValueError, match="data_set must be one of"):
        load_utils().annotations_kinetics  # noqa: B018


def test_an_answer_as_a_prediction():
    both = scoring.prediction_of("a", ANSWERS["a"], "both")
    assert both.frames == (10, 11, 12, 60, 61) and both.text == "A man runs over a field. He jumps into the water."
    assert [sentence.frames for sentence in both.sentences] == [(10, 11, 12), (60, 61)]
    expected = np.zeros(100)
    expected[[10, 11, 12, 60, 61]] = np.array([1, 1, 2, 1, 1]) / 6  # six citations, two of them of 12
    np.testing.assert_allclose(both.importance, expected)
    video = scoring.prediction_of("a", ANSWERS["a"], "video")
    assert video.frames == both.frames and video.text is None
    text = scoring.prediction_of("a", ANSWERS["a"], "text")
    assert text.frames is None and text.importance is None and text.text == both.text
    refused = scoring.prediction_of("c", ANSWERS["c"], "both")
    assert refused.frames == () and not refused.importance.any()
    assert scoring.prediction_of("c", "", "text").text == ""


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 120), max_size=12))
def test_importance_is_the_share_of_the_citations(frames):
    answer = "He runs [" + ", ".join(f"{frame:02d}" for frame in frames) + "]."
    inside = [frame for frame in frames if frame < 100]
    expected = [inside.count(index) / max(len(inside), 1) for index in range(100)]
    np.testing.assert_allclose(scoring.prediction_of("a", answer, "video").importance, expected)


def test_frame_figures_are_those_of_the_evaluator(world):
    """The same answers, as a prediction file that the evaluators read."""
    pytest.importorskip("yaml")
    predictions = [scoring.prediction_of(video_id, answer, "video") for video_id, answer in ANSWERS.items()]
    write_predictions(world / "predictions.jsonl", predictions)
    cases = pair(read_annotations(world / "videoxum.jsonl"), read_predictions(world / "predictions.jsonl")).cases
    expected = figures(v2v_rows(cases)["system"], scoring.FRAME_METRICS)
    found = run("videoxum", "video", ANSWERS)
    assert found == pytest.approx(expected, abs=1e-12)
    assert 0 < found["f1"] < found["f1_max"] and found["kendall"] != 0
    raw = [Case(case.annotation, Prediction.from_record({"video_id": case.annotation.video_id, "answer": answer}))
           for case, answer in zip(cases, ANSWERS.values())]  # fmt: skip
    assert figures(v2v_rows(raw)["system"], ["f1"])["f1"] == found["f1"]  # and as raw answers


def test_keyshot_figures_are_those_of_the_evaluator(world):
    pytest.importorskip("yaml")
    annotations = list(read_annotations(world / "tvsum.jsonl"))
    cases = [Case(one, scoring.prediction_of(one.video_id, ANSWERS[one.video_id], "video")) for one in annotations]
    expected = figures(keyshot_rows(cases)["system"], scoring.KEYSHOT_METRICS)
    found = run("tvsum", "video", ANSWERS)
    assert set(found) == set(expected) == set(scoring.KEYSHOT_METRICS)
    assert found == pytest.approx(expected, abs=1e-12)
    assert found["keyshot_f1_avg"] > 0


def test_text_figures_are_those_of_the_evaluator(world, monkeypatch, caplog):
    """Without Java, so that it is quick, and METEOR is what cannot be computed."""
    pytest.importorskip("yaml")
    pytest.importorskip("pycocoevalcap")
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    found = run("videoxum", "both", ANSWERS)
    cases = [
        Case(one, scoring.prediction_of(one.video_id, ANSWERS[one.video_id], "both"))
        for one in read_annotations(world / "videoxum.jsonl")
    ]
    rows, notes = v2t_rows(cases)
    expected = figures([*rows["system"], *v2v_rows(cases)["system"]], found)
    assert math.isnan(found.pop("meteor")) and "meteor cannot be computed here" in caplog.text
    assert found == pytest.approx(expected, abs=1e-12)
    assert found["bleu_1"] > 0.2 and found["f1"] > 0
    assert all(note in caplog.text for note in notes)


def test_every_metric_reads_one_computation(world, monkeypatch):
    pytest.importorskip("yaml")
    scoring._figures.cache_clear()
    run("tvsum", "video", ANSWERS)
    assert scoring._figures.cache_info().misses == 1


def test_an_answer_about_no_annotated_video_is_told(world):
    with pytest.raises(ValueError, match="tvsum.jsonl has no video 'x', which was answered about"):
        scoring.aggregate("keyshot_f1_avg", [["tvsum", "video", "x", "[01]"]])


def test_lmms_eval_runs_the_tasks(world, monkeypatch):
    """lmms-eval itself, with its model that gives every question the same answer."""
    monkeypatch.setenv("HF_HOME", str(world / "hub"))
    monkeypatch.setenv("LMMS_EVAL_DATASETS_CACHE", str(world / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    pytest.importorskip("lmms_eval")
    from lmms_eval.evaluator import simple_evaluate
    from lmms_eval.tasks import TaskManager, get_task_dict

    manager = TaskManager("ERROR", include_path=str(PACK), include_defaults=False)
    assert manager.all_subtasks == sorted(TASKS)
    assert manager.all_tags == sorted(["v2xum", *documents.DATA_SETS])
    answer = "He runs [10]. He jumps [60]."  # no comma: lmms-eval parts the model's arguments there
    results = simple_evaluate(
        "dummy", f"response={answer},read_bytes=4", tasks=["videoxum_video", "tvsum"], task_manager=manager,
        batch_size=1, log_samples=True, bootstrap_iters=100,
    )  # fmt: skip
    for name in ("videoxum_video", "tvsum_video"):
        data_set, task = name.rsplit("_", 1)
        expected = run(data_set, task, dict.fromkeys(ANSWERS, answer))
        found = {metric: results["results"][name][f"{metric},none"] for metric in expected}
        assert found == pytest.approx(expected, abs=1e-12)
    samples = results["samples"]["videoxum_video"]
    assert [sample["filtered_resps"][0] for sample in samples] == [answer] * 3
    assert json.dumps(samples[0]["f1"]) == json.dumps(["videoxum", "video", "a", answer])
    chat = get_task_dict(["videoxum_both"], manager, "chat")["videoxum_both"]  # how models with a chat template ask
    (turn,) = chat.doc_to_messages(chat.test_docs()[0])
    assert turn["content"] == [
        {"type": "video", "url": str(world / "videos" / "a.mp4")},
        {"type": "text", "text": documents.EXPLAINED["both"]},
    ]


def test_the_pack_needs_no_lmms_eval_on_import():
    heavy = ["lmms_eval", "datasets", "torch", "transformers", "llava", "h5py", "scipy", "pycocoevalcap", "av"]
    code = (
        f"import sys\nfor name in {heavy}: sys.modules[name] = None\n"
        "from llava_v2xum.evaluate.lmms_eval import utils\nprint(utils.doc_to_target({'target': 'read'}))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "read\n"
