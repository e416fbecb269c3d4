"""Entries of instruction JSON, as the tests of the data set write them."""

from __future__ import annotations

import json
from pathlib import Path

import weights

from llava_v2xum.core.tasks import INSTRUCTIONS
from llava_v2xum.core.timeline import Timeline
from llava_v2xum.data.dataset import VideoDataset
from llava_v2xum.data.entries import EntryChecker
from llava_v2xum.data.frame_sources import FrameSource, StoredFeatures
from llava_v2xum.data.mixing import load_entries
from llava_v2xum.features import FeatureFolder
from llava_v2xum.model.tokens import PieceCache

CHANNELS, FRAMES = weights.CHANNELS, 10
FRAME_POSITIONS = 5  # k + m: `[00]` is four tokens, a frame one


def human(value: str) -> dict:
    return {"from": "human", "value": value}


def gpt(value: str) -> dict:
    return {"from": "gpt", "value": value}


def an_entry(**changes) -> dict:
    """Instruct-V2Xum's own form; the seconds become the indexes 0, 5 and 9 of ten."""
    entry = {
        "id": "v_1",
        "meta": {"duration": 20.0, "sampled_frames": 20, "token": {"<f0>": 0.0, "<f1>": 9.2, "<f2>": 20.0}},
        "conversations": [
            human("<video>\n" + INSTRUCTIONS["both"]),
            gpt("\n[<f0>]A woman brushes her hair.\n[<f1>][<f2>]A man runs."),
        ],
        "vsum_onehot": [1] + [0] * 8 + [1] + [0] * 9 + [1],
    }
    return {**entry, **changes}


def a_text_entry(**changes) -> dict:
    return {"id": "t", "conversations": [human("Please."), gpt("A man.")], **changes}


def feature_folder(path: Path, *ids: str) -> FeatureFolder:
    """Features that a video's id alone decides."""
    folder = FeatureFolder(path, {"tower": "tiny"})
    for name in ids:
        folder.save(name, weights.numbers(FRAMES, CHANNELS, name=name).numpy())
    return folder


def source_of(folder: FeatureFolder) -> StoredFeatures:
    return StoredFeatures(folder, (FRAMES, CHANNELS))


def write_json(file: Path, entries: object) -> str:
    file.write_text(json.dumps(entries))
    return str(file)


def checker_of(source: FrameSource, tokenizer=None, max_length: int = 2048, frames: int = FRAMES) -> EntryChecker:
    pieces = PieceCache(tokenizer or weights.tokenizer())
    return EntryChecker(pieces, max_length, Timeline(frames), FRAME_POSITIONS, source)


def dataset_of(entries: list[dict], source: FrameSource, tmp_path: Path, **settings) -> VideoDataset:
    """The data set of one file of entries, all of which must be good."""
    checker = checker_of(source, **settings)
    checked = load_entries([write_json(tmp_path / "instruct.json", entries)], checker, strict=True)
    return VideoDataset(checked, checker.tokenizer, source, checker.timeline.num_frames)
