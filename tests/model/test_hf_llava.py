"""transformers' own LLaVA-1.5: read as LLaVA's, and written."""

from __future__ import annotations

import shutil
from pathlib import Path

import hf_forms
import numpy as np
import pytest
import tiny
import tiny_layouts as layouts
import torch
import weights
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    AutoProcessor,
    AutoTokenizer,
    CLIPImageProcessor,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from llava_v2xum.core.errors import V2XumError
from llava_v2xum.core.tasks import query_for
from llava_v2xum.features import differences
from llava_v2xum.features.hf_llava import CARRIED, VIDEO
from llava_v2xum.features.settings import encoder_of_checkpoint
from llava_v2xum.model.checkpoint import load_pretrained, save_checkpoint
from llava_v2xum.model.merge import main as merge_main
from llava_v2xum.model.tokens import build_input_ids

pytestmark = pytest.mark.pinned

BEFORE, AFTER = [1, 30, 40, 50], [60, 70, 80, 2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return hf_forms.write_hf_llava(tmp_path_factory.mktemp("hf") / "llava-1.5-7b-hf")


@torch.no_grad()
def image_logits(model, pixels: torch.Tensor) -> torch.Tensor:
    """The model's answer to text, an image and text, as LLaVA is asked; float32 [L, V]."""
    ids = torch.tensor([[*BEFORE, -200, *AFTER]])
    return model(ids, attention_mask=torch.ones_like(ids), images=pixels[None]).logits[0]


@torch.no_grad()
def video_logits(model, tokenizer) -> torch.Tensor:
    ids = build_input_ids(tokenizer, query_for("both"))[None]
    return model(ids, videos=[weights.numbers(100, model.config.mm_hidden_size)]).logits[0]


@pytest.mark.parametrize("newer", [False, True])
def test_logits_are_those_of_transformers_own_class(tmp_path, newer):
    folder = hf_forms.write_hf_llava(tmp_path / "c", newer=newer)
    tokenizer, model, encoder = load_pretrained(folder, device="cpu", dtype="float32")
    pixels = weights.numbers(3, tiny.IMAGE_SIZE, tiny.IMAGE_SIZE, name="image")
    expected = hf_forms.hf_logits(hf_forms.hf_llava(), BEFORE, AFTER, pixels)
    assert expected.std() > 0.1 and expected.shape[-1] == model.config.vocab_size == hf_forms.ROWS
    assert torch.equal(image_logits(model, pixels), expected)
    assert tokenizer.pad_token == tokenizer.unk_token and model.config.image_aspect_ratio == "pad"
    assert encoder(torch.zeros(2, 30, 40, 3, dtype=torch.uint8).numpy()).shape == (2, tiny.TOWER_WIDTH)


def test_a_video_is_read_as_by_llavas_own_form_of_the_same_weights(folder, tmp_path):
    """Saved by this package, which names weights as LLaVA does, and with the tower that its folder holds."""
    tokenizer, model, encoder = load_pretrained(folder, device="cpu", dtype="float32")
    save_checkpoint(model, tokenizer, tmp_path / "own")
    own_tokenizer, own, own_encoder = load_pretrained(tmp_path / "own", device="cpu", dtype="float32")
    assert own.config.frame_tower is None and own.config.mm_vision_tower == str(tmp_path / "own" / "vision_tower")
    assert torch.equal(video_logits(own, own_tokenizer), video_logits(model, tokenizer))
    frames = (weights.numbers(3, 40, 60, 3, name="frames").numpy() * 127 + 128).astype(np.uint8)
    assert np.array_equal(own_encoder(frames), encoder(frames))
    assert encoder.description == encoder_of_checkpoint(folder).description
    assert not differences(own_encoder.description, encoder.description)
    assert torch.equal(encoder_of_checkpoint(folder)(frames), encoder(frames))


def test_as_the_base_of_an_adapter(folder, tmp_path):
    """An adapter that was made on LLaVA's own form knows none of the rows behind the tokenizer's."""
    _, plain, _ = load_pretrained(folder, device="cpu", dtype="float32")
    base = {name: weight for name, weight in plain.state_dict().items() if ".vision_tower." not in name}
    state = layouts.write_lora(tmp_path / "lora", base, str(folder), "llava_v2xum", weights.sources()[1])
    tokenizer, model, _ = load_pretrained(tmp_path / "lora", device="cpu", dtype="float32")
    assert model.config.vocab_size == hf_forms.ROWS
    for name, weight in state.items():
        torch.testing.assert_close(model.state_dict()[name], weight, rtol=0, atol=1e-6)
    assert not torch.equal(video_logits(model, tokenizer), video_logits(plain, tokenizer))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"projector_hidden_act": "relu"}, "projector_hidden_act is 'gelu', got 'relu'"),
        ({"vision_feature_layer": [-2, -1]}, "vision_feature_layer is .*got"),
        ({"text_config": {"model_type": "mistral"}}, "text_config.model_type is 'llama', got 'mistral'"),
        ({"vision_config": None}, "vision_config.model_type is 'clip_vision_model', got None"),
    ],
)
def test_what_is_no_llava_1_5_is_refused_in_one_line(folder, tmp_path, fields, message):
    shutil.copytree(folder, tmp_path / "c")
    layouts.change_json(tmp_path / "c" / "config.json", **fields)
    with pytest.raises(V2XumError, match=f"config.json: expected a LLaVA-1.5, whose {message}"):
        load_pretrained(tmp_path / "c")


@pytest.mark.parametrize("part", ["multi_modal_projector.linear_2.bias", "vision_tower", "language_model.model.norm"])
def test_a_weight_that_is_missing_is_named(folder, tmp_path, part):
    shutil.copytree(folder, tmp_path / "c")
    for file in (tmp_path / "c").glob("*.safetensors"):
        kept = {name: weight for name, weight in load_file(file).items() if not name.startswith(part)}
        save_file(kept, file, metadata={"format": "pt"})
    with pytest.raises(V2XumError, match="expected all .*weights.*got none for"):
        load_pretrained(tmp_path / "c")


# --- written -------------------------------------------------------------------------------------------------------


def written(source: Path, out: Path, capsys) -> Path:
    assert merge_main(["--model-path", str(source), "--out", str(out), "--dtype", "float32", "--form", "hf"]) == 0
    assert "knows no temporal prompts" in capsys.readouterr().out
    return out


def test_transformers_own_class_answers_as_the_model_that_was_written(tmp_path, capsys):
    """Of LLaVA's own form, whose vocabulary gets rows for transformers' two ids."""
    tower = weights.sources()[1]
    layouts.write_full(tmp_path / "c", "llava_llama", tower)
    out = written(tmp_path / "c", tmp_path / "out", capsys)
    tokenizer, model, encoder = load_pretrained(tmp_path / "c", device="cpu", dtype="float32")
    theirs = LlavaForConditionalGeneration.from_pretrained(out).float().eval()
    rows = model.config.vocab_size
    assert theirs.config.text_config.vocab_size == -(-(rows + 2) // 64) * 64
    assert theirs.config.image_token_index == rows
    pixels = weights.numbers(3, tiny.IMAGE_SIZE, tiny.IMAGE_SIZE, name="image")
    expected = image_logits(model, pixels)
    torch.testing.assert_close(hf_forms.hf_logits(theirs, BEFORE, AFTER, pixels)[:, :rows], expected, rtol=0, atol=0)
    if hf_forms.NESTED_IDS:
        processor = AutoProcessor.from_pretrained(out)
    else:  # which takes no settings of its own yet
        processor = LlavaProcessor(CLIPImageProcessor.from_pretrained(out), AutoTokenizer.from_pretrained(out))
    frame = (weights.numbers(tiny.IMAGE_SIZE, tiny.IMAGE_SIZE, 3, name="frame").numpy() * 127 + 128).astype(np.uint8)
    asked = processor(text="USER: <image>A man ASSISTANT:", images=Image.fromarray(frame), return_tensors="pt")
    pieces = ["USER: ", "A man ASSISTANT:"]
    before, after = tokenizer(pieces[0]).input_ids, tokenizer(pieces[1], add_special_tokens=False).input_ids
    places = [rows] * (hf_forms.PATCHES if hf_forms.NESTED_IDS else 1)
    assert [number for number in asked["input_ids"][0].tolist() if number == rows] == places
    assert asked["input_ids"][0].tolist()[: len(before)] == before and len(after) > 3
    assert AutoTokenizer.from_pretrained(out)("USER: A man runs.").input_ids == tokenizer("USER: A man runs.").input_ids
    torch.testing.assert_close(asked["pixel_values"][0], encoder.preprocess(frame[None])[0], rtol=0, atol=1e-5)


def test_what_videos_need_comes_back(tmp_path, capsys):
    settings = {"num_frames": 20, "temporal_prompts": False, "frame_feature": "class_token", "image_aspect_ratio": None}
    layouts.write_full(tmp_path / "c", "llava_v2xum", weights.sources()[1], **settings)
    tokenizer, model, _ = load_pretrained(written(tmp_path / "c", tmp_path / "out", capsys), dtype="float32")
    _, given, _ = load_pretrained(tmp_path / "c", dtype="float32")
    for name in (*VIDEO, *CARRIED):
        assert getattr(model.config, name) == getattr(given.config, name), name
    assert model.config.num_frames == 20 and model.config.frame_feature == "class_token"
    ids = build_input_ids(tokenizer, query_for("both"))[None]
    features = [weights.numbers(20, tiny.TOWER_WIDTH)]
    with torch.no_grad():
        rows = given.config.vocab_size
        assert torch.equal(model(ids, videos=features).logits[..., :rows], given(ids, videos=features).logits)


def test_transformers_own_form_comes_back_as_it_was(folder, tmp_path, capsys):
    out = written(folder, tmp_path / "out", capsys)
    theirs = LlavaForConditionalGeneration.from_pretrained(out).float().eval()
    given = hf_forms.hf_llava()
    assert theirs.config.text_config.vocab_size == hf_forms.ROWS
    assert theirs.config.image_token_index == given.config.image_token_index
    pixels = weights.numbers(3, tiny.IMAGE_SIZE, tiny.IMAGE_SIZE, name="image")
    answers = [hf_forms.hf_logits(one, BEFORE, AFTER, pixels) for one in (theirs, given)]
    assert torch.equal(*answers)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mm_projector_type": "linear"}, "mm_projector_type 'mlp2x_gelu' alone, got 'linear'"),
        ({"frame_feature": "clip_embedding"}, "no place for the tower or projector of 'clip_embedding'"),
    ],
)
def test_what_transformers_form_cannot_hold_is_refused(tmp_path, fields, message, capsys):
    if "frame_feature" in fields:
        layouts.write_released(tmp_path / "parts" / "c")
    else:
        layouts.write_full(tmp_path / "parts" / "c", "llava_v2xum", weights.sources()[1])
        state = layouts.tower_state(tmp_path / "parts" / "c") | layouts.projector_state(tiny.TOWER_WIDTH, linear=True)
        kept = {name: weight for name, weight in state.items() if ".mm_projector.0" not in name and "or.2." not in name}
        layouts.write_weights(kept, tmp_path / "parts" / "c" / "model.safetensors")
        layouts.change_json(tmp_path / "parts" / "c" / "config.json", **fields)
    asked = ["--model-path", str(tmp_path / "parts" / "c"), "--out", str(tmp_path / "out"), "--form", "hf"]
    assert merge_main(asked) == 2
    printed = capsys.readouterr().err
    told = [line for line in printed.splitlines() if not line.startswith("the projector is ")]  # a note, not of this
    assert len(told) == 1 and message in told[0] and not (tmp_path / "out").exists()


@pytest.mark.parametrize(("value", "dtype"), [(float("nan"), "float32"), (1e6, "float16")])
def test_weights_that_are_no_numbers_are_not_written(tmp_path, value, dtype, capsys):
    layouts.write_full(tmp_path / "c", "llava_v2xum", weights.sources()[1])
    state = layouts.tower_state(tmp_path / "c")
    state["model.norm.weight"][3] = value
    layouts.write_weights(state, tmp_path / "c" / "model.safetensors")
    assert merge_main(["--model-path", str(tmp_path / "c"), "--out", str(tmp_path / "out"), "--dtype", dtype]) == 2
    assert f"model.norm.weight: expected finite numbers in {dtype}" in capsys.readouterr().err
