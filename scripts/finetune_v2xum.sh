#!/usr/bin/env bash
"exec" "python3" "$0" "$@"
# Bash runs the line above, which to Python is a string: this file is a Python script for both, and for `deepspeed`.
# Fine-tunes decoder and projector, as the paper does (arXiv 2404.12353, section 5.3). --help lists what it needs.
import sys
from pathlib import Path

from llava_v2xum.train.launch import launch
from llava_v2xum.media.processes import Rank

HERE = Path(__file__).resolve().parent
TITLE = "Fine-tune LLaVA-1.5's decoder and projector on video summaries, under DeepSpeed (ZeRO-2)."
DEFAULTS = {
    "deepspeed": HERE / "zero2.json",  # zero3.json and zero3_offload.json lie beside it
    "num_train_epochs": 5,  # this and the next four: the paper, section 5.3
    "learning_rate": 1e-4,
    "lr_scheduler_type": "cosine",
    "warmup_ratio": 0.03,
    "model_max_length": 2048,
    "weight_decay": 0,
    "per_device_train_batch_size": 8,  # global batch of the released code: 128 = 8 x 16
    "gradient_accumulation_steps": 16,  # divide by the number of GPUs
    "gradient_checkpointing": True,
    "group_by_modality_length": True,
    "dataloader_num_workers": min(4, Rank.from_environment().default_workers()),  # torch warns of more than cores
    "save_strategy": "steps",
    "save_steps": 200,
    "save_total_limit": 2,
    "logging_steps": 1,
    "report_to": "none",
}

if __name__ == "__main__":
    sys.exit(launch(__file__, TITLE, DEFAULTS, sys.argv[1:]))
