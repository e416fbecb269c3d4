#!/usr/bin/env bash
"exec" "python3" "$0" "$@"
# Bash runs the line above, which to Python is a string: this file is a Python script for both, and for `deepspeed`.
# Fine-tunes decoder and projector, as the paper does (arXiv 2404.12353, section 5.3). --help lists what it needs.
import sys
from pathlib import Path

from llava_v2xum.train.launch import launch
from llava_v2xum.train.options import PAPER

HERE = Path(__file__).resolve().parent
TITLE = "Fine-tune LLaVA-1.5's decoder and projector on video summaries, under DeepSpeed (ZeRO-2)."
DEFAULTS = {
    "deepspeed": HERE / "zero2.json",  # zero3.json and zero3_offload.json lie beside it
    **PAPER,
}

if __name__ == "__main__":
    sys.exit(launch(__file__, TITLE, DEFAULTS, sys.argv[1:]))
