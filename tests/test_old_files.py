"""What releases of 0.1 wrote before the package was laid out in rooms is read: old_files/ was written by one of them.

The demo checkpoint is such a file too (it has not been written again), and test_names_that_stay.py has the pickles.
"""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from llava_v2xum.core.clock import FrameTimes
from llava_v2xum.core.endpoint.store import Store
from llava_v2xum.curate.options import parse_arguments
from llava_v2xum.curate.stages.registry import stages_of
from llava_v2xum.curate.store.stage import fingerprints
from llava_v2xum.evaluate.formats.prediction_files import load_predictions
from llava_v2xum.features.command import run_command
from llava_v2xum.features.options import parse_arguments as parse_features
from llava_v2xum.features.settings import encoder_of_checkpoint
from llava_v2xum.features.sources import file_source
from llava_v2xum.features.store import FeatureFolder
from llava_v2xum.infer.drafting.ngrams import NgramTable
from llava_v2xum.infer.drafting.sources import load_tokenizer, timeline_of
from llava_v2xum.infer.results import Asked, ResultFolder
from llava_v2xum.media.video import read_video
from llava_v2xum.shapes import DEMO_CHECKPOINT as CHECKPOINT

DEMO_CLIP = CHECKPOINT.parent / "clips" / "demo.mp4"
OLD = Path(__file__).with_name("old_files")


@pytest.fixture
def old(tmp_path) -> Path:
    """A copy, because reading may write beside what it reads."""
    return Path(shutil.copytree(OLD, tmp_path / "old"))


def test_a_feature_store(old):
    encoder = encoder_of_checkpoint(CHECKPOINT)
    before = (old / "features" / "features.json").read_bytes()
    folder = FeatureFolder(old / "features", encoder.description)
    features = folder.load("demo", (100, 128), file_source(DEMO_CLIP))
    assert np.array_equal(features, np.load(OLD / "features" / "demo.npy"))
    assert (old / "features" / "features.json").read_bytes() == before
    assert folder.sources.times("demo") is None


def test_seconds_of_frames_are_added_to_a_feature_store(old):
    """By the command's next run, from the packets alone: what was stored stays as it was."""
    arguments = [DEMO_CLIP, "--model-path", CHECKPOINT, "--out", old / "features", "--workers", 0]
    assert run_command(parse_features([str(argument) for argument in arguments])) == 0
    encoder = encoder_of_checkpoint(CHECKPOINT)
    folder, video = FeatureFolder(old / "features", encoder.description), read_video(DEMO_CLIP)
    assert folder.sources.times("demo") == FrameTimes(tuple(video.frame_seconds.round(6).tolist()), 28.2)
    assert folder.sources.get("demo")["total_frames"] == video.total_frames
    assert (old / "features" / "demo.npy").read_bytes() == (OLD / "features" / "demo.npy").read_bytes()


def test_summaries_are_gone_on_with_and_scored(old):
    folder = ResultFolder(old / "summaries")
    assert folder.is_done(Path("clips/demo.mp4"), Asked("both", "llava_v2xum shapes demo"), ())
    (prediction,) = load_predictions(old / "summaries" / "summaries.jsonl").values()
    assert prediction.video_id == "demo" and len(prediction.sentences) == 5 and len(prediction.importance) == 100


def test_a_table_of_drafts(old):
    table = NgramTable.load(old / "drafts.json", load_tokenizer(CHECKPOINT), timeline_of(CHECKPOINT))
    assert len(table) > 0


def test_curated_work_is_not_done_again(old, tmp_path):
    asked = ["videos", "--out", str(tmp_path), "--captioner", "shapes", "--min-duration", "10", "--until", "extract"]
    stages = stages_of(parse_arguments(asked), budget=None)
    with closing(Store(old / "work.sqlite")) as store:
        for stage, fingerprint in zip(stages, fingerprints(stages), strict=True):
            assert store.last_run(stage.name)[0] == fingerprint, stage.name
            assert len(store.items(stage.name, fingerprint)) == 3
