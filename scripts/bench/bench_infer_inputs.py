"""What models of random weights are given: real answers, a tokenizer, a tower of LLaVA-1.5's shape."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bench_infer_settings import LARGE_TOWER

from llava_v2xum.core.answers import parse_answer
from llava_v2xum.core.tasks import TASKS
from llava_v2xum.shapes import answer_of


def real_answers(file: Path, count: int) -> tuple[list[tuple[str, ...]], list[str]]:
    """Answers to the three tasks for so many videos, and other answers to BOTH to learn from.

    Every other answer is given to a video; VIDEO and TEXT answers are its frames and its sentences.
    """
    given, others = [], []
    for line in file.read_text(encoding="utf-8").splitlines():
        answer = json.loads(line)["answer"]
        events = [(sentence.text, sentence.frames) for sentence in parse_answer(answer, 100, "both").sentences]
        if len(given) > len(others) or not all(frames for _, frames in events):
            others.append(answer)
        else:
            given.append(tuple(answer if task == "both" else answer_of(events, task) for task in TASKS))
    if len(given) < count:
        sys.exit(f"{file}: expected twice as many answers as videos, which are {count}, got {len(given) + len(others)}")
    return given[:count], others


def write_tower(folder: Path) -> Path:
    """A CLIP vision tower of LLaVA-1.5's shape with random weights."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    if not (folder / "config.json").exists():
        CLIPVisionModel(CLIPVisionConfig(**LARGE_TOWER)).save_pretrained(folder)
        write_processor(folder, LARGE_TOWER["image_size"])
    return folder


def write_processor(folder: Path, size: int) -> None:
    """A CLIP image processor for square pictures of that side."""
    from transformers import CLIPImageProcessor

    sizes = {"crop_size": {"height": size, "width": size}, "size": {"shortest_edge": size}}
    CLIPImageProcessor(**sizes).save_pretrained(folder)


def tokenizer_folder(given: Path, work: Path) -> Path:
    """A folder that holds the tokenizer alone."""
    if given.is_dir():
        return given
    folder = work / "tokenizer"
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.model").write_bytes(given.read_bytes())
    return folder
