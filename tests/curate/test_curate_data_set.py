"""Files that the whole command wrote go on: into splits without copies across them, training and evaluation."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest
from curate_world import encoded_again, short_clip

from llava_v2xum.core.annotations import read_annotations
from llava_v2xum.curate.__main__ import DONE, main
from llava_v2xum.curate.validate import check_files
from llava_v2xum.data.convert.command import main as convert
from llava_v2xum.shapes import write_clip

pytest.importorskip("sklearn")
pytest.importorskip("imagehash")
pytest.importorskip("bert_score")

NAMES = ("train", "val", "test")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, list[str]]:
    """A folder made of short clips, each there again at half the size, and the arguments that it was made with."""
    folder = tmp_path_factory.mktemp("clips")
    for index in range(3):
        clip = write_clip(short_clip(index), folder / f"c{index}.mp4")
        encoded_again(clip, folder / f"again{index}.mp4", scale=0.5)
    out = folder / "out"
    arguments = [str(folder), "--out", str(out), "--min-duration", "1", "--keep-duplicates", "--splits", "1:1:1",
                 "--captioner", "shapes", "--caption-tokens", "24", "--bertscore-model", "shapes", "--device", "cpu",
                 "--fraction", "0.4", "--preview", "1", "--quiet"]  # fmt: skip
    assert main(arguments) == DONE
    return out, arguments


def test_copies_that_are_kept_are_in_one_split(made):
    out, arguments = made
    for seed in "0123":
        assert main([*arguments, "--seed", seed]) == DONE
        files = {name: json.loads((out / f"{name}.json").read_text(encoding="utf-8")) for name in NAMES}
        split_of = {entry["id"]: name for name, entries in files.items() for entry in entries}
        assert len(split_of) == 6 and set(split_of.values()) == set(NAMES)
        assert all(split_of[f"c{index}"] == split_of[f"again{index}"] for index in range(3))


def test_a_model_learns_from_the_files(made, tmp_path):
    import instruct
    import torch
    import weights

    from llava_v2xum.data.dataset import VideoCollator, VideoDataset
    from llava_v2xum.data.mixing import load_entries

    out, _ = made
    paths = [str(out / f"{name}.json") for name in NAMES]
    assert not [problem for checked in check_files(paths) for problem in checked.problems]
    ids = [f"{kind}{index}" for kind in ("c", "again") for index in range(3)]
    source = instruct.source_of(instruct.feature_folder(tmp_path / "features", *ids))
    checker = instruct.checker_of(source)
    data = VideoDataset(load_entries(paths, checker, strict=True), checker.tokenizer, source, instruct.FRAMES)
    assert len(data) == 18
    model = weights.video_model(instruct.FRAMES).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    batch = VideoCollator(0)([data[place] for place in random.Random(0).sample(range(18), 6)])
    losses = []
    for _ in range(4):
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert all(map(math.isfinite, losses)) and losses[-1] < losses[0]


def test_the_files_are_references_for_evaluation(made, tmp_path):
    """Who answers as a made file does is right, for the evaluation and for the converter."""
    pytest.importorskip("matplotlib")
    from llava_v2xum.evaluate.__main__ import main as evaluate

    test = made[0] / "test.json"
    assert convert(["instruct-v2xum", str(test), "--out", str(tmp_path)]) == 0
    selections = {one.video_id: one.selections for one in read_annotations(tmp_path / "test.annotations.jsonl")}
    answers = tmp_path / "answers.jsonl"
    with open(answers, "w", encoding="utf-8") as file:
        for entry in json.loads(test.read_text(encoding="utf-8")):
            assert selections[entry["id"]] == (tuple(entry["vsum_onehot"]),)
            if "VIDEO" in entry["conversations"][0]["value"]:
                times = [second / entry["meta"]["duration"] for second in entry["meta"]["token"].values()]
                answer = f"[{', '.join(f'{min(round(100 * time), 99):02d}' for time in times)}]"
                file.write(json.dumps({"video_id": entry["id"], "task": "video", "answer": answer}) + "\n")
    arguments = ["--predictions", str(answers), "--annotations", str(test), "--out", str(tmp_path / "report")]
    assert evaluate(["instruct-v2xum", *arguments, "--resamples", "0", "--seeds", "2"]) == 0
    rows = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))["rows"]
    assert len(selections) == 2 and rows["system"]["f1"]["value"] == 1 > rows["uniform"]["f1"]["value"]
