"""The kinds of frame feature: what they compute, and models of each kind, from training's arguments to a checkpoint."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch
import weights
from query_kind import PATCHES, Queries, add_queries

from llava_v2xum.features import CLASS_TOKEN, CLIP_EMBEDDING, PATCH_MEAN, FrameFeature, HubClipTower, pool_patches
from llava_v2xum.features.kinds import FRAME_FEATURES, has_own_tower
from llava_v2xum.model.checkpoint import load_pretrained, save_checkpoint

pytestmark = pytest.mark.pinned

FRAMES = 4


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    """A whole CLIP in transformers' form, tower, text half and projections, as `openai/clip-vit-large-patch14-336`."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(5)
    vision = dict(
        hidden_size=tiny.TOWER_WIDTH, intermediate_size=48, num_hidden_layers=3, num_attention_heads=2,
        image_size=tiny.IMAGE_SIZE, patch_size=7, projection_dim=20,
    )  # fmt: skip
    text = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=50)
    CLIPModel(CLIPConfig(vision_config=vision, text_config=text, projection_dim=20)).save_pretrained(folder)
    size = {"height": tiny.IMAGE_SIZE, "width": tiny.IMAGE_SIZE}
    CLIPImageProcessor(size={"shortest_edge": tiny.IMAGE_SIZE}, crop_size=size).save_pretrained(folder)
    return folder


def pixels(count: int = FRAMES) -> torch.Tensor:
    return weights.numbers(count, 3, tiny.IMAGE_SIZE, tiny.IMAGE_SIZE, name="pixels")


def test_cells_of_the_patch_grid_by_hand():
    grid = torch.arange(16.0).view(1, 16, 1)  # patches 0..15 in four rows
    assert pool_patches(grid).tolist() == [[7.5]]
    assert pool_patches(grid, 4).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert pool_patches(torch.arange(36.0).view(1, 36, 1), 9).flatten().tolist() == [
        3.5, 5.5, 7.5, 15.5, 17.5, 19.5, 27.5, 29.5, 31.5,
    ]  # fmt: skip


def test_patches_that_form_no_grid():
    with pytest.raises(ValueError, match="square grid of as many patches, got 15"):
        pool_patches(torch.zeros(1, 15, 2), 4)


@pytest.mark.parametrize(
    ("kind", "tokens", "said"),
    [
        ("mean", 1, "frame_feature must be one of"),
        (PATCH_MEAN, 3, "square number"),
        (CLASS_TOKEN, 4, "'class_token' gives one visual token a frame, got frame_tokens 4"),
    ],
)
def test_settings_that_are_none(kind, tokens, said):
    with pytest.raises(ValueError, match=said):
        FrameFeature(kind, tokens)


def test_the_class_token_is_that_of_the_towers_layer():
    model = weights.video_model(FRAMES)
    tower = model.get_vision_tower()
    found = FrameFeature(CLASS_TOKEN).of(tower, pixels())
    tower.select_feature = "cls_patch"  # LLaVA's own way to keep it
    torch.testing.assert_close(found, tower(pixels())[:, 0])


def test_the_embedding_of_a_clip_folder_is_transformers_own(clip_folder):
    from transformers import CLIPModel

    tower = HubClipTower(str(clip_folder))
    tower.load_model()
    with torch.no_grad():
        expected = CLIPModel.from_pretrained(clip_folder).get_image_features(pixels())
    expected = getattr(expected, "pooler_output", expected)  # transformers 5 wraps it
    torch.testing.assert_close(tower(pixels())[:, 0], expected)
    assert tower.hidden_size == 20 and tower.image_processor.crop_size["height"] == tiny.IMAGE_SIZE


def test_a_clip_folder_without_projection_is_refused(tmp_path):
    tower = HubClipTower(str(tiny.write_tower(tmp_path / "tower")))
    with pytest.raises(ValueError, match="expected a CLIP with its image projection"):
        tower.load_model()


def initialised(model, clip_folder, kind: str):
    """The model as training's arguments make it."""
    from llava_v2xum.train.arguments import ModelArguments

    asked = ModelArguments(vision_tower=str(clip_folder), frame_feature=kind)
    model.choose_feature(asked)
    model.get_model().initialize_vision_modules(asked)
    model.initialize_vision_tokenizer(asked, weights.tokenizer())
    return model


def test_a_projector_for_features_of_another_width_is_refused(clip_folder):
    with pytest.raises(ValueError, match="features of width 24, frame_feature 'clip_embedding' gives 20"):
        initialised(weights.video_model(FRAMES), clip_folder, CLIP_EMBEDDING)


def test_a_base_of_image_embeddings_can_go_on_with_patches(clip_folder):
    """Its own tower gives no patches."""
    embeds = {"frame_feature": CLIP_EMBEDDING, "frame_tower": str(clip_folder)}
    model = initialised(weights.video_model(FRAMES, mm_hidden_size=tiny.TOWER_WIDTH, **embeds), clip_folder, PATCH_MEAN)
    assert model.encode_frames(pixels()).shape == (FRAMES, tiny.TOWER_WIDTH)
    kept = initialised(weights.video_model(FRAMES, mm_hidden_size=20, **embeds), clip_folder, None)
    assert kept.encode_frames(pixels()).shape == (FRAMES, 20)


@pytest.mark.parametrize("tokens", [1, 4])
@pytest.mark.parametrize("temporal_prompts", [True, False])
def test_frames_and_their_prompts_stand_where_they_should(tokens, temporal_prompts):
    model = weights.video_model(FRAMES, frame_tokens=tokens, temporal_prompts=temporal_prompts)
    features = weights.numbers(*model.config.feature_shape)
    embedded = model.encode_video(features)
    prompts = 4 if temporal_prompts else 0
    assert embedded.shape == (FRAMES, prompts + tokens, tiny.HIDDEN)
    assert model.config.frame_positions == prompts + tokens
    ids = weights.tokenizer()(["[00]", "[01]", "[02]", "[03]"], add_special_tokens=False).input_ids
    if temporal_prompts:
        torch.testing.assert_close(embedded[:, :4], model.get_input_embeddings()(torch.tensor(ids)))
    projected = model.get_model().mm_projector(features.view(FRAMES, tokens, -1))
    torch.testing.assert_close(embedded[:, prompts:], projected)


def test_a_kind_has_its_own_class_and_is_known_by_its_fields():
    assert len({type(FrameFeature(kind)) for kind in FRAME_FEATURES}) == len(FRAME_FEATURES)
    feature = FrameFeature(PATCH_MEAN, 4)
    assert feature == FrameFeature.of_config({"frame_tokens": 4}) != FrameFeature(PATCH_MEAN, 9)
    assert pickle.loads(pickle.dumps(feature)) == replace(FrameFeature(), tokens=4) == feature
    assert FrameFeature(CLASS_TOKEN).tower_key == "mm_vision_tower" and FrameFeature(CLASS_TOKEN).layer(-2) == -2
    assert FrameFeature(CLIP_EMBEDDING).tower_key == "frame_tower" and FrameFeature(CLIP_EMBEDDING).layer(-2) is None
    assert [has_own_tower({"frame_feature": kind}) for kind in (CLIP_EMBEDDING, PATCH_MEAN, "sound", ["a"])] == [
        True, False, False, False,
    ]  # fmt: skip


def test_a_kind_with_a_projector_of_its_own(monkeypatch, clip_folder):
    """Rows of features and visual tokens are then two numbers."""
    add_queries(monkeypatch)
    model = weights.video_model(FRAMES, frame_feature="queries", frame_tokens=3)
    assert isinstance(model.get_model().mm_projector, Queries)
    assert model.config.feature_shape == (FRAMES, PATCHES, tiny.TOWER_WIDTH) and model.config.frame_positions == 4 + 3
    features = model.encode_frames(pixels())
    assert tuple(features.shape) == model.config.feature_shape
    embedded = model.encode_video(features)
    assert embedded.shape == (FRAMES, 4 + 3, tiny.HIDDEN)
    torch.testing.assert_close(embedded[:, 4:], model.get_model().mm_projector(features))
    torch.testing.assert_close(model.encode_video(pixels()), embedded)
    with pytest.raises(ValueError, match="expected a base without a projector, or with queries, got a Sequential"):
        initialised(weights.video_model(FRAMES), clip_folder, "queries")


@pytest.mark.parametrize("settings", [{"frame_tokens": 4}, {"frame_feature": CLASS_TOKEN}])
def test_pixels_give_what_their_features_give(settings):
    model = weights.video_model(FRAMES, **settings)
    features = model.config.feature.of(model.get_vision_tower(), pixels())
    assert tuple(features.shape) == model.config.feature_shape
    torch.testing.assert_close(model.encode_video(pixels()), model.encode_video(features))


def test_three_frames_of_several_tokens_are_no_still_image():
    model = weights.video_model(3, frame_tokens=4)
    ids = torch.tensor([[1, -200, 5]])
    features = weights.numbers(3, 4, weights.CHANNELS)
    with torch.no_grad():
        assert model(ids, videos=[features]).logits.shape[1] == 2 + 3 * (4 + 4)
        torch.testing.assert_close(model(ids, images=[features]).logits, model(ids, videos=[features]).logits)


def test_a_batch_of_text_runs_the_projector_in_training():
    """Under ZeRO-3 every process must call it at every step, and data parallel training waits for its gradient."""
    model = weights.video_model(FRAMES).train()
    ids = torch.tensor([[1, 5, 6, 7]])
    model(ids, labels=ids).loss.backward()
    weight = model.get_model().mm_projector[0].weight
    assert weight.grad is not None and not weight.grad.any()
    model.zero_grad()
    with torch.no_grad():
        trained = model(ids).logits
        torch.testing.assert_close(trained, model.eval()(ids).logits)


@pytest.mark.parametrize(
    "flags",
    [
        ("--frame_tokens", "4"),
        ("--frame_feature", CLASS_TOKEN),
        ("--frame_feature", CLIP_EMBEDDING),
        ("--frame_feature", "queries"),
        ("--temporal_prompts", "False"),
        ("--temporal_prompt_template", "[f00]"),
        ("--temporal_prompt_template", "00"),
    ],
    ids=" ".join,
)
def test_a_run_with_each_setting_gives_a_checkpoint_that_knows_it(flags, clip_folder, tmp_path, monkeypatch):
    """Train, load, save with everything in it, load again: the same model of the same settings."""
    from llava_v2xum.train.loop import train

    add_queries(monkeypatch)
    tiny.write_base(tmp_path / "base")
    wanted = SimpleNamespace(**{"frame_feature": PATCH_MEAN, "frame_tokens": "1", flags[0][2:]: flags[1]})
    width = 20 if wanted.frame_feature == CLIP_EMBEDDING else tiny.TOWER_WIDTH
    shape = FrameFeature(wanted.frame_feature, int(wanted.frame_tokens)).shape(FRAMES, width)
    (tmp_path / "features").mkdir()
    features = weights.numbers(*shape)
    np.save(tmp_path / "features" / "v.npy", features.numpy().astype(np.float16))
    turns = [{"from": "human", "value": "<video>\nPlease."}, {"from": "gpt", "value": "A man runs [01, 02]."}]
    (tmp_path / "data.json").write_text(json.dumps([{"id": "v", "conversations": turns}] * 2))
    train([
        "--model_name_or_path", str(tmp_path / "base"), "--vision_tower", str(clip_folder),
        "--data_path", str(tmp_path / "data.json"), "--feature_folder", str(tmp_path / "features"),
        "--output_dir", str(tmp_path / "out"), "--num_frames", str(FRAMES), "--per_device_train_batch_size", "2",
        "--max_steps", "2", "--learning_rate", "1e-2", "--save_strategy", "no", "--report_to", "none",
        "--use_cpu", "True", *flags,
    ])  # fmt: skip
    tokenizer, model, encoder = load_pretrained(tmp_path / "out", device="cpu")
    found = model.config
    assert (found.frame_feature, str(found.frame_tokens)) == (wanted.frame_feature, wanted.frame_tokens)
    assert found.temporal_prompts == ("--temporal_prompts" not in flags)
    template = {"[f00]": "[f{:02d}]", "00": "{:02d}"}.get(flags[1], "[{:02d}]")
    assert found.temporal_prompt_template == template and len(found.temporal_prompt_ids) == FRAMES
    frames = np.random.default_rng(0).integers(0, 256, (FRAMES, 40, 50, 3), dtype=np.uint8)
    assert tuple(encoder(frames).shape) == found.feature_shape

    save_checkpoint(model, tokenizer, tmp_path / "whole")
    _, again, again_encoder = load_pretrained(tmp_path / "whole", device="cpu")
    torch.testing.assert_close(again_encoder(frames), encoder(frames))
    ids = torch.tensor([[1, -200, 5, 6]])
    with torch.no_grad():
        torch.testing.assert_close(again(ids, videos=[features]).logits, model(ids, videos=[features]).logits)


@pytest.mark.parametrize("kind", [PATCH_MEAN, CLIP_EMBEDDING])
def test_a_checkpoint_with_its_own_tower_can_be_trained_on(kind, clip_folder, tmp_path):
    """`save_checkpoint` names the tower by its place in the folder; no flag is needed to go on from it."""
    from llava_v2xum.train.loop import train

    def run(base: str, output: str, *flags: str) -> list[str]:
        return [
            "--model_name_or_path", str(tmp_path / base), "--output_dir", str(tmp_path / output),
            "--data_path", str(tmp_path / "data.json"), "--feature_folder", str(tmp_path / "features"),
            "--max_steps", "1", "--save_strategy", "no", "--report_to", "none", "--use_cpu", "True", *flags,
        ]  # fmt: skip

    tiny.write_base(tmp_path / "base")
    (tmp_path / "features").mkdir()
    width = 20 if kind == CLIP_EMBEDDING else tiny.TOWER_WIDTH
    np.save(tmp_path / "features" / "v.npy", weights.numbers(FRAMES, width).numpy().astype(np.float16))
    turns = [{"from": "human", "value": "<video>\nPlease."}, {"from": "gpt", "value": "A man runs [01, 02]."}]
    (tmp_path / "data.json").write_text(json.dumps([{"id": "v", "conversations": turns}]))
    train(run("base", "out", "--vision_tower", str(clip_folder), "--frame_feature", kind, "--num_frames", str(FRAMES)))
    tokenizer, model, _ = load_pretrained(tmp_path / "out", device="cpu")
    save_checkpoint(model, tokenizer, tmp_path / "whole")

    trained = train(run("whole", "more", "--learning_rate", "0"))
    assert trained.model.config.frame_feature == kind and trained.model.config.num_frames == FRAMES
    before = {name: weight for name, weight in model.named_parameters() if "vision_tower" not in name}
    after = dict(trained.model.named_parameters())
    assert all(torch.equal(weight, after[name].float()) for name, weight in before.items())  # went on from them
    features = weights.numbers(FRAMES, width)[None].expand(1, -1, -1)[0]
    assert load_pretrained(tmp_path / "more", device="cpu")[1].encode_video(features).isfinite().all()
