#!/usr/bin/env bash
"exec" "python3" "$0" "$@"
# Bash runs the line above, which to Python is a string: this file is a Python script for both, and for `deepspeed`.
# Trains a LoRA adapter of the decoder, as the released V2Xum-LLM was made. --help lists what it needs.
import sys
from pathlib import Path
from runpy import run_path

from llava_v2xum.train.launch import launch

FULL = Path(__file__).resolve().with_name("finetune_v2xum.sh")
TITLE = (
    "Train a LoRA adapter of LLaVA-1.5's decoder on video summaries, under DeepSpeed (ZeRO-2). --bits 4 makes it QLoRA."
)
DEFAULTS = {
    **run_path(str(FULL))["DEFAULTS"],
    "lora_enable": True,
    "lora_r": 64,  # with lora_alpha: the released code
    "lora_alpha": 128,
    "freeze_mm_mlp_adapter": True,  # released code; left out, and the projector trained, without a pretrained one
}

if __name__ == "__main__":
    sys.exit(launch(__file__, TITLE, DEFAULTS, sys.argv[1:]))
