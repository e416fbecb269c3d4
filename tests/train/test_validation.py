"""Validation while training: the losses are the model's own, the run is the same, and it ends where it is told to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import training_runs

from llava_v2xum.core.tasks import query_for

pytestmark = pytest.mark.pinned

COMMON = [
    "--report_to", "none", "--use_cpu", "True", "--logging_steps", "1", "--seed", "5", "--learning_rate", "1e-2",
    "--save_strategy", "no", "--bf16", "False", "--per_device_train_batch_size", "2",
]  # fmt: skip
VALIDATED = {"both": "A woman brushes her hair [04, 05].", "text": "A man runs.", "video": "[07, 08, 09]."}


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Path:
    folder = training_runs.write_sources(tmp_path_factory.mktemp("sources"))
    entries = [
        {"id": name, "conversations": [
            {"from": "human", "value": query_for(task, "\n")}, {"from": "gpt", "value": answer},
        ]}
        for name in ("v_6", "v_7") for task, answer in VALIDATED.items()
    ]  # fmt: skip
    (folder / "val.json").write_text(json.dumps(entries))
    return folder


def arguments(sources: Path, folder: Path, *more: str) -> list[str]:
    return [*training_runs.paths(sources, folder), *COMMON, "--val_data_path", str(sources / "val.json"), *more]


def found_in(folder: Path) -> list[dict]:
    history = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    return [line for line in history if "val_loss" in line]


def test_the_losses_are_those_of_the_published_model_and_the_run_is_the_same(sources, tmp_path, caplog):
    import numpy as np

    from llava_v2xum import load_pretrained
    from llava_v2xum.model.tokens import tokenize_conversation
    from llava_v2xum.train.loop import train

    trainer = train(arguments(sources, tmp_path / "a", "--max_steps", "3", "--val_steps", "2"))
    found = found_in(tmp_path / "a")
    assert [line["step"] for line in found] == [2, 3] and found[0]["val_loss"] != found[1]["val_loss"]
    assert "2 videos of --val_data_path are in --data_path too: 'v_6', 'v_7'" in caplog.text

    tokenizer, model, _ = load_pretrained(tmp_path / "a", device="cpu", dtype="float32")
    sums: dict[str, list[float]] = {}
    for entry in json.loads((sources / "val.json").read_text()):
        ids, labels = tokenize_conversation(entry["conversations"], tokenizer, "v2xum")
        video = torch.from_numpy(np.load(sources / "features" / f"{entry['id']}.npy")).float()
        with torch.no_grad():
            loss = model(input_ids=ids[None], labels=labels[None], videos=[video]).loss
        task = next(name for name in VALIDATED if name.upper() in entry["conversations"][0]["value"])
        learned = int((labels != -100).sum())
        total = sums.setdefault(task, [0.0, 0.0])
        total[0], total[1] = total[0] + float(loss) * learned, total[1] + learned
    for task, (loss, learned) in sums.items():
        assert found[1][f"val_loss_{task}"] == pytest.approx(loss / learned, rel=1e-4)
    everything = [sum(column) for column in zip(*sums.values())]
    assert found[1]["val_loss"] == pytest.approx(everything[0] / everything[1], rel=1e-4)

    without = arguments(sources, tmp_path / "b", "--max_steps", "3")
    place = without.index("--val_data_path")
    alone = train(without[:place] + without[place + 2 :])
    losses = [[line["loss"] for line in one.state.log_history if "loss" in line] for one in (trainer, alone)]
    assert losses[0] == losses[1]


def test_a_loss_that_falls_no_more_ends_the_run(sources, tmp_path, caplog):
    from llava_v2xum.train.flags import UsageError
    from llava_v2xum.train.loop import train

    more = ["--max_steps", "9", "--val_steps", "1", "--val_patience", "2", "--learning_rate", "0"]
    assert train(arguments(sources, tmp_path, *more)).state.global_step == 3
    assert "2 times in a row: training ends" in caplog.text and (tmp_path / "config.json").is_file()
    with pytest.raises(UsageError, match="--load_best_model_at_end: validation of this training is --val_data_path"):
        train(arguments(sources, tmp_path / "b", "--load_best_model_at_end", "True"))


def test_processes_under_zero_2_and_3_find_the_same(sources, tmp_path):
    pytest.importorskip("deepspeed", reason="DeepSpeed is not installed")
    scripts = Path(__file__).resolve().parents[2] / "scripts"
    plan = [
        {"arguments": arguments(
            sources, tmp_path / stage, "--max_steps", "2", "--val_steps", "1", "--deepspeed", str(scripts / stage),
        )}
        for stage in ("zero2.json", "zero3.json")
    ]  # fmt: skip
    done = training_runs.start(tmp_path / "plan", plan, processes=2)
    assert done.returncode == 0, training_runs.what_went_wrong(done)
    two, three = (found_in(tmp_path / stage) for stage in ("zero2.json", "zero3.json"))
    assert len(two) == len(three) == 2
    for first, second in zip(two, three):
        figures = [name for name in first if name.startswith("val_") and not name.endswith("seconds")]
        assert len(figures) == 4 + 3 + 4 + 3 + 4  # losses, F1, parse rates, ROUGE-L, lengths
        for name in figures:
            assert first[name] == pytest.approx(second[name], rel=1e-4), name
