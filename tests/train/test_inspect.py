"""What a person runs before spending GPUs: samples as they are learnt, faults by kind, and the plan."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import training_runs

from llava_v2xum.train.inspect_command import main

pytestmark = pytest.mark.pinned

CLIP = Path(__file__).resolve().parents[2] / "llava_v2xum" / "shapes" / "clips" / "demo.mp4"


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Path:
    """Eight entries, and more: a damaged video's, one that cites what is not there, two that say the same."""
    folder = training_runs.write_sources(tmp_path_factory.mktemp("sources"))
    entries = json.loads((folder / "instruct.json").read_text())
    np.save(folder / "features" / "v_nan.npy", np.full_like(np.load(folder / "features" / "v_0.npy"), np.nan))
    wrong = json.loads(json.dumps(entries[1]))
    wrong["conversations"][1]["value"] = "A woman [77]."
    entries += [{**entries[0], "id": "v_nan"}, wrong, entries[2]]
    (folder / "more.json").write_text(json.dumps(entries))
    return folder


def flags(sources: Path) -> list[str]:
    return [
        "--model_name_or_path", str(sources / "base"), "--vision_tower", str(sources / "tower"),
        "--num_frames", str(training_runs.FRAMES), "--bf16", "True", "--use_cpu", "True",
    ]  # fmt: skip


def test_a_set_is_looked_at_from_features(sources, tmp_path, capsys):
    asked = [str(sources / "more.json"), *flags(sources), "--feature_folder", str(sources / "features")]
    assert main([*asked, "--out", str(tmp_path), "--gradient_accumulation_steps", "1"]) == 0
    told = capsys.readouterr().out
    assert told.split("\nwritten: ")[0].rstrip() == (tmp_path / "inspection" / "report.txt").read_text().rstrip()
    marked = re.findall(r"ASSISTANT:«([^«»]*)»$", told, re.MULTILINE)
    learned = {one.removesuffix("</s>").strip() for one in marked}
    assert len(marked) == 3 and learned <= set(training_runs.ANSWERS.values())
    assert "USER: <video: 10 frames>\n Please generate BOTH" in told
    row = next(line for line in told.splitlines() if line.startswith("BOTH "))
    cited = [len(re.findall(r"\d+", answer)) for answer in training_runs.ANSWERS.values()]
    shares = [len(set(re.findall(r"\d+", answer))) / 10 for answer in training_runs.ANSWERS.values()]
    nine = [*cited, cited[2]], [*shares, shares[2]]  # one of them twice
    assert row.split()[1] == "9" and row.split()[-2:] == [f"{np.mean(nine[0]):.1f}", f"{np.mean(nine[1]):.1%}"]
    assert "2 left out" in told and "damaged video: 1; the first: more.json, place 8, id v_nan" in told
    assert "outside: 1; the first: more.json, place 9, id v_1, BOTH: turn 1: index 77" in told
    assert "TRAINING WOULD NOT BEGIN: that is more than --max_rejected 1%" in told and "duplicate: 1" in told
    assert "9 samples an epoch, 8 a step (8 x 1 x 1 cards): 2 steps an epoch, 10 in all (5 epochs)" in told
    assert re.search(r"by a measured pass of [\d.e-]+ s", told) and re.search(r"cards of 80 GB: 1 hold it", told)
    assert not any(tmp_path.glob("*.safetensors")) and not (tmp_path / "config.json").exists()


def test_the_page_has_the_frames_and_marks_what_is_learned(sources, tmp_path):
    pytest.importorskip("jinja2", reason="Jinja is not installed")
    from llava_v2xum.train.loop import train

    (tmp_path / "videos").mkdir()
    shutil.copyfile(CLIP, tmp_path / "videos" / "v_0.mp4")
    entry = json.loads((sources / "instruct.json").read_text())[0]
    entry["conversations"][1]["value"] = "A <b>woman</b> [00, 01]."
    (tmp_path / "one.json").write_text(json.dumps([entry]))
    words = ["--data_path", str(tmp_path / "one.json"), "--video_folder", str(tmp_path / "videos")]
    made = train([*flags(sources), *words, "--output_dir", str(tmp_path), "--dry_run", "True", "--pack", "True"])
    assert made is None
    page = (tmp_path / "inspection" / "page.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 2 and "<figcaption>01</figcaption>" in page
    assert "<mark>A &lt;b&gt;woman&lt;/b&gt; [00, 01].&lt;/s&gt;</mark>" in page and "<script" not in page


def test_a_slip_is_told_before_anything_is_loaded(sources, capsys):
    assert main([str(sources / "none.json"), *flags(sources), "--feature_folder", str(sources / "features")]) == 2
    assert "--data_path: no such file" in capsys.readouterr().err
