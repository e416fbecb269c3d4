"""The patch makes a LLaVA checkout discover plugins, and LLaVA's own commands know videos; without one it does nothing.

With LLAVA_CHECKOUT=FOLDER, a clone of LLaVA, all of it is shown for that checkout too; with LLAVA_CHECKOUTS=FOLDER:...
patches/forks.py is run on all these.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_layouts
import weights

from llava_v2xum.core.tasks import INSTRUCTIONS

pytestmark = pytest.mark.pinned

ROOT = Path(__file__).parents[2]
PATCH = ROOT / "patches" / "llava.patch"
FRAMES = 10


def apply_patch(checkout: Path) -> None:
    subprocess.run(["git", "apply", str(PATCH)], cwd=checkout, check=True, capture_output=True, text=True)


@pytest.fixture(scope="module", params=["installed", "checkout"])
def fork(request, tmp_path_factory) -> Path:
    """A folder with a patched copy of the installed LLaVA or of the checkout, and the plugin's entry point beside."""
    source = Path(importlib.util.find_spec("llava").origin).parent
    if request.param == "checkout":
        if "LLAVA_CHECKOUT" not in os.environ:
            pytest.skip("LLAVA_CHECKOUT names no LLaVA checkout")
        source = Path(os.environ["LLAVA_CHECKOUT"]) / "llava"
    folder = tmp_path_factory.mktemp("fork")
    shutil.copytree(source, folder / "llava", ignore=shutil.ignore_patterns("__pycache__"))
    apply_patch(folder)
    entry_points = {"plugin": "[llava.plugins]\nv2xum = llava_v2xum.train.hooks:register\n", "no_plugin": ""}
    for name, content in entry_points.items():  # as `pip install llava_v2xum` leaves it; it hides an installed one
        entry = folder / name / "llava_v2xum-0.dist-info"
        entry.mkdir(parents=True)
        (entry / "METADATA").write_text("Metadata-Version: 2.1\nName: llava_v2xum\nVersion: 0\n")
        (entry / "entry_points.txt").write_text(content)
    return folder


def python(fork: Path, *arguments: str, plugin: bool = True, stdin: str = "") -> str:
    """What a Python process prints in which `llava` is the fork."""
    paths = [fork, ROOT, ROOT / "tests" / "support", fork / ("plugin" if plugin else "no_plugin")]
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "WANDB_MODE": "disabled"},
        cwd=fork,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A tiny checkpoint of this plugin, in a folder whose name says nothing."""
    folder = tmp_path_factory.mktemp("weights") / "stage2"
    tiny_layouts.write_full(folder, "llava_v2xum", weights.sources()[1], num_frames=FRAMES)
    return folder


# --- without a plugin ------------------------------------------------------------------------------------------

WITHOUT = """
import inspect, sys, importlib.metadata
found = importlib.metadata.entry_points
importlib.metadata.entry_points = lambda **named: [] if named == {{"group": "llava.plugins"}} else found(**named)
import llava
assert llava.plugins == [] and llava.__file__.startswith({fork!r}), llava.__file__
import llava.model.builder
from llava_v2xum.features.upstream import mend_llava  # transformers 5 needs it for LLaVA's trainer, patched or not
mend_llava()
import llava.train.train, llava.serve.cli
assert not [name for name in sys.modules if name.startswith("llava_v2xum.model.modeling")]
for function in (llava.model.builder.load_pretrained_model, llava.train.train.train, llava.serve.cli.load_image):
    assert not hasattr(function, "__wrapped__") and function.__module__.startswith("llava.")
import torch, weights
logits = weights.image_model()(torch.tensor([[1, 5, -200, 6]]), images=weights.numbers(1, 3, 28, 28)).logits
print(logits.flatten()[:50].tolist())
"""


def test_without_a_plugin_the_patch_changes_nothing(fork):
    import torch

    patched = json.loads(python(fork, "-c", WITHOUT.format(fork=str(fork)), plugin=False).splitlines()[-1])
    with torch.no_grad():
        stock = weights.image_model()(torch.tensor([[1, 5, -200, 6]]), images=weights.numbers(1, 3, 28, 28))
    assert patched == pytest.approx(stock.logits.flatten()[:50].tolist(), abs=1e-6)


# --- with the plugin -------------------------------------------------------------------------------------------

DISCOVERED = """
import {first}, llava, llava.conversation, transformers
assert llava.__file__.startswith({fork!r}), llava.__file__
config = transformers.AutoConfig.for_model("llava_v2xum")
assert type(config) in transformers.AutoModelForCausalLM._model_mapping
assert "v2xum" in llava.conversation.conv_templates and llava.model.LlavaV2XumForCausalLM
assert llava.plugins[0].__name__ == "llava_v2xum.train.hooks"
"""

# the loader goes by the config's model type, not by the name; then the CLI answers about a video
LOADS = """
import sys
from llava.model.builder import load_pretrained_model as load
stock, ours, video = sys.argv[1:]
assert type(load(stock, None, "llava_v2xum", device="cpu")[1]).__name__ == "LlavaLlamaForCausalLM"
try:
    small = load(ours, None, "llava", load_8bit=True, device="cpu")[1]
    assert type(small.model.layers[0].mlp.up_proj).__name__ == "Linear8bitLt"
except ImportError as error:
    assert "llava_v2xum[qlora]" in str(error)
import runpy
sys.argv = ["cli", "--model-path", ours, "--image-file", video, *{options!r}]
runpy.run_module("llava.serve.cli", run_name="__main__")
"""

# as train_mem.py does, but for its flash_attention_2, which needs a GPU
TRAINS = """
import llava.train.train_mem as mem, llava.train.train as plain
assert mem.train is plain.train and mem.train.__wrapped__.__module__ == "llava.train.train"
mem.train(attn_implementation="sdpa")
"""

OPTIONS = ["--device", "cpu", "--conv-mode", "v2xum", "--temperature", "0", "--max-new-tokens", "6"]


def test_the_cli_answers_on_an_image(fork, checkpoint, tmp_path):
    from llava.conversation import conv_templates
    from llava.mm_utils import process_images, tokenizer_image_token
    from PIL import Image

    from llava_v2xum import load_pretrained

    file = tmp_path / "still.png"
    Image.fromarray(np.arange(40 * 30 * 3, dtype=np.uint8).reshape(30, 40, 3)).save(file)
    cli = ["-m", "llava.serve.cli", "--model-path", str(checkpoint), "--image-file", str(file), *OPTIONS]
    said = python(fork, *cli, stdin="hi\n")
    tokenizer, model, encoder = load_pretrained(checkpoint, device="cpu")
    pixels = process_images([Image.open(file)], encoder.tower.image_processor, model.config)
    template = conv_templates["v1"].copy()
    template.append_message(template.roles[0], "<image>\nhi")
    template.append_message(template.roles[1], None)
    ids = tokenizer_image_token(template.get_prompt(), tokenizer, return_tensors="pt")[None]
    answer = model.generate(ids, images=pixels.half(), do_sample=False, max_new_tokens=6)[0]
    expected = tokenizer.decode(answer, skip_special_tokens=True).strip()
    assert expected and f"USER: ASSISTANT: {expected}" in said


@pytest.mark.parametrize("first", ["data.entries", "model.modeling", "model.tokens", "train.hooks"])
def test_the_plugin_is_found_whichever_of_its_modules_comes_first(fork, first):
    """Each imports LLaVA, which asks for the plugin while that module is at its imports."""
    python(fork, "-c", DISCOVERED.format(first=f"llava_v2xum.{first}", fork=str(fork)))


def test_the_loader_and_the_cli_on_a_video(fork, checkpoint, tmp_path):
    from llava_v2xum import Timeline, build_input_ids, load_pretrained, read_video

    file, stock = write_video(tmp_path / "clip.mp4"), tmp_path / "llava_v2xum-7b"
    tiny_layouts.write_full(stock, "llava_llama", weights.sources()[1])
    code = DISCOVERED.format(first="llava", fork=str(fork)) + LOADS.format(options=OPTIONS)
    question = " " + INSTRUCTIONS["video"]  # the blank that released inference writes
    said = python(fork, "-c", code, str(stock), str(checkpoint), str(file), stdin=question + "\n")
    tokenizer, model, encoder = load_pretrained(checkpoint, device="cpu")
    frames = encoder.preprocess(read_video(file, Timeline(FRAMES)).frames)
    ids = build_input_ids(tokenizer, "<video>\n " + INSTRUCTIONS["video"])[None]
    answer = model.generate(ids, videos=[frames.half()], do_sample=False, max_new_tokens=6)[0]
    expected = tokenizer.decode(answer, skip_special_tokens=True).strip()
    assert expected and f"USER: ASSISTANT: {expected}" in said


@pytest.mark.parametrize("bits", [8, 4])
def test_the_cli_answers_in_few_bits(fork, checkpoint, tmp_path, bits):
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    from llava_v2xum import Timeline, build_input_ids, load_pretrained, read_video

    try:
        tokenizer, model, encoder = load_pretrained(checkpoint, device="cpu", **{f"load_{bits}bit": True})
    except ValueError as error:
        pytest.skip(str(error))  # the kernels for CPUs with AVX512-BF16 take no layers as narrow as these
    file, question = write_video(tmp_path / "clip.mp4"), " " + INSTRUCTIONS["text"]
    cli = ["-m", "llava.serve.cli", "--model-path", str(checkpoint), "--image-file", str(file), *OPTIONS]
    said = python(fork, *cli, f"--load-{bits}bit", stdin=question + "\n")
    frames = encoder.preprocess(read_video(file, Timeline(FRAMES)).frames)
    ids = build_input_ids(tokenizer, "<video>\n" + question)[None]
    answer = model.generate(ids, videos=[frames.half()], do_sample=False, max_new_tokens=6)[0]
    expected = tokenizer.decode(answer, skip_special_tokens=True).strip()
    assert expected and f"USER: ASSISTANT: {expected}" in said


def write_video(file: Path) -> Path:
    import av

    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for index in range(20):
            pixels = np.full((32, 48, 3), index * 12, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return file


def test_train_trains_the_video_type(fork, tmp_path):
    """Here the plugin is imported first, which imports LLaVA, which asks for the plugin."""
    import tiny

    tiny.write_base(tmp_path / "base")
    (tmp_path / "features").mkdir()
    features = weights.numbers(FRAMES, weights.CHANNELS).numpy().astype(np.float16)
    np.save(tmp_path / "features" / "v_1.npy", features)
    turns = [("human", "<video>\n" + INSTRUCTIONS["both"]), ("gpt", "A man runs [07, 08, 09].")]
    entry = {"id": "v_1", "conversations": [{"from": who, "value": value} for who, value in turns]}
    (tmp_path / "instruct.json").write_text(json.dumps([entry]))
    python(
        fork, "-c", DISCOVERED.format(first="llava_v2xum.model.modeling", fork=str(fork)) + TRAINS,
        "--model_name_or_path", str(tmp_path / "base"), "--vision_tower", str(weights.sources()[1]),
        "--data_path", str(tmp_path / "instruct.json"), "--feature_folder", str(tmp_path / "features"),
        "--output_dir", str(tmp_path / "out"), "--num_frames", str(FRAMES), "--max_steps", "2", "--bf16", "True",
        "--tf32", "False", "--use_cpu", "True", "--report_to", "none", "--save_strategy", "no",
        "--logging_steps", "1",
    )  # fmt: skip
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["model_type"], config["num_frames"]) == ("llava_v2xum", FRAMES)
    history = json.loads((tmp_path / "out" / "trainer_state.json").read_text())["log_history"]
    assert len([step for step in history if "loss" in step]) == 2


def test_the_table_of_forks(tmp_path):
    """None of the checkouts that LLAVA_CHECKOUTS names may end in a "no"; without these, not the installed LLaVA."""
    checkouts = [folder for folder in os.environ.get("LLAVA_CHECKOUTS", "").split(os.pathsep) if folder]
    if not checkouts:
        installed = Path(importlib.util.find_spec("llava").origin).parent
        shutil.copytree(installed, tmp_path / "LLaVA" / "llava", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, str(PATCH.with_name("forks.py")), *(checkouts or [str(tmp_path / "LLaVA")])]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    _, _, *rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines()]
    assert len(rows) == len(checkouts or [1])
    for row in rows:
        assert "no" not in row, row
        _, _, patch, image, *rest = row  # newer transformers cannot generate with LLaVA as it is
        assert checkouts or ((patch, *rest) == ("yes",) * 3 and image in ("yes", "logits; stock cannot generate")), row


def test_the_patch_is_small():
    changed = [line for line in PATCH.read_text().splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    assert all(line[0] == "+" for line in changed)
    assert len([line for line in changed if line.strip("+ ")]) <= 11
