"""register() adds the video type, and leaves LLaVA's own behaviour as it was."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoConfig, AutoModelForCausalLM

from llava_v2xum.core.tasks import CONVERSATION
from llava_v2xum.model import compat
from llava_v2xum.model.plugin import register

pytestmark = [pytest.mark.pinned, pytest.mark.every_python]

ROOT = Path(__file__).parents[2]

# run in a process of its own, where nothing has registered yet
BEFORE_AND_AFTER = """
import inspect, sys, torch, weights
import llava.conversation, llava.model
from llava.model import LlavaConfig, LlavaLlamaForCausalLM

def picture():
    exports = {name: value for name, value in vars(llava.model).items() if name.startswith("Llava")}
    classes = [cls for cls in (LlavaConfig, *LlavaLlamaForCausalLM.__mro__) if cls.__module__.startswith("llava.")]
    # beneath what renames one argument on the way in (compat.mend_calls)
    methods = {cls: {name: inspect.unwrap(value) if callable(value) else value for name, value in vars(cls).items()}
               for cls in classes}
    templates = {name: (template, repr(template)) for name, template in llava.conversation.conv_templates.items()}
    return exports, methods, templates, llava.conversation.default_conversation

ids = torch.tensor([[1, 5, -200, 6, 7], [1, 8, 9, -200, 10]])
images = weights.numbers(2, 3, 28, 28, name="images")
model = weights.image_model()
stock, before = model(ids, images=images).logits, picture()
assert "llava_v2xum" not in sys.modules

from llava_v2xum.model.plugin import register
register()
once = picture()
register()
assert picture() == once
exports, methods, templates, default = once
added = {"LlavaV2XumConfig", "LlavaV2XumForCausalLM"}
assert set(exports) - set(before[0]) == added and set(templates) - set(before[2]) == {"v2xum"}
assert {name: exports[name] for name in before[0]} == before[0]
assert {name: templates[name] for name in before[2]} == before[2]
assert methods == before[1] and default is before[3]

assert torch.equal(model(ids, images=images).logits, stock)
assert torch.equal(weights.image_model()(ids, images=images).logits, stock)
ours = weights.video_model()
assert torch.equal(ours(ids, images=images).logits, stock)
assert torch.equal(ours(ids, images=list(images)).logits, model(ids, images=list(images)).logits)
ours.bind_timeline(weights.tokenizer())
assert torch.equal(ours.generate(ids, images=images, max_new_tokens=4, do_sample=False),
                   model.generate(ids, images=images, max_new_tokens=4, do_sample=False)[:, -4:])
"""


def test_stock_llava_is_the_same_before_and_after():
    done = subprocess.run(
        [sys.executable, "-c", BEFORE_AND_AFTER],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_transformers_know_the_model_type():
    register()
    config = AutoConfig.for_model(
        "llava_v2xum", num_hidden_layers=1, num_attention_heads=1, hidden_size=8, vocab_size=16
    )
    assert config.num_frames == 100 and config.temporal_prompt_template == "[{:02d}]"
    assert config.frame_feature == "patch_mean"
    assert type(AutoModelForCausalLM.from_config(config)).__name__ == "LlavaV2XumForCausalLM"


def test_the_conversation_is_vicunas():
    from llava.conversation import conv_templates

    register()
    ours, vicuna = conv_templates[CONVERSATION].copy(), conv_templates["v1"].copy()
    for template in (ours, vicuna):
        template.append_message(template.roles[0], "hi")
        template.append_message(template.roles[1], None)
    assert ours.get_prompt() == vicuna.get_prompt()
    assert ours.get_prompt().endswith("USER: hi ASSISTANT:")
    assert ours.version == "v1"  # by which LLaVA's training code masks


def test_the_timeline_is_saved_with_the_checkpoint(tmp_path):
    import torch
    import weights

    register()
    model = weights.video_model(8)
    model.save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    assert (config.model_type, config.num_frames) == ("llava_v2xum", 8)
    assert config.temporal_prompt_ids == model.config.temporal_prompt_ids and len(config.temporal_prompt_ids) == 8
    text = (tmp_path / "config.json").read_text()
    for key in ("num_frames", "temporal_prompt_template", "temporal_prompt_ids", "frame_feature"):
        assert f'"{key}"' in text
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    ids, features = torch.tensor([[1, -200, 5]]), weights.numbers(8, weights.CHANNELS)
    assert torch.equal(again(ids, videos=[features]).logits, model(ids, videos=[features]).logits)


def test_a_checkpoint_that_holds_its_tower_is_read_from_anywhere(tmp_path, monkeypatch):
    """Its config names the tower by a path from its own folder, and so does what is saved of it again."""
    import json

    import torch

    from llava_v2xum import load_pretrained
    from llava_v2xum.shapes import DEMO_CHECKPOINT

    monkeypatch.chdir(tmp_path)
    register()
    model = AutoModelForCausalLM.from_pretrained(DEMO_CHECKPOINT)
    model.get_vision_tower().load_model()
    _, wanted, _ = load_pretrained(DEMO_CHECKPOINT, device="cpu", dtype="float32")
    for name, weight in wanted.state_dict().items():
        assert torch.equal(model.state_dict()[name].float(), weight), name
    model.config.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["mm_vision_tower"] == "vision_tower"


class OfTransformers:
    """What a model class of LLaVA's is made of, in releases that CI does not install."""

    def forward(self, ids, past_key_values=None, cache_position=None):
        return ids, past_key_values, cache_position

    def prepare_inputs_for_generation(self, ids, past_key_values=None, **kwargs):
        return ids, past_key_values, kwargs


class OfTransformersSince524(OfTransformers):
    def forward(self, ids, cache=None):
        return ids, cache

    def prepare_inputs_for_generation(self, ids, cache=None, **kwargs):
        return ids, cache, kwargs


def llavas(base: type) -> type:
    class OfLlava(base):
        def forward(self, ids, past_key_values=None):
            return super().forward(ids, past_key_values=past_key_values)

        def prepare_inputs_for_generation(self, ids, past_key_values=None, **kwargs):
            return super().prepare_inputs_for_generation(ids, past_key_values=past_key_values, **kwargs)

    return OfLlava


def test_generation_may_hand_in_what_llava_does_not_take():
    made = llavas(OfTransformers)
    compat.mend_calls(made)
    once = made.forward
    compat.mend_calls(made)
    assert made.forward is once
    assert made().forward(1, past_key_values=2, cache_position=3) == (1, 2, None)
    assert made().prepare_inputs_for_generation(1, past_key_values=2, cache_position=3) == (1, 2, {"cache_position": 3})


def test_the_cache_keeps_its_value_under_either_name():
    made = llavas(OfTransformersSince524)
    compat.mend_calls(made)
    once = vars(made).copy(), made.__bases__
    compat.mend_calls(made)
    assert (vars(made).copy(), made.__bases__) == once
    for name in ("cache", "past_key_values"):
        assert made().forward(1, **{name: 2}) == (1, 2)
        assert made().prepare_inputs_for_generation(1, **{name: 2}, use_cache=True) == (1, 2, {"use_cache": True})


def test_what_is_embedded_passes_an_encoder_of_another_name():
    """LongVA's."""
    import torch

    class OfLongva:
        def encode_multimodals(self, videos_or_images, video_idx_in_batch, split_sizes=None):
            return "stock", video_idx_in_batch, split_sizes

    class Ours(OfLongva):
        pass

    compat.mend_encoding(Ours, OfLongva)
    parts = Ours().encode_multimodals(torch.arange(10.0).reshape(5, 1, 1, 2), [], [2, 3])
    assert [part.shape for part in parts] == [(2, 1, 2), (3, 1, 2)] and parts[1].flatten().tolist() == [*range(4, 10)]
    assert Ours().encode_multimodals(torch.zeros(2, 3, 4, 4), [1], [1, 1]) == ("stock", [1], [1, 1])
    compat.mend_encoding(Ours, object)  # LLaVA itself has none
