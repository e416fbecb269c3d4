"""Entries as three data sets publish them, and the command that converts them, for the tests of `convert`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from llava_v2xum.annotations import Annotation, read_annotations
from llava_v2xum.convert.__main__ import main


class Converted(NamedTuple):
    """What a run of the command gave; None for a file that it did not write."""

    status: int
    annotations: list[Annotation] | None
    entries: list[dict] | None
    report: dict | None
    err: str


def converter(folder: Path, capsys):
    """A function that runs the command: `convert(format, content of the source file, *arguments)`."""
    out = folder / "out"

    def written(ending: str, read) -> Any:
        path = out / f"set{ending}"
        return read(path) if path.exists() else None

    def load(path: Path) -> Any:
        return json.loads(path.read_text(encoding="utf-8"))

    def convert(name: str, content: Any, *arguments: str) -> Converted:
        source = folder / "in" / "set.json"
        source.parent.mkdir(exist_ok=True)
        source.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        status = main([name, str(source), "--out", str(out), *arguments])
        annotations = written(".annotations.jsonl", lambda path: list(read_annotations(path)))
        return Converted(
            status, annotations, written(".json", load), written(".report.json", load), capsys.readouterr().err
        )

    return convert


def videoxum(video_id="v_1", **changes) -> dict:
    """A VideoXum entry of two sentences, three annotators and four samples."""
    entry = {
        "video_id": video_id,
        "duration": 4.2,
        "sampled_frames": 4,
        "timestamps": [[0, 2.5], [2.1, 4.2]],
        "tsum": ["A man runs.", " He stops. "],
        "vsum": [[[0.5, 1.0]] * 3, [[2.5, 3.0], [2.5, 3.5], [3.0, 4.0]]],
        "vsum_onehot": [[1, 0, 1, 0], [1, 0, 1, 1], [1, 0, 0, 1]],
    }
    return {**entry, **changes}


def instruct(answer="\n[<f0>]A man runs.\n[<f1>]He stops.\n", task="BOTH video and text", video_id="a", **changes):
    """An Instruct-V2Xum entry of one round."""
    entry = {
        "id": video_id,
        "meta": {"duration": 20.0, "sampled_frames": 20, "token": {"<f0>": 0.0, "<f1>": 5, "<f2>": 20.0}},
        "conversations": [
            {"from": "human", "value": f"<video>\nPlease generate {task} summarization for this video."},
            {"from": "gpt", "value": answer},
        ],
        "vsum_onehot": [1, 0, 0, 0, 0, 1] + [0] * 14,
    }
    return {**entry, **changes}


def captions(**changes) -> dict:
    """An ActivityNet Captions entry."""
    entry = {"duration": 10.0, "timestamps": [[0, 4], [3.5, 10.0]], "sentences": ["A man runs.", " He stops."]}
    return {**entry, **changes}


def answers(entries) -> list[tuple[str, str]]:
    """The entries' ids and answers."""
    return [(entry["id"], entry["conversations"][1]["value"]) for entry in entries]


def reasons(report) -> list[tuple]:
    """What the report says of every rejected item: its id, place and reason."""
    return [(item["id"], item["item"], item["reason"]) for item in report["rejected"]]
