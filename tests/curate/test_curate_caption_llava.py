"""Captions by a LLaVA-1.5 checkpoint: those of stock LLaVA, in batches as one by one; and the shapes captioner."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import tiny_layouts
import torch
import weights
from PIL import Image

from llava_v2xum.core.endpoint.outcomes import Failed, Stop
from llava_v2xum.core.endpoint.store import Ledger, Store
from llava_v2xum.curate.stages.caption import CaptionStage
from llava_v2xum.curate.stages.captioner import clean_caption
from llava_v2xum.curate.stages.llava_captioner import LlavaCaptioner, sample_of
from llava_v2xum.curate.stages.prompts import Prompt
from llava_v2xum.curate.stages.shapes_captioner import SHAPES_FOLDER, ShapesCaptioner
from llava_v2xum.curate.store.stage import Source
from llava_v2xum.features.__main__ import main as features_main
from llava_v2xum.shapes import event_visible, make_clip, write_clip

NEW_TOKENS = 12
PROMPT = "Please generate a TEXT summarization for this video."


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A LLaVA-1.5 checkpoint of tiny weights."""
    folder = tmp_path_factory.mktemp("llava") / "tiny-llava"
    tiny_layouts.write_full(folder, "llava", weights.sources()[1])
    return folder


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    """uint8 [7, H, W, 3], wider than high."""
    return np.random.default_rng(3).integers(0, 256, size=(7, 30, 44, 3), dtype=np.uint8)


def stock_captions(folder: Path, frames: np.ndarray) -> list[tuple[str, int]]:
    """Each frame by LLaVA's own preprocessing, model class and transformers' generate; and the new tokens."""
    from llava.constants import IMAGE_TOKEN_INDEX
    from llava.conversation import conv_templates
    from llava.mm_utils import process_images, tokenizer_image_token
    from llava.model import LlavaConfig, LlavaLlamaForCausalLM
    from transformers import LlamaTokenizer

    from llava_v2xum import register
    from llava_v2xum.model.compat import mend_tokenizer

    register()  # with which LLaVA's own classes run on transformers 5
    state = {**tiny_layouts.llama_state("full."), **tiny_layouts.projector_state(tiny.TOWER_WIDTH, prefix="full.")}
    settings = weights.llava_settings(weights.sources()[1])
    model = LlavaLlamaForCausalLM(LlavaConfig(**tiny.llama_sizes(), num_key_value_heads=2, **settings)).eval()
    model.load_state_dict(state, strict=False)
    model.get_vision_tower().load_model()
    tokenizer = LlamaTokenizer.from_pretrained(folder)
    mend_tokenizer(tokenizer)  # transformers 5 would read tokenizer.model otherwise than LLaVA-1.5 was trained with
    conversation = conv_templates["v1"].copy()
    conversation.append_message(conversation.roles[0], f"<image>\n{PROMPT}")
    conversation.append_message(conversation.roles[1], None)
    ids = tokenizer_image_token(conversation.get_prompt(), tokenizer, IMAGE_TOKEN_INDEX, return_tensors="pt")[None]
    processor = model.get_vision_tower().image_processor
    told = []
    for frame in frames:
        images = process_images([Image.fromarray(frame)], processor, SimpleNamespace(image_aspect_ratio="pad"))
        with torch.inference_mode():
            output = model.generate(
                ids, images=images, image_sizes=[(44, 30)], do_sample=False, max_new_tokens=NEW_TOKENS, use_cache=True,
                pad_token_id=0, attention_mask=torch.ones_like(ids),
            )[0].tolist()  # fmt: skip
        new = [number for number in output[output[0] == 1 :] if number != tokenizer.eos_token_id]
        finished = len(new) < NEW_TOKENS
        told.append((clean_caption(tokenizer.decode(new, skip_special_tokens=True), finished), len(new)))
    return told


@pytest.mark.pinned
def test_captions_are_those_of_stock_llava_whatever_the_batch(folder, frames):
    expected = stock_captions(folder, frames)
    assert len({text for text, _ in expected}) > 1, "a test that only one answer passes"
    for batch_size in (1, 3, 16):
        captioner = LlavaCaptioner(folder, "cpu", batch_size=batch_size, max_new_tokens=NEW_TOKENS)
        captions, cost = captioner.caption(frames, PROMPT)
        assert captions == [text for text, _ in expected]
        assert cost.completion_tokens == sum(count for _, count in expected)
        assert cost.calls == len(frames) and cost.seconds > 0
    one_by_one = [captioner.caption(frame[None], PROMPT) for frame in frames]
    assert [captions[0] for captions, _ in one_by_one] == captions
    assert sum(cost.prompt_tokens for _, cost in one_by_one) == cost.prompt_tokens


@pytest.mark.pinned
def test_prompt_tokens_are_the_positions_that_are_read(folder, frames):
    captioner = LlavaCaptioner(folder, "cpu", max_new_tokens=1)
    _, short = captioner.caption(frames, PROMPT)
    _, longer = captioner.caption(frames, f"{PROMPT} {PROMPT}")
    model = captioner._model()
    words = len(model.tokenizer(PROMPT, add_special_tokens=False).input_ids)
    assert longer.prompt_tokens - short.prompt_tokens == pytest.approx(len(frames) * words, abs=2 * len(frames))
    patches = model.model.get_vision_tower().num_patches
    assert short.prompt_tokens > len(frames) * (patches + words)


def test_what_cannot_be_used_stops_the_run(folder, frames, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    (broken / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(Stop, match="cannot be loaded"):
        LlavaCaptioner(broken, "cpu").caption(frames, PROMPT)
    with pytest.raises(Stop, match="positions"):
        LlavaCaptioner(folder, "cpu").caption(frames, PROMPT * 200)
    with pytest.raises(Stop, match="placeholder"):
        LlavaCaptioner(folder, "cpu").caption(frames, f"<image> {PROMPT}")
    tiny_layouts.change_json(broken / "config.json", mm_use_im_start_end=True)
    shutil.copyfile(folder / "model.safetensors", broken / "model.safetensors")
    with pytest.raises(Stop, match="mm_use_im_start_end"):
        LlavaCaptioner(broken, "cpu").caption(frames, PROMPT)


def test_a_checkpoint_is_known_by_its_files_and_not_by_its_place(folder, tmp_path):
    copy = tmp_path / "elsewhere" / folder.name
    shutil.copytree(folder, copy)
    (copy / "README.md").write_text("of no matter")
    assert LlavaCaptioner(copy).settings() == LlavaCaptioner(folder).settings()
    with open(copy / "model.safetensors", "r+b") as file:
        file.seek(-4, 2)
        file.write(b"else")
    assert LlavaCaptioner(copy).settings() != LlavaCaptioner(folder).settings()
    assert sample_of(folder) == sample_of(folder)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    made = make_clip(72, 3)
    return made, write_clip(made, tmp_path_factory.mktemp("clips") / f"{made.video_id}.mp4")


def truth(clip) -> list[str]:
    frames = [min(second * clip.fps, clip.total_frames - 1) for second in range(int(clip.duration_seconds))]
    events = [event_visible(clip, frame) for frame in frames]
    return [event.sentence if event else "An empty background." for event in events]


@pytest.mark.pinned
@pytest.mark.parametrize("prompt", [None, "Describe this image in detail.", "What?"])
def test_the_shapes_captioner_names_the_events_of_a_clip(clip, tmp_path, prompt):
    made, file = clip
    prompt = Prompt.load("caption") if prompt is None else Prompt("caption", prompt)
    stage = CaptionStage(ShapesCaptioner(SHAPES_FOLDER, "cpu"), prompt)
    ledger = Ledger(Store(tmp_path / "work.sqlite"), "caption", "print", made.video_id)
    expected = truth(made)
    told = stage.work(Source(made.video_id, file), {"select": {"sampled_frames": len(expected)}}, ledger)["captions"]
    right = sum(one == other for one, other in zip(told, expected))
    assert right >= 0.9 * len(expected), [pair for pair in zip(told, expected) if pair[0] != pair[1]]
    assert {event.sentence for event in made.events} & set(expected) <= set(told)
    assert ledger.spent.calls == len(expected)


def test_features_for_training_are_those_of_the_features_command(clip, folder, tmp_path):
    made, file = clip
    captioner = LlavaCaptioner(folder, "cpu", max_new_tokens=1)
    stage = CaptionStage(captioner, Prompt("caption", PROMPT), features=tmp_path / "here")
    store = Store(tmp_path / "work.sqlite")
    source = Source(made.video_id, file)
    stage.work(source, {"select": {"sampled_frames": 2}}, Ledger(store, "caption", "print", "one"))
    there = tmp_path / "there"
    assert features_main([str(file), "--out", str(there), "--model-path", str(folder), "--device", "cpu",
                          "--workers", "0"]) == 0  # fmt: skip
    made_here = np.load(tmp_path / "here" / f"{made.video_id}.npy")
    assert made_here.shape == (100, tiny.TOWER_WIDTH) and made_here.dtype == np.float16
    assert np.array_equal(made_here, np.load(there / f"{made.video_id}.npy"))
    for name in ("features.json",):
        assert (tmp_path / "here" / name).read_text() == (there / name).read_text()

    written = (tmp_path / "here" / f"{made.video_id}.npy").stat().st_mtime_ns
    stage.work(source, {"select": {"sampled_frames": 3}}, Ledger(store, "caption", "print", "two"))
    assert (tmp_path / "here" / f"{made.video_id}.npy").stat().st_mtime_ns == written, "made once"


def test_features_of_other_videos_or_models_are_left_alone(clip, folder, tmp_path):
    made, file = clip
    captioner = LlavaCaptioner(folder, "cpu", max_new_tokens=1)
    captioner.store_features(file, made.video_id, tmp_path / "here")
    other = write_clip(make_clip(72, 4), tmp_path / "other.mp4")
    with pytest.raises(Failed, match="another video"):
        captioner.store_features(other, made.video_id, tmp_path / "here")
    with pytest.raises(Stop, match="not those that this model needs"):
        ShapesCaptioner(SHAPES_FOLDER, "cpu").store_features(file, made.video_id, tmp_path / "here")
