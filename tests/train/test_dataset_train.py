"""A training run from the videos themselves, by the command's flags: decoded in a worker, bad entries left out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import tiny
from instruct import FRAMES, a_text_entry, an_entry, write_json

import llava_v2xum.shapes

pytestmark = pytest.mark.pinned

DEMO_CLIP = Path(llava_v2xum.shapes.__file__).parent / "clips" / "demo.mp4"


@pytest.fixture
def flags(tmp_path) -> list[str]:
    """Of a run over two files, the second seen twice; one entry has no video."""
    (tmp_path / "videos").mkdir()
    shutil.copyfile(DEMO_CLIP, tmp_path / "videos" / "v_1.mp4")
    files = [write_json(tmp_path / "a.json", [an_entry(), an_entry(id="v_9")])]
    files.append(write_json(tmp_path / "b.json", [a_text_entry()]))
    return [
        "--model_name_or_path", str(tiny.write_base(tmp_path / "base")),
        "--vision_tower", str(tiny.write_tower(tmp_path / "tower")),
        "--data_path", *files, "--data_weights", "1", "2", "--video_folder", str(tmp_path / "videos"),
        "--output_dir", str(tmp_path / "out"), "--num_frames", str(FRAMES), "--num_train_epochs", "1",
        "--per_device_train_batch_size", "1", "--dataloader_num_workers", "1", "--group_by_modality_length", "True",
        "--logging_steps", "1", "--save_strategy", "no", "--report_to", "none", "--bf16", "True", "--tf32", "False",
        "--use_cpu", "True",
    ]  # fmt: skip


def test_a_run_from_videos(flags, tmp_path):
    from llava_v2xum.train.loop import train

    with pytest.raises(ValueError, match=r"1 of 3 entries \(33\.3%\) .* --max_rejected 1% .*missing video: 1"):
        train(flags)
    train([*flags, "--max_rejected", "1"])
    rejected = [json.loads(line) for line in (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()]
    assert [(found["id"], found["kind"]) for found in rejected] == [("v_9", "missing video")]
    state = json.loads((tmp_path / "out" / "trainer_state.json").read_text())
    assert state["max_steps"] == 3  # the video once, the text twice
    assert all(0 < step["loss"] < 20 for step in state["log_history"] if "loss" in step)


def test_strict_stops_before_the_first_step(flags, tmp_path):
    from llava_v2xum.train.loop import train

    with pytest.raises(ValueError, match=r"a\.json: entry v_9: no video of 'v_9' in .* \(--strict\)"):
        train([*flags, "--strict", "True"])
    assert not (tmp_path / "out" / "trainer_state.json").exists()
