"""Stock calls of a fork go through the patch untouched, and a LLaVA that does not fit is told of in one line.

The forks here are stand-ins of a few lines, each with a signature that a public one has.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from llava_v2xum.core.errors import V2XumError
from llava_v2xum.features.llava_found import UnfitLlava
from llava_v2xum.model import plugin
from llava_v2xum.train import hooks

pytestmark = [pytest.mark.pinned, pytest.mark.every_python]

ROOT = Path(__file__).parents[2]
HERE = str(Path(__file__).parent)  # a folder without a config, so no hub is asked
OWN = '{"model_type": "llava_v2xum"}'


# --- the loaders of LLaVA 1.0, 1.1, 1.2.0, 1.2.2 and LLaVA-NeXT: each returns what it was given -----------------------


def load_10(model_path, model_base, model_name, load_8bit=False, load_4bit=False, device_map="auto"):
    return locals()


def load_11(model_path, model_base, model_name, load_8bit=False, load_4bit=False, device_map="auto", device="cuda"):
    return locals()


def load_120(
    model_path, model_base, model_name, load_8bit=False, load_4bit=False, device_map="auto", device="cuda", **kwargs
):
    return locals()


def load_122(
    model_path, model_base, model_name, load_8bit=False, load_4bit=False, device_map="auto", device="cuda",
    use_flash_attn=False, **kwargs,
):  # fmt: skip
    return locals()


def load_next(
    model_path, model_base, model_name, load_8bit=False, load_4bit=False, device_map="auto", torch_dtype="float16",
    attn_implementation="flash_attention_2", customized_config=None, overwrite_config=None, **kwargs,
):  # fmt: skip
    return locals()


LOADERS = [load_10, load_11, load_120, load_122, load_next]
CALLS = {
    "three": ((HERE, None, "llava"), {}),
    "by position": ((HERE, "b", "llava", False, True), {}),
    "by name": ((), {"model_path": HERE, "model_base": None, "model_name": "llava", "device_map": {"": "cpu"}}),
    "as many as it takes": ((HERE, None, "llava", False, False, "auto", "seventh"), {}),
    "what only some take": ((HERE, None, "llava"), {"attn_implementation": "sdpa", "multimodal": True}),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("stock", LOADERS, ids=lambda stock: stock.__name__)
def test_a_stock_load_is_the_same_call(stock, call):
    args, kwargs = call
    try:
        expected = stock(*args, **kwargs)
    except TypeError as error:
        with pytest.raises(TypeError) as raised:
            hooks.around_load(stock)(*args, **kwargs)
        assert str(raised.value) == str(error)
    else:
        assert hooks.around_load(stock)(*args, **kwargs) == expected


@pytest.mark.parametrize(
    ("stock", "more", "device"),
    [
        (load_10, {}, "auto"),
        (load_120, {"device": "cpu"}, "cpu"),
        (load_122, {}, "cuda"),
        (load_122, {"device_map": {"": "cuda:1"}}, "cuda:1"),
        (load_next, {}, "auto"),
        (load_next, {"device_map": "cuda:1", "torch_dtype": "bfloat16"}, "cuda:1"),
    ],
)
def test_our_checkpoint_goes_to_the_device_that_was_named(stock, more, device, tmp_path, monkeypatch):
    import torch

    from llava_v2xum.model import checkpoint

    (tmp_path / "config.json").write_text(OWN)
    asked = {}

    class Loaded:
        def __getattr__(self, name):
            return Loaded()

        def __call__(self):
            return None

    def load(path, base, **kwargs):
        asked.update(kwargs, path=path, base=base)
        return "tokenizer", torch.nn.Module(), Loaded()

    monkeypatch.setattr(checkpoint, "load_pretrained", load)
    monkeypatch.setattr(torch.nn.Module, "config", Loaded(), raising=False)
    made = hooks.around_load(stock)(str(tmp_path), None, "any", True, **more)
    assert made[0] == "tokenizer"
    assert asked == {"path": str(tmp_path), "base": None, "device": device, "load_8bit": True, "load_4bit": False}


def test_our_checkpoint_over_several_devices_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(OWN)
    with pytest.raises(V2XumError, match="one device"):
        hooks.around_load(load_next)(str(tmp_path), None, "any", device_map={"a": 0, "b": 1})


def train_120():
    return "stock", None


def train_122(attn_implementation=None):
    return "stock", attn_implementation


def train_more(attn_implementation=None, callbacks=()):
    return "stock", attn_implementation, callbacks


@pytest.mark.parametrize(
    ("stock", "kwargs"),
    [(train_120, {}), (train_122, {"attn_implementation": "sdpa"}), (train_more, {"callbacks": [1]})],
)
def test_stock_training_is_the_same_call(stock, kwargs, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--data_path", "x"])
    assert hooks.around_train(stock)(**kwargs) == stock(**kwargs)
    if kwargs:
        assert hooks.around_train(stock)(*kwargs.values()) == stock(*kwargs.values())


def test_an_image_is_loaded_as_before():
    def load_image(image_file, size=336):
        return image_file, size

    assert hooks.around_load_image(load_image)("a.png") == ("a.png", 336)
    assert hooks.around_load_image(load_image)("a.mp4", size=224) == ("a.mp4", 224)  # no such video


# --- what is there ------------------------------------------------------------------------------------------------

FITS = {
    "constants": "DEFAULT_IMAGE_TOKEN, IGNORE_INDEX, IMAGE_TOKEN_INDEX = '<image>', -100, -200",
    "conversation": "class Conversation: ...\nclass SeparatorStyle: ...\nconv_templates = {}",
    "mm_utils": "def tokenizer_image_token(): ...\ndef process_images(): ...",
    "model/language_model/llava_llama": "class LlavaConfig:\n    model_type = 'llava_llama'\n"
    "class LlavaLlamaForCausalLM: ...",
    "model/llava_arch": "class LlavaMetaForCausalLM:\n    def prepare_inputs_labels_for_multimodal(\n"
    "        self, input_ids, position_ids, attention_mask, past_key_values, labels, images): ...",
    "model/multimodal_projector/builder": "def build_vision_projector(): ...",
    "model/multimodal_encoder/builder": "def build_vision_tower(): ...",
    "model/multimodal_encoder/clip_encoder": "class CLIPVisionTower: ...",
}
OLD_CONFIG = FITS["model/language_model/llava_llama"].replace("'llava_llama'", "'llava'")
OLD_SPLICING = FITS["model/llava_arch"].replace("position_ids, ", "")
UNFIT = {
    "fits": ({}, ""),
    "1.1": ({"model/language_model/llava_llama": OLD_CONFIG}, "its model type 'llava' is transformers' own since 4.36"),
    "1.0": ({"model/llava_arch": OLD_SPLICING}, "takes (input_ids, attention_mask, past_key_values, labels, images)"),
    "Mistral alone": ({"model/language_model/llava_llama": None}, "it has no llava.model.language_model.llava_llama"),
    "another model": (
        {"model/language_model/llava_llama": "class LlavaConfig: ..."},
        "llava.model.language_model.llava_llama has no LlavaLlamaForCausalLM",
    ),
    "renamed": ({"": "videollava"}, "no package 'llava' is installed"),
    "nested": ({"": "LLaVA/llava"}, "no package 'llava' is installed"),
    "no package": ({"__init__": None}, "a folder 'llava' without a package hides LLaVA"),
    "needs what is not there": ({"mm_utils": "import old_einops\n" + FITS["mm_utils"]}, "old_einops"),
}

# in a process of its own: LLaVA is imported once
ASK = """
import sys
sys.path[:] = [path for path in sys.path if not __import__("os").path.isdir(path + "/llava")]
sys.path.insert(0, {folder!r})
from llava_v2xum.features import upstream
from llava_v2xum.features.llava_found import UnfitLlava
upstream.mend_llava = upstream.tell_of_untested_release = lambda: None  # they ask for packages that are off the path
try:
    upstream.require_llava()
    upstream.tokenizer_image_token
except UnfitLlava as error:
    print(error)
"""


def write_stand_in(folder: Path, changed: dict) -> Path:
    """A checkout of a LLaVA of a few lines: `changed` has other sources for its modules, or None to leave one out."""
    package = folder / changed.get("", "llava")
    for name, source in {"__init__": "", **FITS, **changed}.items():
        if name and source is not None:
            file = package / f"{name}.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(source)
    (package.parent / "pyproject.toml").write_text('[project]\nname = "llava"\nversion = "1.9.dev0"\n')
    return folder


@pytest.mark.parametrize(("changed", "said"), UNFIT.values(), ids=UNFIT)
def test_what_was_found_is_said_in_one_line(changed, said, tmp_path):
    write_stand_in(tmp_path, changed)
    done = subprocess.run(
        [sys.executable, "-c", ASK.format(folder=str(tmp_path))],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    if not said:
        assert lines == []
        return
    (line,) = lines
    assert said in line
    if "no package" not in said and "hides" not in said:
        assert f"llava 1.9.dev0 in {tmp_path / 'llava'}" in line
    assert "LLaVA 1.2.0 to 1.2.2" in line or "cannot be imported here" in line


def test_a_renamed_package_is_taken_by_its_name(tmp_path):
    write_stand_in(tmp_path, {"": "longva", "conversation": "from longva.constants import *\n" + FITS["conversation"]})
    ask = ASK + "print(upstream.tokenizer_image_token.__module__, upstream.conv_templates)"
    done = subprocess.run(
        [sys.executable, "-c", ask.format(folder=str(tmp_path))],
        env={**os.environ, "PYTHONPATH": str(ROOT), "V2XUM_LLAVA_PACKAGE": "longva"},
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "longva.mm_utils {}\n", done.stderr[-2000:]


def test_in_an_unfit_llava_stock_goes_on_and_videos_are_refused(tmp_path, monkeypatch, caplog):
    def unfit():
        raise UnfitLlava("llava 1.1.3 in /x cannot take videos")

    monkeypatch.setattr(plugin, "register", unfit)
    with caplog.at_level(logging.WARNING):
        assert hooks.register() is hooks
    assert "the video type is off: llava 1.1.3 in /x cannot take videos" in caplog.text
    assert hooks.around_load(load_11)(HERE, None, "llava") == load_11(HERE, None, "llava")
    (tmp_path / "config.json").write_text(OWN)
    with pytest.raises(UnfitLlava):
        hooks.around_load(load_11)(str(tmp_path), None, "llava")
    monkeypatch.setattr(sys, "argv", ["train.py", "--feature_folder=x"])
    with pytest.raises(UnfitLlava):
        hooks.around_train(train_120)()
