"""The arguments of `python -m llava_v2xum.features`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..core.command_line import Parser, add_video_track, at_least
from ..core.errors import V2XumError
from ..core.sampling import DEFAULT_NUM_FRAMES, LINSPACE, SAMPLING_RULES, FrameSampling
from ..media.processes import MOST_WORKERS
from .kinds import DEFAULT_SELECT_LAYER, DEFAULT_TOWER, FRAME_FEATURES, PATCH_MEAN, FrameFeature

EXAMPLES = """examples:
  python -m llava_v2xum.features videos/ --out features
      what training from LLaVA-1.5 takes: 100 frames, layer -2 of its CLIP, mean over the patches; about 205 kB a video
  python -m llava_v2xum.features videos/ --out features-demo --model-path ./v2xum-7b
      what a checkpoint takes, by its own tower and settings (its decoder is not loaded)
  torchrun --nproc_per_node 8 -m llava_v2xum.features videos/ --out features
      on eight GPUs; also: deepspeed --module llava_v2xum.features videos/ --out features

Killed, the same command goes on where it stopped. STORE then goes to training (--feature_folder STORE) and to
python -m llava_v2xum.infer (--features STORE), which refuse it if their model takes other features.

exit status: 0 all done; 1 some of several videos failed (STORE/failed.jsonl has the reasons); 2 none could be done,
or bad arguments
"""
_OF_MODEL = ("frame_feature", "frame_tokens", "num_frames", "frame_sampling", "select_layer", "aspect_ratio")


def build_parser() -> Parser:
    parser = Parser(
        prog="python -m llava_v2xum.features",
        description="Store the frame features of videos, for training and inference without decoding.",
        epilog=EXAMPLES,
    )
    add = parser.add_argument
    add("videos", nargs="+", metavar="VIDEO", help="video files, or folders of them")
    add("--out", type=Path, required=True, metavar="STORE", help="the folder of features; ID.npy for ID.mp4")
    add("--strict", action="store_true", help="stop at the first video that cannot be done")
    add_video_track(add)
    model = parser.add_argument_group("what the features are: a checkpoint's, or as these flags say")
    add = model.add_argument
    add("--model-path", help="checkpoint folder or hub name whose tower and settings to use")
    add("--vision-tower", help=f"CLIP folder or hub name, or OpenAI's ViT-L-14.pt (default: the checkpoint's, or "
        f"{DEFAULT_TOWER})")  # fmt: skip
    add("--frame-feature", choices=FRAME_FEATURES, help=f"mean of the patches, class token, or CLIP's image embedding "
        f"(default: {PATCH_MEAN})")  # fmt: skip
    add("--frame-tokens", type=int, help="visual tokens of a frame, means over a grid of patches: 1, 4 or 9 "
        "(default: 1)")  # fmt: skip
    add("--num-frames", type=at_least(1), help=f"N, the frames that stand for a video (default: {DEFAULT_NUM_FRAMES})")
    add("--frame-sampling", choices=SAMPLING_RULES, help=f"the rule by which they are chosen (default: {LINSPACE})")
    add("--select-layer", type=int, help=f"the tower's layer (default: {DEFAULT_SELECT_LAYER})")
    add("--aspect-ratio", choices=("pad", "square"), help="pad frames to a square, or crop its middle (default: pad)")
    speed = parser.add_argument_group("how they are computed")
    add = speed.add_argument
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, ... (%(default)s: a GPU for each process)")
    add("--dtype", default="auto", help="what the tower computes in: auto, float32, bfloat16, float16 (%(default)s: "
        "bfloat16 on a GPU that has it); stored is float16")  # fmt: skip
    add("--batch-size", type=at_least(1), default=64, help="frames in one pass of the tower (%(default)s)")
    add("--workers", type=at_least(0), help="decoding processes, 0 decodes in the main one (default: one for each "
        f"core, at most {MOST_WORKERS})")  # fmt: skip
    add("--local_rank", "--local-rank", type=int, help=argparse.SUPPRESS)  # deepspeed's; LOCAL_RANK says it too
    return parser


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = build_parser()
    args = parser.parse_args(arguments)
    if args.model_path is not None:
        for name in _OF_MODEL:
            if getattr(args, name) is not None:
                parser.error(f"--{name.replace('_', '-')} is the checkpoint's to say: leave it out with --model-path")
    try:
        args.sampling = FrameSampling(args.num_frames or DEFAULT_NUM_FRAMES, rule=args.frame_sampling or LINSPACE)
        args.feature = FrameFeature(args.frame_feature or PATCH_MEAN, args.frame_tokens or 1)
    except V2XumError as error:
        parser.error(str(error))
    return args
