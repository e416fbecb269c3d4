"""A merged checkpoint on the hub: uploaded with its card, and used from there by its name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny_layouts as layouts
import weights
from fake_hub import TOKEN, FakeHub

from llava_v2xum.model.merge import main

pytestmark = pytest.mark.pinned

LOAD = """
import sys, torch
from llava_v2xum import load_pretrained
tokenizer, model, encoder = load_pretrained(sys.argv[1], device="cpu", dtype="float32")
print("sum", sum(weight.double().sum() for name, weight in model.named_parameters() if "tower" not in name).item())
print("base", model.config.vocab_size, encoder.tower.is_loaded)
"""


@pytest.fixture
def hub(tmp_path) -> Iterator[FakeHub]:
    with FakeHub(tmp_path / "hub") as hub:
        yield hub


@pytest.fixture
def lora(tmp_path, hub) -> Path:
    """An adapter whose base is on the hub, as its own config says."""
    base = layouts.write_base(hub.repository("models", "lab/vicuna"))
    layouts.write_lora(tmp_path / "lora", base, "lab/vicuna", "llava_v2xum", weights.sources()[1])
    return tmp_path / "lora"


def test_uploaded_with_a_card_and_loaded_by_its_name(hub, lora, tmp_path):
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "report.md").write_text("# TVSum: ours\n\n| F1 | 61.5 |\n\n![curves](curves.png)\n")
    command = [
        "-m", "llava_v2xum.merge", "--model-path", str(lora), "--out", str(tmp_path / "out"), "--dtype", "float32",
        "--push-to-hub", "me/v2xum", "--private", "--data", "hhua2/Instruct-V2Xum", "our own videos", "--license",
        "llama2", "--report", str(tmp_path / "report"),
    ]  # fmt: skip
    done = hub.run(tmp_path / "cache", *command)
    assert done.returncode == 1 and "is whole, and was not uploaded: the hub has no repository" in done.stderr
    done = hub.run(tmp_path / "cache", *command, HF_TOKEN=TOKEN)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == f"{hub.url}/me/v2xum", done.stderr
    pushed = hub.repository("models", "me/v2xum")
    files = {path.relative_to(tmp_path / "out").as_posix(): path for path in (tmp_path / "out").rglob("*.*")}
    assert set(files) > {"config.json", "model.safetensors", "tokenizer.model", "vision_tower/model.safetensors"}
    assert all((pushed / name).read_bytes() == path.read_bytes() for name, path in files.items())
    card = (pushed / "README.md").read_text()
    head = card.split("---")[1]
    for line in ('license: "llama2"', 'base_model: "lab/vicuna"', 'datasets: ["hhua2/Instruct-V2Xum"]'):
        assert line in head.splitlines(), head
    for line in (
        "| data | hhua2/Instruct-V2Xum, our own videos |",
        "| temporal prompts | `[00]` |",
        "python -m llava_v2xum.infer video.mp4 --model-path me/v2xum",
        "### TVSum: ours",
        "| F1 | 61.5 |",
    ):
        assert line in card.splitlines(), card
    assert "curves.png" not in card and str(tmp_path) not in card and hub.private == {"me/v2xum"}
    by_name = hub.run(tmp_path / "other", "-c", LOAD, "me/v2xum")
    assert by_name.returncode == 0, by_name.stderr
    assert by_name.stdout == hub.run(tmp_path / "cache", "-c", LOAD, str(tmp_path / "out")).stdout
    assert by_name.stdout.splitlines()[1] == "base 420 True"


def test_released_weights_by_name_take_the_base_that_their_adapter_names(hub, tmp_path):
    root = hub.repository("models", "hhua2/V2Xum-LLM")
    layouts.write_released(root)
    hub.repository("models", "lmsys").mkdir()
    (root.parent / "base").rename(hub.repository("models", "lmsys/vicuna-7b-v1.5"))
    stage2 = next(root.glob("*stage2*"))
    layouts.change_json(stage2 / "adapter_config.json", base_model_name_or_path="lmsys/vicuna-7b-v1.5")
    done = hub.run(tmp_path / "cache", "-c", LOAD, "hhua2/V2Xum-LLM")
    assert done.returncode == 0 and done.stdout.splitlines()[1] == "base 420 True", done.stderr
    assert any("lmsys/vicuna-7b-v1.5/resolve" in path for _, path in hub.asked)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--push-to-hub", "v2xum"], "expected a repository's name, OWNER/NAME, got 'v2xum'"),
        (["--push-to-hub", "me/v2xum", "--license", "llama2"], "give --data"),
        (["--push-to-hub", "me/v2xum", "--data", "x"], "give --license"),
        (["--push-to-hub", "me/v2xum", "--base", "models/of/vicuna"], "--base: .*got 'models/of/vicuna'"),
        (["--push-to-hub", "me/v2xum", "--data", "x", "--license", "y", "--report", "none"], "none has no report.md"),
    ],
)
def test_what_a_card_needs_is_asked_for_before_anything_is_loaded(lora, tmp_path, given, message, capsys):
    assert main(["--model-path", str(lora), "--out", str(tmp_path / "out"), *given]) == 2
    printed = capsys.readouterr().err
    assert len(printed.splitlines()) == 1 and not (tmp_path / "out").exists()
    assert re.search(message, printed), printed
