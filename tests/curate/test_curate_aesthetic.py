"""The aesthetic score: heads of the public layouts, with small random weights, on the CLIP of the shapes world."""

from __future__ import annotations

import dataclasses
import hashlib
import pickle
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from llava_v2xum.core.endpoint.outcomes import Stop
from llava_v2xum.curate.stages import aesthetic
from llava_v2xum.curate.stages.aesthetic import AestheticOptions, AestheticScorer, read_head
from llava_v2xum.curate.stages.select import SelectStage
from llava_v2xum.curate.store.stage import Rejected, Source, fingerprints
from llava_v2xum.evaluate.models.clip_models import load_clip
from llava_v2xum.shapes import CLIP_FOLDER, make_clip, write_clip


def work(path: Path, stage: SelectStage) -> dict:
    return stage.work(Source(path.stem, path), {}, ledger=None)


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """40 frames of the shapes world."""
    short = dataclasses.replace(make_clip(31, 0), total_frames=40, events=())
    return write_clip(short, tmp_path_factory.mktemp("clips") / "a.mp4")


def save_head(path: Path, widths: list[int], places: tuple[int, ...], seed: int = 1) -> list[torch.nn.Linear]:
    torch.manual_seed(seed)
    layers = [torch.nn.Linear(wide, narrow) for wide, narrow in pairwise(widths)]
    layers[0].weight.data *= 10
    names = [f"layers.{place}." for place in places] if places else [""]
    torch.save({name + key: value for name, one in zip(names, layers) for key, value in one.state_dict().items()}, path)
    return layers


@pytest.fixture(scope="module")
def width() -> int:
    return load_clip(CLIP_FOLDER, device="cpu").embed_frames(np.zeros((1, 8, 8, 3), dtype=np.uint8)).shape[1]


@pytest.mark.parametrize("places", [(), aesthetic.MLP_LAYERS], ids=["linear", "mlp"])
def test_scores_are_those_of_the_heads_layers_on_unit_vectors(tmp_path, width, places):
    layers = save_head(tmp_path / "head.pth", [width, 9, 8, 7, 6, 1] if places else [width, 1], places)
    scorer = AestheticScorer(AestheticOptions(str(tmp_path / "head.pth"), str(CLIP_FOLDER), 0, device="cpu"))
    frames = np.random.default_rng(2).integers(0, [[[[256]]], [[[90]]], [[[20]]]], (3, 40, 30, 3), dtype=np.uint8)
    rows = torch.from_numpy(load_clip(CLIP_FOLDER, device="cpu").embed_frames(frames))
    np.testing.assert_allclose(rows.norm(dim=1), 1, atol=1e-5)
    with torch.no_grad():
        expected = torch.nn.Sequential(*layers)(rows)
    score = pickle.loads(pickle.dumps(scorer)).score(frames)
    assert score == pytest.approx(float(expected.mean()), abs=2e-4) and score == round(score, 4)
    assert expected.std() > 1e-3  # or any mean would do


def test_the_threshold_and_the_settings(tmp_path, clip, width):
    save_head(tmp_path / "head.pth", [width, 1], ())
    options = AestheticOptions(str(tmp_path / "head.pth"), str(CLIP_FOLDER), -100, frames=3, device="cpu")
    stage = SelectStage(1, aesthetic=options)
    found = work(clip, stage)
    assert isinstance(found["aesthetic"], float)
    assert {**found, "aesthetic": None} == work(clip, SelectStage(1))  # frames of their own: the signature stays
    strict = SelectStage(1, aesthetic=dataclasses.replace(options, threshold=100))
    with pytest.raises(Rejected, match=f"^score {found['aesthetic']:.2f}, at least 100 is wanted$") as error:
        work(clip, strict)
    assert error.value.kind == "aesthetic"
    assert str(tmp_path) not in str(stage.settings()) and str(CLIP_FOLDER) not in str(stage.settings())
    (tmp_path / "moved").mkdir()
    moved = (tmp_path / "head.pth").rename(tmp_path / "moved" / "other.pth")
    elsewhere = dataclasses.replace(options, predictor=str(moved))
    assert SelectStage(1, aesthetic=elsewhere).settings() == stage.settings()
    save_head(moved, [width, 1], (), seed=2)
    fewer = dataclasses.replace(elsewhere, frames=4)
    stages = [SelectStage(1), stage, strict, SelectStage(1, aesthetic=elsewhere), SelectStage(1, aesthetic=fewer)]
    stages += [SelectStage(2), SelectStage(1, 9), SelectStage(1, duplicates=False)]
    assert len({fingerprints([one])[0] for one in stages}) == len(stages)


def test_a_head_of_another_width_ends_the_run(tmp_path, clip, width):
    save_head(tmp_path / "head.pth", [768, 1], ())
    options = AestheticOptions(str(tmp_path / "head.pth"), str(CLIP_FOLDER), 0, device="cpu")
    with pytest.raises(Stop, match=f"head on CLIP embeddings of width 768, and those of .* are {width} wide"):
        work(clip, SelectStage(1, aesthetic=options))


def test_other_files_are_no_heads(tmp_path):
    relu = (0, 3, 6, 9, 11)  # the public variant with activations
    for widths, places, word in [
        ([768, 1024, 128, 64, 16, 1], relu, "without activations"),
        ([12, 1, 3], (0, 2), "expected LAION's linear head"),
        ([12, 2], (), "one score, got 2"),
    ]:
        save_head(tmp_path / "head.pth", widths, places)
        with pytest.raises(ValueError, match=f"head.pth: .*{word}"):
            read_head(tmp_path / "head.pth")
    torch.save({"weight": torch.ones(1, 4), "bias": torch.ones(3)}, tmp_path / "head.pth")
    with pytest.raises(ValueError, match="layers do not fit"):
        read_head(tmp_path / "head.pth")
    torch.save({"weight": torch.ones(1, 4) * torch.nan, "bias": torch.ones(1)}, tmp_path / "head.pth")
    with pytest.raises(ValueError, match="not finite"):
        read_head(tmp_path / "head.pth")
    (tmp_path / "head.pth").write_bytes(b"no tensors")
    with pytest.raises(ValueError, match="head.pth"):
        read_head(tmp_path / "head.pth")
    with pytest.raises(FileNotFoundError, match="none.pth: no such file; .* laion-v1, laion-v2"):
        AestheticScorer(AestheticOptions(str(tmp_path / "none.pth"), str(CLIP_FOLDER), 0))


def test_a_public_head_is_fetched_once_and_checked(tmp_path, monkeypatch, width):
    save_head(tmp_path / "there.pth", [width, 1], ())
    digest = hashlib.sha256((tmp_path / "there.pth").read_bytes()).hexdigest()
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setitem(aesthetic.PUBLIC, "laion-v1", ((tmp_path / "there.pth").as_uri(), digest))
    options = AestheticOptions("laion-v1", str(CLIP_FOLDER), 0, device="cpu")
    assert AestheticScorer(options).settings()["predictor"] == "laion-v1"
    (tmp_path / "there.pth").unlink()
    assert AestheticScorer(options).settings()["predictor_sha256"] == digest
    cached = tmp_path / "hub" / "checkpoints" / "laion-v1.pth"
    cached.write_bytes(b"other")
    with pytest.raises(ConnectionError, match="laion-v1: cannot be fetched from file:.* name the file"):
        AestheticScorer(options)
    cached.rename(tmp_path / "there.pth")
    with pytest.raises(ConnectionError, match="invalid hash"):
        AestheticScorer(options)


def test_clips_by_name_and_tag():
    clip = aesthetic._load_clip("ViT-L-14/openai", "cpu")
    assert type(clip).__name__ == "OpenClip" and clip.name == "ViT-L-14 openai"
    assert type(aesthetic._load_clip("openai/clip-vit-large-patch14", "cpu")).__name__ == "TransformersClip"
