"""LLaVA's own data, images and text alone, as its 665k mix has them, and LLaVA's own reading of it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from instruct import gpt, human

SIZES = {"coco/wide.png": (20, 57), "coco/tall.jpg": (41, 30), "gqa/square.png": (28, 28)}  # height and width


def write_images(folder: Path) -> Path:
    from PIL import Image

    rng = np.random.default_rng(9)
    for name, size in SIZES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(folder / name)
    return folder


def entries() -> list[dict]:
    """Where people put the placeholder, one round and two, and text alone."""
    wide, tall, square = SIZES
    return [
        {"id": "1", "image": wide, "conversations": [human("<image>\nA woman?"), gpt("A woman brushes her hair.")]},
        {"id": "2", "model": "", "conversations": [human("Please generate."), gpt("A man is seen running.")]},
        {"id": 3, "image": tall, "conversations": [human("A hand?\n<image>"), gpt("A box."), human("A?"), gpt("A.")]},
        {"id": "4", "image": square, "conversations": [human("<image>\nPlease."), gpt("[05] is no frame here.")]},
    ]


def captions() -> list[dict]:
    """As LLaVA-Pretrain has them: a question that stage 1 leaves out, and what the picture shows."""
    asked = ("Please.\n<image>", "<image>\nA man?", "<image>")
    told = ("a woman brushes her hair", "a man running down a track", "a box in a hand")
    return [
        {"id": name, "image": name, "conversations": [human(question), gpt(caption)]}
        for name, question, caption in zip(SIZES, asked, told)
    ]


def write(file: Path, made: list[dict]) -> str:
    file.write_text(json.dumps(made))
    return str(file)


def llavas_run(arguments: list[str], monkeypatch) -> None:
    """LLaVA's own `train()`; what stands in its way in the installed transformers is mended as for ours."""
    import sys

    from llava_v2xum.features.upstream import llava_train, llava_trainer
    from llava_v2xum.model import compat
    from llava_v2xum.model import modeling as modeling  # mends the calls of LLaVA's model

    known = llava_train.TrainingArguments.__dataclass_fields__
    with monkeypatch.context() as patch:
        for module in (llava_train, llava_trainer):
            patch.setattr(module, "maybe_zero_3", compat.mended_gather(module.maybe_zero_3))
        patch.setattr(llava_train, "LLaVATrainer", compat.mended_trainer(llava_trainer.LLaVATrainer))
        save = compat.mended_final_save(llava_train.safe_save_model_for_hf_trainer)
        patch.setattr(llava_train, "safe_save_model_for_hf_trainer", save)
        patch.setattr(sys, "argv", ["train.py", *compat.mended_arguments(arguments, known)])
        conversations = llava_train.conversation_lib
        patch.setattr(conversations, "default_conversation", conversations.default_conversation)  # train() sets it
        with compat.own_precision():
            llava_train.train()


def llavas_data(file: str, images: Path, processor, tokenizer, version: str, monkeypatch, aspect_ratio: str = "pad"):
    """LLaVA's own data set and collator."""
    from llava_v2xum.features.upstream import llava_train

    conversations = llava_train.conversation_lib
    monkeypatch.setattr(conversations, "default_conversation", conversations.conv_templates[version])
    asked = SimpleNamespace(
        data_path=file, image_folder=str(images), image_processor=processor, image_aspect_ratio=aspect_ratio,
        is_multimodal=True, mm_use_im_start_end=False,
    )  # fmt: skip
    module = llava_train.make_supervised_data_module(tokenizer=tokenizer, data_args=asked)
    return module["train_dataset"], module["data_collator"]
