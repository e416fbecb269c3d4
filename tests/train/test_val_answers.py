"""Answers while training: scored as worked out by hand, those of inference, and the same whoever makes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import training_runs

from llava_v2xum.core.answers import parse_answer
from llava_v2xum.core.tasks import query_for
from llava_v2xum.core.timeline import Timeline
from llava_v2xum.infer.engine import Answer
from llava_v2xum.train.validation.answers import Question, score

pytestmark = pytest.mark.pinned

TIMELINE = Timeline.of(training_runs.FRAMES)
LABELS = {"both": "A woman brushes her hair [04, 05].", "text": "A man runs.", "video": "[07, 08, 09]."}
COMMON = [
    "--report_to", "none", "--use_cpu", "True", "--logging_steps", "1", "--seed", "5", "--learning_rate", "1e-2",
    "--save_strategy", "no", "--bf16", "False", "--per_device_train_batch_size", "2",
]  # fmt: skip


def scored(text: str, label: str, task: str, finished: bool = True) -> dict[str, float]:
    question = Question(0, task, torch.zeros(0), parse_answer(label, TIMELINE.num_frames), 1)
    return dict(score(Answer(text, (1, 2, 3), None, finished), question, TIMELINE))


def test_the_figures_are_those_worked_out_by_hand():
    both = scored("A woman brushes a dog [05, 06, 07].", LABELS["both"], "both")
    assert both["val_f1"] == pytest.approx(2 * 1 / (3 + 2))
    precision, recall = 3 / 5, 3 / 5  # a woman brushes, of five words each
    assert both["val_rouge_l"] == pytest.approx((1 + 1.44) * precision * recall / (recall + 1.44 * precision))
    assert (both["val_parse_rate"], both["val_answer_tokens"]) == (1, 3)
    assert scored(LABELS["video"], LABELS["video"], "video") == {
        "val_f1": 1, "val_parse_rate": 1, "val_answer_tokens": 3,
    }  # fmt: skip
    assert scored("A man runs", LABELS["text"], "text") == {
        "val_rouge_l": 1, "val_parse_rate": 1, "val_answer_tokens": 3,
    }  # fmt: skip
    assert scored("[07, 08, 1", LABELS["video"], "video")["val_parse_rate"] == 0
    assert scored("[07, 12].", LABELS["video"], "video")["val_parse_rate"] == 0  # no frame of ten
    assert scored("A man runs.", LABELS["video"], "video")["val_parse_rate"] == 0
    assert scored("A man runs.", LABELS["text"], "text", finished=False)["val_parse_rate"] == 0
    assert scored("", LABELS["both"], "both") == {
        "val_f1": 0, "val_rouge_l": 0, "val_parse_rate": 0, "val_answer_tokens": 3,
    }  # fmt: skip


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Path:
    folder = training_runs.write_sources(tmp_path_factory.mktemp("sources"))
    entries = [
        {"id": name, "conversations": [
            {"from": "human", "value": query_for(task, "\n")}, {"from": "gpt", "value": answer},
        ]}
        for name in ("v_5", "v_6", "v_7") for task, answer in LABELS.items()
    ]  # fmt: skip
    (folder / "val.json").write_text(json.dumps(entries))
    return folder


def arguments(sources: Path, folder: Path, *more: str) -> list[str]:
    return [*training_runs.paths(sources, folder), *COMMON, "--val_data_path", str(sources / "val.json"), *more]


def found_in(folder: Path) -> list[dict]:
    history = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    return [line for line in history if "val_loss" in line]


def test_the_answers_are_those_that_the_published_model_gives(sources, tmp_path):
    """Of nine entries four: the first and the last of BOTH, the first of TEXT and of VIDEO."""
    import numpy as np

    from llava_v2xum import build_input_ids, load_pretrained
    from llava_v2xum.infer.engine import generate_answers
    from llava_v2xum.train.loop import train

    more = ["--max_steps", "150", "--val_steps", "100", "--val_answers", "4", "--logging_steps", "50"]
    more += ["--data_path", str(sources / "val.json"), "--lr_scheduler_type", "constant"]
    train(arguments(sources, tmp_path, *more))
    found = found_in(tmp_path)
    assert [line["step"] for line in found] == [100, 150]
    tokenizer, model, _ = load_pretrained(tmp_path, device="cpu", dtype="float32")
    asked = [("both", "v_5"), ("both", "v_7"), ("text", "v_5"), ("video", "v_5")]
    videos = [torch.from_numpy(np.load(sources / "features" / f"{name}.npy")).float() for _, name in asked]
    prompts = [build_input_ids(tokenizer, query_for(task), "v2xum") for task, _ in asked]
    longest = max(len(tokenizer(label, add_special_tokens=False).input_ids) for label in LABELS.values()) + 1
    answers = generate_answers(model, tokenizer, prompts, videos, max_new_tokens=2 * longest)
    values: dict[str, list[float]] = {}
    for (task, _), answer in zip(asked, answers):
        for name, value in scored(answer.text, LABELS[task], task, answer.finished).items():
            value = len(answer.token_ids) if name == "val_answer_tokens" else value
            for key in (name, f"{name}_{task}"):
                values.setdefault(key, []).append(value)
    logged = {name: value for name, value in found[1].items() if name in values}
    assert logged == pytest.approx({name: sum(several) / len(several) for name, several in values.items()})
    assert logged["val_f1"] > 0 and {"val_f1_text", "val_rouge_l_video"}.isdisjoint(found[1])


def test_none_are_made_where_none_are_wanted_or_can_be(sources, tmp_path, caplog):
    from llava_v2xum.train.loop import train

    train(arguments(sources, tmp_path / "off", "--max_steps", "1", "--val_answers", "0"))
    assert not [name for line in found_in(tmp_path / "off") for name in line if name.startswith("val_f1")]
    words = [{"id": "w", "conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "A man runs."}]}]
    (sources / "words.json").write_text(json.dumps(words))
    train(arguments(sources, tmp_path / "words", "--max_steps", "1", "--val_data_path", str(sources / "words.json")))
    assert "no entry asks for a summary of one video: validation is by the loss alone" in caplog.text
    assert {"val_loss", "val_loss_other"} <= found_in(tmp_path / "words")[0].keys()
