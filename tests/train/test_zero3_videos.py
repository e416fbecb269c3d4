"""ZeRO-3: processes whose batches differ in their videos and images still gather the tower's weights together."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import image_mix
import numpy as np
import pytest
import tiny
import training_runs
from instruct import FRAMES, a_text_entry, an_entry, write_json

import llava_v2xum.shapes

pytest.importorskip("deepspeed", reason="DeepSpeed is not installed")

ZERO3 = Path(__file__).resolve().parents[2] / "scripts" / "zero3.json"
DEMO_CLIP = Path(llava_v2xum.shapes.__file__).parent / "clips" / "demo.mp4"


def test_batches_of_text_videos_and_images_side_by_side(tmp_path):
    """Rows of one sample: in some steps one process has a video or an image to encode and the other has none.

    In bf16, with a projector that is new: it is built in float32 behind a decoder that is not.
    """
    (tmp_path / "videos").mkdir()
    shutil.copyfile(DEMO_CLIP, tmp_path / "videos" / "v_1.mp4")
    settings = json.loads(ZERO3.read_text())
    # so that even tiny weights are partitioned, as those of a real tower are
    settings["zero_optimization"].update(stage3_param_persistence_threshold=0, stage3_prefetch_bucket_size=0)
    (tmp_path / "zero3.json").write_text(json.dumps(settings))
    entries = [an_entry(), a_text_entry(), an_entry(), *image_mix.entries()[:2], image_mix.entries()[3]]
    arguments = [
        "--model_name_or_path", str(tiny.write_base(tmp_path / "base")),
        "--vision_tower", str(tiny.write_tower(tmp_path / "tower")),
        "--data_path", write_json(tmp_path / "data.json", entries), "--video_folder", str(tmp_path / "videos"),
        "--image_folder", str(image_mix.write_images(tmp_path / "images")),
        "--output_dir", str(tmp_path / "out"), "--num_frames", str(FRAMES), "--deepspeed", str(tmp_path / "zero3.json"),
        "--per_device_train_batch_size", "1", "--num_train_epochs", "2", "--learning_rate", "1e-2", "--report_to",
        "none", "--use_cpu", "True", "--bf16", "True", "--logging_steps", "1", "--save_strategy", "no", "--seed", "5",
    ]  # fmt: skip
    done = training_runs.start(
        tmp_path / "plan", [{"arguments": arguments, "losses": str(tmp_path / "losses.jsonl")}], processes=2
    )
    assert done.returncode == 0, training_runs.what_went_wrong(done)
    losses = training_runs.losses_of(tmp_path / "losses.jsonl")
    assert losses.keys() == set(range(6)) and np.isfinite(list(losses.values())).all()
