"""What a checkpoint's config says of frames: old ones are read as before, new ones write the old keys and the rule."""

from __future__ import annotations

import json

import pytest
import tiny_layouts as layouts
import weights
from tail_rule import add_tail

from llava_v2xum.core.timeline import Timeline
from llava_v2xum.features import FeatureFolder, FrameFeature
from llava_v2xum.model.checkpoint import load_pretrained, save_checkpoint
from llava_v2xum.model.config import LlavaV2XumConfig

pytestmark = pytest.mark.pinned

BEFORE_RULES = {  # as every release before rules of sampling had names wrote it
    "num_frames": 8, "temporal_prompt_template": "[f{:02d}]", "temporal_prompts": True, "frame_feature": "patch_mean",
    "frame_tokens": 4, "frame_tower": None, "mm_hidden_size": 24,
}  # fmt: skip
OURS = ("num_frames", "frame_", "temporal_prompt")


@pytest.fixture
def checkpoint(tmp_path):
    layouts.write_full(tmp_path / "c", "llava_v2xum", weights.sources()[1])
    return tmp_path / "c"


def fields_of(folder) -> dict:
    return json.loads((folder / "config.json").read_text())


def test_a_config_from_before_rules_had_names():
    config = LlavaV2XumConfig.from_dict(BEFORE_RULES)
    assert config.timeline == Timeline(8, "[f{:02d}]", rule="linspace")
    assert config.feature == FrameFeature("patch_mean", 4) and config.feature_shape == (8, 4, 24)


def test_a_saved_checkpoint_has_the_keys_of_before_and_the_rule(checkpoint, tmp_path):
    assert "frame_sampling" not in fields_of(checkpoint)
    tokenizer, model, _ = load_pretrained(checkpoint)
    save_checkpoint(model, tokenizer, tmp_path / "out")
    fields = {key: value for key, value in fields_of(tmp_path / "out").items() if key.startswith(OURS)}
    assert fields.pop("frame_sampling") == "linspace"
    assert len(fields.pop("temporal_prompt_ids")) == 100
    assert fields == {
        "num_frames": 100, "temporal_prompt_template": "[{:02d}]", "temporal_prompts": True,
        "frame_feature": "patch_mean", "frame_tokens": 1, "frame_tower": None,
    }  # fmt: skip


def test_another_rule_stays_with_the_checkpoint_and_refuses_other_features(checkpoint, tmp_path, monkeypatch):
    layouts.change_json(checkpoint / "config.json", frame_sampling="tail")
    with pytest.raises(ValueError, match=r"config\.json: frame_sampling must be one of linspace, got 'tail'"):
        load_pretrained(checkpoint)
    add_tail(monkeypatch)
    tokenizer, model, encoder = load_pretrained(checkpoint)
    assert model.config.timeline == Timeline(rule="tail")
    save_checkpoint(model, tokenizer, tmp_path / "saved")
    model.save_pretrained(tmp_path / "trained")  # as LLaVA's trainer does
    assert {fields_of(tmp_path / name)["frame_sampling"] for name in ("saved", "trained")} == {"tail"}

    linspace = {**encoder.description, "frame_sampling": "linspace"}
    FeatureFolder(tmp_path / "store", linspace).save("v", weights.numbers(100, 24).numpy())
    with pytest.raises(ValueError, match=r"features\.json: .*frame_sampling: expected 'tail', got 'linspace'"):
        FeatureFolder(tmp_path / "store", encoder.description)


def test_training_chooses_the_rule_or_keeps_the_bases(monkeypatch):
    from llava_v2xum.train.arguments import ModelArguments

    add_tail(monkeypatch)
    model = weights.video_model(8)
    for flag, expected in ((None, "linspace"), ("tail", "tail"), (None, "tail"), ("linspace", "linspace")):
        model.initialize_vision_tokenizer(ModelArguments(frame_sampling=flag), weights.tokenizer())
        assert model.config.frame_sampling == expected and model.config.timeline == Timeline(8, rule=expected)
