"""CLIP models of each kind, with tiny random weights of the real layouts: what is loaded, and that no text is cut."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny_layouts
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llava_v2xum.evaluate.models.clip_base import split_text
from llava_v2xum.evaluate.models.clip_models import OpenaiClip, OpenClip, TransformersClip, load_clip

TOKENIZER = Path(__file__).resolve().parents[2] / "llava_v2xum" / "shapes" / "clip"
SIDE, WIDTH = 28, 24
LONG = "A man walks along the road and sings. " * 12 + "Then he stops."
SIZES = {
    "embed_dim": WIDTH,
    "vision_cfg": {"layers": 1, "width": 64, "patch_size": 7, "image_size": SIDE, "head_width": 64},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1},
}


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (3, 40, 60, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A transformers CLIP of random weights with the tokenizer of the shapes world."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    path = tmp_path_factory.mktemp("clip") / "tiny"
    words = json.loads((TOKENIZER / "vocab.json").read_text(encoding="utf-8"))
    torch.manual_seed(1)
    config = CLIPConfig(
        vision_config=dict(hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
                           image_size=SIDE, patch_size=7),
        text_config=dict(vocab_size=len(words), hidden_size=16, intermediate_size=32, num_hidden_layers=1,
                         num_attention_heads=2, max_position_embeddings=30, bos_token_id=len(words) - 2,
                         eos_token_id=len(words) - 1, pad_token_id=len(words) - 1),
        projection_dim=WIDTH,
    )  # fmt: skip
    CLIPModel(config).save_pretrained(path)
    size = {"height": SIDE, "width": SIDE}
    CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=size).save_pretrained(path)
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        shutil.copy(TOKENIZER / name, path)
    return path


@pytest.fixture(scope="module")
def openai_model():
    """open_clip's model of OpenAI's layout, with random weights, in half precision as theirs are."""
    import open_clip

    torch.manual_seed(2)
    return open_clip.CLIP(**SIZES, quick_gelu=True).half().float().eval()


def check_units(rows: np.ndarray, count: int) -> None:
    assert rows.shape == (count, WIDTH) and rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


def unit(rows: torch.Tensor) -> np.ndarray:
    return torch.nn.functional.normalize(rows.detach().float(), dim=-1).numpy()


@pytest.mark.pinned
def test_transformers_folder(folder, frames):
    from transformers import AutoTokenizer, CLIPImageProcessor, CLIPModel

    clip = load_clip(folder, batch_size=2)
    assert isinstance(clip, TransformersClip) and clip.name == str(folder)
    found = clip.embed_frames(frames)
    check_units(found, 3)
    model, processor = CLIPModel.from_pretrained(folder), CLIPImageProcessor.from_pretrained(folder)
    pixels = processor(images=list(frames), return_tensors="pt")["pixel_values"]
    expected = unit(model.visual_projection(model.vision_model(pixels).pooler_output))
    np.testing.assert_allclose(found, expected, atol=1e-5)

    texts = ["A red circle moves.", "A star.", "A blue square moves across the top."]
    found = clip.embed_texts(texts)
    check_units(found, 3)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for text, row in zip(texts, found):  # each alone: padding in a batch changes nothing
        pooled = model.text_model(**tokenizer([text], return_tensors="pt")).pooler_output
        np.testing.assert_allclose(row, unit(model.text_projection(pooled))[0], atol=1e-5)


@pytest.mark.pinned
def test_long_text_gives_a_vector_for_each_part(folder):
    clip = load_clip(folder)
    parts = clip.split(LONG)
    assert len(parts) > 1 and " ".join(parts) == LONG
    assert all(clip.split(part) == [part] for part in parts)
    rows = clip.embed_each_text(["A star.", LONG, "A circle."])
    assert [len(one) for one in rows] == [1, len(parts), 1]
    np.testing.assert_allclose(rows[1], clip.embed_texts(parts), atol=1e-5)
    np.testing.assert_allclose(np.concatenate(rows), clip.embed_texts(["A star.", LONG, "A circle."]), atol=1e-6)


@pytest.mark.pinned
def test_nothing_and_what_is_refused(folder):
    clip = load_clip(folder)
    assert clip.embed_texts([]).shape == (0, WIDTH) and clip.embed_each_text([]) == []
    assert clip.embed_frames(np.zeros((0, 8, 8, 3), np.uint8)).shape == (0, WIDTH)
    with pytest.raises(ValueError, match=r"expected frames uint8 \[K, H, W, 3\], got float64"):
        clip.embed_frames(np.zeros((1, 8, 8, 3)))
    with pytest.raises(ValueError, match=r"uint8 of shape \(8, 8, 3\)"):
        clip.embed_frames(np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match="expected a text to embed, got '  '"):
        clip.embed_texts(["A star.", "  "])


def changed(folder: Path, copy: Path, **tensors) -> Path:
    """A copy of a folder with other tensors; None leaves one out."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(folder, copy)
    state = {**load_file(copy / "model.safetensors"), **tensors}
    kept = {name: tensor for name, tensor in state.items() if tensor is not None}
    save_file(kept, copy / "model.safetensors", metadata={"format": "pt"})
    return copy


@pytest.mark.pinned
def test_incomplete_folders_are_refused(folder, tmp_path):
    lacks = changed(folder, tmp_path / "lacks", **{"text_projection.weight": None})
    with pytest.raises(ValueError, match="lacks: expected a CLIP with its towers and projections.*text_projection"):
        load_clip(lacks).embed_texts(["A star."])
    broken = changed(folder, tmp_path / "broken", **{"text_projection.weight": torch.full((WIDTH, 16), torch.nan)})
    with pytest.raises(ValueError, match="broken: the embeddings are not finite"):
        load_clip(broken).embed_texts(["A star."])
    shutil.copytree(folder, tmp_path / "wordless")
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / "wordless" / name).unlink()
    with pytest.raises(ValueError, match="wordless: expected a .*tokenizer"):
        load_clip(tmp_path / "wordless").embed_texts(["A star."])
    tiny_layouts.change_json(changed(folder, tmp_path / "siglip") / "config.json", model_type="siglip")
    with pytest.raises(ValueError, match="siglip: expected a CLIP .*'siglip', not 'clip'"):
        load_clip(tmp_path / "siglip").embed_texts(["A star."])


@pytest.mark.pinned
def test_digest_is_of_the_content(folder, tmp_path):
    assert load_clip(folder).digest == load_clip(shutil.copytree(folder, tmp_path / "copy")).digest
    other = changed(folder, tmp_path / "other", **{"text_projection.weight": torch.zeros(WIDTH, 16)})
    assert load_clip(other).digest != load_clip(folder).digest
    tiny_layouts.change_json(tmp_path / "copy" / "preprocessor_config.json", do_center_crop=False)
    assert load_clip(tmp_path / "copy").digest != load_clip(folder).digest


@pytest.mark.pinned
@pytest.mark.parametrize("form", ["archive", "state dict", "under model"])
def test_openai_file(openai_model, frames, tmp_path, monkeypatch, form):
    file = tmp_path / "ViT-tiny.pt"
    if form == "archive":
        monkeypatch.setattr(tiny_layouts, "make_clip", lambda: openai_model)
        tiny_layouts.write_clip(file)
    else:
        state = openai_model.state_dict()
        torch.save(state if form == "state dict" else {"model": state}, file)
    clip = load_clip(file)
    assert isinstance(clip, OpenaiClip)
    check_openai(clip, openai_model, frames)


def check_openai(clip, model, frames) -> None:
    """That a model embeds as this open_clip model does, with OpenAI's image processing and tokenizer."""
    import open_clip
    from PIL import Image

    transform = open_clip.image_transform(
        SIDE, is_train=False, mean=open_clip.OPENAI_DATASET_MEAN, std=open_clip.OPENAI_DATASET_STD
    )
    pixels = torch.stack([transform(Image.fromarray(frame)) for frame in frames])
    with torch.no_grad():
        np.testing.assert_allclose(clip.embed_frames(frames), unit(model.encode_image(pixels)), atol=1e-5)
        texts = ["A man walks.", "He sings in the rain."]
        expected = unit(model.encode_text(open_clip.tokenize(texts)))
    np.testing.assert_allclose(clip.embed_texts(texts), expected, atol=1e-5)
    parts = clip.split(LONG)
    assert len(parts) == 2 and " ".join(parts) == LONG  # 12 * 9 + 4 tokens
    check_units(clip.embed_texts([LONG]), 2)


@pytest.fixture(scope="module")
def open_clip_name(tmp_path_factory) -> str:
    """The name of an open_clip model with GELU, as most of its configurations are."""
    import open_clip

    name = "tiny-for-tests"
    file = tmp_path_factory.mktemp("configs") / f"{name}.json"
    file.write_text(json.dumps(SIZES))
    open_clip.add_model_config(file)
    return name


def test_open_clip_name_with_a_file(open_clip_name, frames, tmp_path):
    import open_clip

    torch.manual_seed(4)
    model = open_clip.CLIP(**SIZES).eval()
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    clip = load_clip(open_clip_name, tmp_path / "weights.pt", batch_size=2)
    assert isinstance(clip, OpenClip) and clip.name == f"{open_clip_name} {tmp_path / 'weights.pt'}"
    check_openai(clip, model, frames)


def test_open_clip_folder(frames, tmp_path):
    import open_clip
    from safetensors.torch import save_file

    torch.manual_seed(5)
    model = open_clip.CLIP(**SIZES).eval()
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": SIZES, "preprocess_cfg": {}}))
    save_file(model.state_dict(), tmp_path / "open_clip_model.safetensors")
    check_openai(load_clip(tmp_path), model, frames)


def test_a_tag_trained_with_quickgelu_gets_it(open_clip_name, openai_model, frames, tmp_path, monkeypatch):
    """open_clip itself gives its ViT-L-14 GELU with the weights tagged openai, and only warns."""
    import open_clip
    from open_clip import pretrained

    torch.save(openai_model.state_dict(), tmp_path / "weights.pt")
    cfg = {"file": str(tmp_path / "weights.pt"), "quick_gelu": True}
    monkeypatch.setitem(pretrained._PRETRAINED, open_clip_name, {"openai": cfg})
    monkeypatch.setattr(open_clip.factory, "download_pretrained", lambda cfg, cache_dir=None: cfg["file"])
    check_openai(load_clip(open_clip_name, "openai"), openai_model, frames)


def test_open_clip_errors(open_clip_name, openai_model, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="tiny-for-tests: no such file or folder; as an open_clip model it needs"):
        load_clip(open_clip_name)
    with pytest.raises(FileNotFoundError, match="gone.pt: no such file; expected the weights of tiny-for-tests"):
        load_clip(open_clip_name, tmp_path / "gone.pt")
    torch.save({"visual.proj": torch.zeros(2)}, tmp_path / "half.pt")
    with pytest.raises(ValueError, match="half.pt: expected a CLIP of open_clip, and it cannot be loaded"):
        load_clip(open_clip_name, tmp_path / "half.pt").embed_texts(["A star."])
    with pytest.raises(ValueError, match="no-such-model tag: expected a CLIP of open_clip"):
        load_clip("no-such-model", "tag").embed_texts(["A star."])
    monkeypatch.setattr(tiny_layouts, "make_clip", lambda: openai_model)
    tiny_layouts.write_clip(tmp_path / "archive.pt")
    with pytest.raises(ValueError, match="archive.pt: is OpenAI's own archive.* give the file in place of the name"):
        load_clip(open_clip_name, tmp_path / "archive.pt").embed_texts(["A star."])


def test_source_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file or folder; expected a CLIP"):
        load_clip(tmp_path / "gone")
    with pytest.raises(FileNotFoundError, match="ViT-L-14.pt: no such file"):
        load_clip("ViT-L-14.pt")
    with pytest.raises(ValueError, match="expected a CLIP's folder with config.json or open_clip_config.json"):
        load_clip(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"expected weights, \*.safetensors or \*.bin, found none"):
        load_clip(tmp_path)
    with pytest.raises(ValueError, match="brings its own weights; got further ones: openai"):
        load_clip(tmp_path, "openai")
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        load_clip("ORG/NAME", batch_size=0)
    (tmp_path / "notes.pt").write_text("no weights")
    with pytest.raises(ValueError, match="notes.pt: expected the weights of OpenAI's CLIP"):
        load_clip(tmp_path / "notes.pt").embed_texts(["A star."])


def short(limit: int):
    return lambda part: len(part) <= limit


def test_split_text_by_hand():
    assert split_text("one two", short(7)) == ["one two"]
    assert split_text("One. Two! Three? Four.", short(12)) == ["One. Two!", "Three? Four."]
    # a sentence too long by itself: the whole text is split between words
    assert split_text("One. Two three four five six.", short(12)) == ["One. Two", "three four", "five six."]
    assert split_text("aaaaaaaa", short(3)) == ["aa", "aaa", "aaa"]
    assert split_text("a ", short(1)) == ["a"]  # one part, without the blank that did not fit
    with pytest.raises(ValueError, match="no part of the text fits into the model's context: 'ab'"):
        split_text("ab", lambda part: False)


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="ab .!", min_size=1, max_size=60).filter(str.strip), st.integers(1, 20))
def test_split_text_keeps_every_letter(text, limit):
    parts = split_text(text, short(limit))
    assert all(len(part) <= limit for part in parts)
    assert "".join("".join(parts).split()) == "".join(text.split())
