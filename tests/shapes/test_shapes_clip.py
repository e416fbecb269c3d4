"""The CLIP of the shapes world that ships with the package: small, readable everywhere, and able to tell shapes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from llava_v2xum.evaluate.models.clip_models import load_clip
from llava_v2xum.shapes import COLORS, PLACES, SHAPES, draw_frames, make_clip, sentence_of

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "llava_v2xum" / "shapes" / "clip"
SENTENCES = [sentence_of(s, c, p) for s in SHAPES for c in COLORS for p in PLACES]
UNSEEN_SERIES = 70  # no script's


@pytest.fixture(scope="module")
def clip():
    return load_clip(FOLDER, device="cpu")


@pytest.fixture(scope="module")
def events() -> list[tuple[np.ndarray, str]]:
    """A frame in the middle of every event of some clips [H, W, 3], and its sentence."""
    found = []
    for index in range(8):
        made = make_clip(UNSEEN_SERIES, index)
        frames = draw_frames(made, [(event.start_frame + event.end_frame) // 2 for event in made.events])
        found += zip(frames, [event.sentence for event in made.events])
    return found


@pytest.mark.pinned
def test_frames_find_their_sentences(clip, events):
    texts = clip.embed_texts(SENTENCES)
    frames = np.concatenate([clip.embed_frames(frame[None]) for frame, _ in events])
    cosines = frames @ texts.T
    right = np.array([SENTENCES.index(sentence) for _, sentence in events])
    hits = cosines.argmax(axis=1) == right
    assert len(hits) > 15
    assert hits.mean() > 0.9, f"{hits.sum()} of {len(hits)}; by chance 1 in {len(SENTENCES)}"
    own = cosines[np.arange(len(right)), right]
    assert own.mean() - cosines.mean() > 0.5


@pytest.mark.pinned
def test_a_text_of_several_sentences_is_near_its_frames(clip, events):
    """What VT-CLIPScore asks: the mean of a summary's frames against the whole text."""
    groups = [events[start : start + 3] for start in range(0, len(events) - 2, 3)]
    texts = clip.embed_texts([" ".join(sentence for _, sentence in group) for group in groups])
    assert len(texts) == len(groups), "a text of three sentences must fit the context"
    frames = [np.mean([clip.embed_frames(frame[None])[0] for frame, _ in group], axis=0) for group in groups]
    cosines = np.stack([frame / np.linalg.norm(frame) for frame in frames]) @ texts.T
    assert (cosines.argmax(axis=1) == np.arange(len(groups))).mean() > 0.9


@pytest.mark.pinned
def test_any_text_has_tokens(clip):
    for text in ("Ein größeres Dreieck?", "日本", "a\tb", "🙂", "x" * 300):
        assert np.isfinite(clip.embed_texts([text])).all()


def test_files_are_small_and_name_no_machine():
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 2e6
    for file in FOLDER.glob("*.json"):
        assert "/" not in json.dumps(json.loads(file.read_text(encoding="utf-8")).get("_name_or_path", ""))
    assert "checkpoint" not in (FOLDER / "config.json").read_text()


def test_the_script_makes_this_tokenizer(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts" / "shapes"))
    import train_shapes_clip

    train_shapes_clip.write_tokenizer(tmp_path)
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        assert (tmp_path / name).read_text(encoding="utf-8") == (FOLDER / name).read_text(encoding="utf-8"), name


def test_a_short_training_learns(tmp_path, monkeypatch, caplog):
    """The whole script in small: it writes a folder that loads, and from one seed always the same."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts" / "shapes"))
    import train_shapes_clip

    caplog.set_level("INFO")
    flags = ["--clips", "2", "--steps", "2", "--held-out", "1", "--seed", "3"]
    for name in ("one", "two"):
        monkeypatch.setattr(sys, "argv", ["train_shapes_clip.py", "--out", str(tmp_path / name), *flags])
        train_shapes_clip.main(train_shapes_clip.parse_arguments())
    assert load_clip(tmp_path / "one").digest == load_clip(tmp_path / "two").digest
    assert load_clip(tmp_path / "one", device="cpu").embed_texts(["A red star."]).shape == (1, 128)
    assert "have the right sentence as the nearest of 73" in caplog.text
    assert sorted(file.name for file in tmp_path.iterdir()) == ["one", "two"]
