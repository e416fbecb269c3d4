"""`python -m llava_v2xum` lists the commands; `python -m llava_v2xum NAME` is mostly `python -m llava_v2xum.NAME`."""

from __future__ import annotations

import runpy
import sys

from .core.command_line import Parser

HOMES = {"edit": "infer.edit", "web": "infer.web"}  # of commands whose module is named otherwise
COMMANDS = {
    "infer": "summarize videos: key frames, a text summary, or both",
    "edit": "make summaries as long as you want them, and files for other tools, without the model",
    "web": "summarize videos in a browser",
    "evaluate": "score summaries, compare systems, put reports side by side",
    "convert": "published annotations -> the JSON that training and the evaluators read",
    "features": "store the frame features of videos, for training and inference without decoding",
    "inspect": "look at training data and at what a run would cost, before it runs",
    "train": "train on video summaries by LLaVA's train(); scripts/finetune_v2xum.sh starts it under DeepSpeed",
    "merge": "merge a LoRA adapter into its base",
    "drafting": "learn from answers how answers go on, so that the next ones come in fewer passes",
    "curate": "make an instruction-tuning set of your own videos",
    "curate.validate": "check files of Instruct-V2Xum's JSON",
    "shapes": "render clips of moving shapes with exact ground truth",
}


def main() -> None:
    """Run the command that the first argument names, or list them."""
    if sys.argv[1:] and sys.argv[1] in COMMANDS:
        name = sys.argv.pop(1)
        runpy.run_module(f"{__package__}.{HOMES.get(name, name)}", run_name="__main__", alter_sys=True)
        return
    parser = Parser(prog="python -m llava_v2xum", description="'%(prog)s COMMAND --help' tells a command's options.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, what in COMMANDS.items():
        commands.add_parser(name, help=what)
    parser.parse_args()


if __name__ == "__main__":
    main()
