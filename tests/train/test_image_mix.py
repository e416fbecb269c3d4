"""LLaVA's own image and text entries beside videos: read, learnt and answered as LLaVA does it alone."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace

import image_mix
import pytest
import torch
import training_runs
import weights
from instruct import CHANNELS, FRAMES, an_entry, gpt, human
from PIL import Image

from llava_v2xum.data.dataset import make_data_module
from llava_v2xum.features import FeatureFolder
from llava_v2xum.train.options import DataOptions

pytestmark = pytest.mark.pinned


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    return image_mix.write_images(tmp_path_factory.mktemp("images"))


def tokenizer():
    """One whose padding is LLaVA's."""
    made = copy.deepcopy(weights.tokenizer())
    made.pad_token = made.unk_token
    return made


def our_data(model, images: Path | None, tmp_path: Path, *files: str, version: str = "v1", **changes) -> dict:
    asked = dict(
        data_path=list(files), data_weights=None, feature_folder=None, video_folder=None, video_track=None,
        image_folder=images and str(images), clock="frames", strict=True, pack=False, **changes,
    )  # fmt: skip
    if len(files) > 1:
        folder = FeatureFolder(tmp_path / "features", model.config.describe_features(model.get_vision_tower()))
        for name in ("v_1", "v_2"):
            folder.save(name, weights.numbers(FRAMES, CHANNELS, name=name).numpy())
        asked["feature_folder"] = str(folder.path)
    return make_data_module(tokenizer(), SimpleNamespace(**{**vars(DataOptions()), **asked}), model, version)


def video_model():
    model = weights.video_model(FRAMES)
    model.config.image_aspect_ratio = "pad"
    return model


def loss_and_gradients(model, batch: dict) -> tuple[float, dict[str, torch.Tensor]]:
    """Summed over the learned tokens, so that batches add up."""
    model.zero_grad()
    count = int((batch["labels"][:, 1:] != -100).sum())
    loss = model.train()(**batch).loss * count
    loss.backward()
    return loss.item(), {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}


@pytest.mark.parametrize("version", ["v1", "plain"])
def test_samples_are_llavas(images, tmp_path, version, monkeypatch):
    model = video_model()
    made = image_mix.entries() if version == "v1" else image_mix.captions()
    file = image_mix.write(tmp_path / "mix.json", made)
    processor = model.get_vision_tower().image_processor
    theirs, _ = image_mix.llavas_data(file, images, processor, tokenizer(), version, monkeypatch)
    ours = our_data(model, images, tmp_path, file, version=version)["train_dataset"]
    for entry, sample, expected in zip(made, ours, theirs):
        assert torch.equal(sample["input_ids"], expected["input_ids"]), entry
        assert torch.equal(sample["labels"], expected["labels"]) and (sample["labels"] != -100).any(), entry
        assert len(sample["media"]) == ("image" in entry)
        assert all(torch.equal(image, expected["image"]) for image in sample["media"]), entry
    signs = [length > 0 for length in ours.modality_lengths]
    assert signs == [length > 0 for length in theirs.modality_lengths]  # which batches are of one kind
    assert ours.lengths == [
        len(sample["input_ids"]) + sum(model.get_vision_tower().num_patches - 1 for _ in sample["media"])
        for sample in ours
    ]


@pytest.mark.parametrize("pack", [False, True])
def test_a_batch_with_videos_learns_of_images_and_text_what_llava_learns(images, tmp_path, pack, monkeypatch):
    """Loss and gradients of a mixed batch are stock LLaVA's of its images and texts, and those of its videos."""
    model, stock = video_model(), weights.image_model()
    files = [image_mix.write(tmp_path / "mix.json", image_mix.entries())]
    videos = [an_entry(), an_entry(id="v_2", frame_indices=[2, 7])]
    files.append(image_mix.write(tmp_path / "videos.json", videos))
    module = our_data(model, images, tmp_path, *files)
    processor = model.get_vision_tower().image_processor
    theirs, collate = image_mix.llavas_data(files[0], images, processor, tokenizer(), "v1", monkeypatch)
    expected_loss, expected = loss_and_gradients(stock, collate(list(theirs)))
    samples = list(module["train_dataset"])
    loss_of_videos, of_videos = loss_and_gradients(model, module["data_collator"](samples[4:]))
    if pack:
        packed = our_data(model, images, tmp_path, *files)
        from llava_v2xum.model.packing import PackedDataset

        rows = PackedDataset(packed["train_dataset"], model.config.frame_positions, 2048, seed=3)
        assert len(rows) == 1
        samples = list(rows)
    else:
        samples = [samples[place] for place in (4, 0, 1, 5, 2, 3)]
    loss, gradients = loss_and_gradients(model, module["data_collator"](samples))
    assert loss == pytest.approx(expected_loss + loss_of_videos, rel=1e-5)
    assert gradients.keys() == of_videos.keys() >= expected.keys() and len(expected) > 20
    for name, gradient in gradients.items():
        wanted = expected[name] + of_videos[name]
        assert (gradient - wanted).abs().max() <= 1e-5 * wanted.abs().max(), name


def test_a_run_of_videos_images_and_text_keeps_the_image_chat_of_llava(images, tmp_path):
    """After it, LLaVA's own class answers about images with these weights as the plugin's does."""
    from llava.model import LlavaConfig, LlavaLlamaForCausalLM

    from llava_v2xum import load_pretrained
    from llava_v2xum.features.upstream import process_images, tokenizer_image_token
    from llava_v2xum.train.loop import train

    sources = training_runs.write_sources(tmp_path, {f"v_{i}": f"A man runs [0{i}]." for i in range(4)})
    mix = image_mix.write(tmp_path / "mix.json", image_mix.entries())
    trainer = train([
        *training_runs.paths(sources, tmp_path / "out"), "--data_path", str(tmp_path / "instruct.json"), mix,
        "--image_folder", str(images), "--group_by_modality_length", "True", "--per_device_train_batch_size", "3",
        "--max_steps", "8", "--learning_rate", "1e-2", "--use_cpu", "True", "--bf16", "True", "--report_to", "none",
        "--logging_steps", "1", "--save_strategy", "no",
    ])  # fmt: skip
    assert len(trainer.train_dataset) == 8
    losses = [step["loss"] for step in trainer.state.log_history if "loss" in step]
    assert losses[-1] < 0.9 * losses[0]
    pieces, model, _ = load_pretrained(tmp_path / "out", device="cpu")
    model.get_vision_tower().load_model()
    model.float()
    fields = {key: value for key, value in model.config.to_dict().items() if key not in ("model_type", "architectures")}
    stock = LlavaLlamaForCausalLM(LlavaConfig(**fields)).eval()
    stock.get_vision_tower().load_model()
    missing = stock.load_state_dict(model.state_dict(), strict=False)
    assert not missing.unexpected_keys and not [name for name in missing.missing_keys if "position_ids" not in name]
    picture = Image.open(next(images.glob("coco/*.png"))).convert("RGB")
    pixels = process_images([picture], model.get_vision_tower().image_processor, model.config)
    ids = tokenizer_image_token("USER: <image>\nA woman? ASSISTANT:", pieces, return_tensors="pt")[None]
    made = [one.generate(ids, images=pixels, do_sample=False, max_new_tokens=12)[0] for one in (model, stock)]
    answers = [pieces.decode(new, skip_special_tokens=True) for new in made]  # stock's may begin with <s>
    assert answers[0] == answers[1] and len(set(made[0].tolist())) > 1
    with torch.no_grad():
        assert torch.equal(*(one(ids, images=pixels).logits for one in (model, stock)))


def test_images_that_cannot_be_had_are_named(images, tmp_path):
    model = video_model()
    made = image_mix.entries()
    made[0]["image"] = "coco/none.png"
    file = image_mix.write(tmp_path / "mix.json", made)
    with pytest.raises(ValueError, match="entry 1: no image 'coco/none.png' in "):
        our_data(model, images, tmp_path, file)
    with pytest.raises(ValueError, match="entry v_1: no --feature_folder and no --video_folder came"):
        our_data(model, images, tmp_path, image_mix.write(tmp_path / "videos.json", [an_entry()]))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    entry = {"id": "x", "image": "a.png", "conversations": [human("<image>\nhi"), gpt("A.")]}
    dataset = our_data(model, tmp_path / "broken", tmp_path, image_mix.write(tmp_path / "b.json", [entry]))
    with pytest.raises(ValueError, match=r"entry x: .*broken/a\.png: cannot be read as an image"):
        dataset["train_dataset"][0]
    model.config.frame_feature = "clip_embedding"
    with pytest.raises(ValueError, match="frames are 'clip_embedding' reads no still images"):
        our_data(model, images, tmp_path, file)
