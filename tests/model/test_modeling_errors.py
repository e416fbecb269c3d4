"""What the model refuses, and that it says what was expected and what came."""

from __future__ import annotations

import pytest
import torch
import weights
from llava.constants import IMAGE_TOKEN_INDEX

from llava_v2xum.core.errors import V2XumError
from llava_v2xum.core.timeline import Timeline
from llava_v2xum.model.config import LlavaV2XumConfig

IDS = torch.tensor([[1, 5, IMAGE_TOKEN_INDEX, 6]])


@pytest.fixture(scope="module")
def model():
    return weights.video_model(10)


def features(num_frames: int = 10, width: int = weights.CHANNELS) -> torch.Tensor:
    return weights.numbers(num_frames, width)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"num_frames": 101}, r"1 to 100 .* got 101"),
        ({"temporal_prompt_template": "[ii]"}, r"zero-padded .* got '\[ii\]'"),
        ({"frame_feature": "sound"}, r"patch_mean.*clip_embedding.* got 'sound'"),
    ],
)
def test_bad_configs_fail_at_once(settings, said):
    with pytest.raises(ValueError, match=said):
        weights.video_model(**settings)


def test_a_config_without_a_timeline_does_not_know_how_long_a_frame_is():
    with pytest.raises(V2XumError, match=r"no temporal prompts yet: call model.bind_timeline"):
        _ = LlavaV2XumConfig().frame_positions


def test_prompts_of_unequal_length_are_refused(model):
    def tokenizer(prompt, add_special_tokens):
        return type("Encoding", (), {"input_ids": list(range(4 + (prompt == "[07]")))})

    before = dict(model.config.to_dict())
    with pytest.raises(ValueError, match=r"'\[00\]' gives 4, '\[07\]' gives 5"):
        model.bind_timeline(tokenizer, Timeline(10))
    assert model.config.to_dict() == before


@pytest.mark.parametrize(
    ("frames", "indices", "said"),
    [
        (features(width=9), None, r"features \[T, 24\] \(patch_mean\) or pixels .*, got shape \[10, 9\]"),
        (features(11), None, "1 to 10 frames .* got 11 frames, indexes 0 to 10"),
        (features(0), None, "1 to 10 frames .* got 0 frames"),
        (features(2), [3, 10], "indexes 0 to 9 .* got 2 frames, indexes 3 to 10"),
        (features(2), [-1, 3], "indexes 0 to 9 .* got 2 frames, indexes -1 to 3"),
        (features(3), [1, 2], "3 frames need as many frame indexes, got 2"),
        (torch.zeros(2, 5, 24), None, r"\[T, 24\] .patch_mean. or pixels \[T, 3, H, W\], got shape \[2, 5, 24\]"),
        (torch.zeros(2, 4, 28, 28), None, r"pixels \[T, 3, H, W\], got shape \[2, 4, 28, 28\]"),
    ],
)
def test_frames_that_do_not_fit(model, frames, indices, said):
    indices = None if indices is None else [torch.tensor(indices)]
    with pytest.raises(ValueError, match=said):
        model(IDS, videos=[frames], video_indices=indices)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_every_place_wants_one_video(model, count):
    two = torch.tensor([[1, IMAGE_TOKEN_INDEX, 6, IMAGE_TOKEN_INDEX]])
    with pytest.raises(ValueError, match=rf"hold 2 placeholders \(-200\).* {count} videos came"):
        model(two, videos=[features()] * count)
    with pytest.raises(ValueError, match=rf"hold 2 placeholders \(-200\).* {count} videos came"):
        model.generate(two, videos=[features()] * count, max_new_tokens=1)
    if count:
        with pytest.raises(ValueError, match=rf"hold 2 placeholders \(-200\).* {count} videos or images came"):
            model(two, images=[features()] * count)


def test_a_video_without_a_place_is_not_dropped(model):
    with pytest.raises(ValueError, match=r"hold 0 placeholders .* 1 videos came"):
        model(torch.tensor([[1, 5, 6]]), videos=[features()])


def test_as_many_indexes_as_videos(model):
    with pytest.raises(ValueError, match="1 videos need as many items in video_indices, got 2"):
        model(IDS, videos=[features()], video_indices=[None, None])


def test_videos_or_images_not_both(model):
    with pytest.raises(ValueError, match="not both"):
        model(IDS, videos=[features()], images=[features()])


def test_models_that_are_not_ready():
    unbound = weights.video_model(10)
    unbound.config.temporal_prompt_ids = None
    with pytest.raises(ValueError, match="bind_timeline"):
        unbound(IDS, videos=[features()])
    unbound.get_vision_tower().is_loaded = False
    with pytest.raises(ValueError, match="tower is not loaded"):
        unbound(IDS, videos=[torch.zeros(2, 3, 28, 28)])


def test_llava_next_layouts_are_refused():
    model = weights.video_model(10)
    model.config.mm_patch_merge_type = "spatial_unpad"
    with pytest.raises(ValueError, match=r"LLaVA-1\.5, .* got 'spatial_unpad'"):
        model(IDS, videos=[features()])


def test_a_place_without_any_video(model):
    with pytest.raises(ValueError, match=r"hold placeholders \(-200\), but no videos and no images came"):
        model(IDS)
    with pytest.raises(ValueError, match="but no videos and no images came"):
        model.generate(IDS, max_new_tokens=1)


def test_an_image_is_no_video(model):
    with pytest.raises(ValueError, match=r"got shape \[3, 28, 28\]"):
        model(IDS, videos=[torch.zeros(3, 28, 28)])


def test_a_row_that_llava_would_cut_is_refused(model, monkeypatch):
    length = 3 + 10 * 5  # three tokens, ten frames of four prompt ids and one visual token
    monkeypatch.setattr(model.config, "tokenizer_model_max_length", length)
    assert model(IDS, videos=[features()]).logits.shape[1] == length
    monkeypatch.setattr(model.config, "tokenizer_model_max_length", length - 1)
    with pytest.raises(ValueError, match=f"row 0: 3 tokens and 1 videos .* take {length} .* at most {length - 1}"):
        model(IDS, videos=[features()])
