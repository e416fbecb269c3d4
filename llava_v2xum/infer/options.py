"""The arguments of `python -m llava_v2xum.infer`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .. import __version__
from ..core.command_line import Parser, add_video_track, at_least, share
from ..core.errors import V2XumError
from ..core.extras import require
from ..core.lengths import Length
from ..core.tasks import ALL, TASKS
from ..core.windows import AUTO, FRAME_SECONDS, OFF, as_window
from ..media.file_format import PAGE_NAME
from ..media.formats import DEFAULT_FORMATS, EXPORTS, FORMATS, check_formats
from ..media.page.source import COPY_SECONDS
from ..media.processes import MOST_WORKERS
from ..media.shot_detection import EXTRA
from .drafting import DEFAULT_DRAFTER, DRAFTERS
from .ray.cluster import RaySettings
from .results import FILE_NAME

INTERRUPTED = "interrupted; the same command goes on where it stopped"
EXAMPLES = """examples:
  python -m llava_v2xum.infer clip.mp4
      a summary by the demo checkpoint, which knows only rendered shapes
  python -m llava_v2xum.infer videos/ --model-path ./v2xum-7b --task text --output-dir out
      a text summary of every video in a folder; started again after a kill, it goes on
  python -m llava_v2xum.infer videos/ --model-path ./v2xum-7b --task all --output-dir out
      all three summaries of each, in out/video, out/text and out/both, as three runs would write them
  torchrun --nproc_per_node 8 -m llava_v2xum.infer videos/ --model-path ./v2xum-7b --output-dir out
      on eight GPUs; also: deepspeed --hostfile HOSTS --module llava_v2xum.infer videos/ ..., on many machines that
      share the folders
  python -m llava_v2xum.infer a.mp4 --model-path checkpoints/v2xumllm-vicuna-v1-5-7b-stage2-e2 \\
      --model-base lmsys/vicuna-7b-v1.5 --vision-tower checkpoints/clip/ViT-L-14.pt \\
      --pretrain-mm-mlp-adapter checkpoints/llava-vicuna-v1-5-7b-stage1/mm_projector.bin
      the released V2Xum-LLM

exit status: 0 all summarized; 1 some of several videos failed, or with --strict some summaries have problems;
2 none could be summarized, or bad arguments
"""


def build_parser() -> Parser:
    parser = Parser(
        prog="python -m llava_v2xum.infer",
        description="Summarize videos: key frames, a text summary, or both.",
        epilog=EXAMPLES,
    )
    add = parser.add_argument
    add("videos", nargs="+", metavar="VIDEO", help="video files, or folders of them")
    add("--task", choices=(*TASKS, ALL), default="both", help=f"key frames, text, or both (default); {ALL}: the three, "
        "each in a folder of its own")  # fmt: skip
    add("--output-dir", type=Path, default=Path("summaries"), help=f"for {FILE_NAME} and a folder a video (summaries)")
    add("--format", default=",".join(DEFAULT_FORMATS), help="files to write for each video, comma-separated, of "
        f"{', '.join(name for name in FORMATS if name not in EXPORTS)} (%(default)s)")  # fmt: skip
    add_editing(add)
    add_video_track(add)
    add("--window", default=AUTO, metavar="SECONDS", help="films that are too long for N frames are told in "
        f"windows with N each: {AUTO} (default) where a frame would stand for more than {FRAME_SECONDS:g} seconds, "
        f"{OFF} for N frames of the whole, or how long a window is")  # fmt: skip
    add("--features", metavar="DIR", help="reuse the frame features in DIR, and add those that are missing")
    add_pages(add)
    add("--overwrite", action="store_true", help=f"also do the videos that {FILE_NAME} has already, and "
        "replace what another task or model gave")  # fmt: skip
    add("--stats", action="store_true", help="tell at the end how many passes the answers took and where the time went")
    add("--version", action="version", version=__version__)
    add_model(parser.add_argument_group("model"))
    _add_answer(parser.add_argument_group("answer"))
    _add_speed(parser.add_argument_group("speed (no answer depends on it)"))
    add_ray_options(parser)
    add("--local_rank", "--local-rank", type=int, help=argparse.SUPPRESS)  # deepspeed's; LOCAL_RANK says it too
    return parser


def add_pages(add: Callable[..., Any]) -> None:
    """Add `--no-page` and `--page-copy`; `add` is argparse's `add_argument`."""
    add("--no-page", dest="page", action="store_false", help=f"leave out {PAGE_NAME}, the page of each video "
        "and that of the run")  # fmt: skip
    add("--page-copy", type=at_least(0), default=COPY_SECONDS, metavar="SECONDS", help="where browsers do not play a "
        "file, make a small copy for its page, of videos up to this long (%(default)s; 0: of none)")  # fmt: skip


def add_editing(add: Callable[..., Any]) -> None:
    """Add `--length`, `--snap` and `--export`; `add` is argparse's `add_argument`."""
    add("--length", type=_length, metavar="BUDGET", help="how long summaries are to be: seconds (30s), a share of the "
        "video (15%%) or '3 sentences', chosen by importance and coverage")  # fmt: skip
    add("--snap", choices=("shots",), help="move cuts that are near to where shots begin, and show no part of a shot "
        "shorter than half a second; with --length, summaries are then at most as long (extra [edit])")  # fmt: skip
    add("--export", default="", metavar="FORM,...", help="also write files for other tools: "
        + "; ".join(f"{name}, {FORMATS[name].help} ({FORMATS[name].file_name})" for name in EXPORTS))  # fmt: skip


def _length(text: str) -> Length:
    try:
        return Length.of(text)
    except V2XumError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def check_editing(args: argparse.Namespace, parser: Parser) -> None:
    """End the command where what `add_editing` takes cannot be had."""
    if args.snap:
        try:
            require("scenedetect", EXTRA)
        except ImportError as error:
            parser.error(str(error))


def edits(task: str, length: Length | None) -> bool:
    """Whether a length has a meaning for a task's summaries: TEXT has no seconds, VIDEO no sentences."""
    return length is None or task != ("video" if length.unit == "sentences" else "text")


def loading_of(args: argparse.Namespace) -> dict[str, Any]:
    """What loads a Summarizer, of this process or by Ray: the arguments beside its path and device."""
    kept = {"feature_folder": args.features, "draft_table": args.draft_table, "drafter": args.drafter}
    return {**loading_of_model(args), **kept}


def loading_of_model(args: argparse.Namespace) -> dict[str, Any]:
    """The part of it that `add_model` has."""
    same = ("model_base", "pretrain_mm_mlp_adapter", "vision_tower", "dtype", "load_8bit", "load_4bit")
    return {**{name: getattr(args, name) for name in same}, "conversation": args.conv_mode}


def answering_of(args: argparse.Namespace) -> dict[str, Any]:
    """How a Summarizer, of this process or by Ray, is to answer: `AnswerOptions`."""
    same = ("batch_size", "max_new_tokens", "temperature", "seed", "max_draft", "compile")
    switched_off = {"drafts": not args.no_drafts, "end_loops": not args.keep_loops}
    return {**{name: getattr(args, name) for name in same}, **switched_off}


def add_model(group) -> None:
    """Add what says which model is loaded, and how; `loading_of_model` reads it."""
    add = group.add_argument
    add("--model-path", help="checkpoint folder or hub name: this plugin's, LLaVA-1.5's or the released "
        "V2Xum-LLM's (default: the demo that ships with the package)")  # fmt: skip
    add("--model-base", help="the base model of a LoRA checkpoint")
    add("--pretrain-mm-mlp-adapter", metavar="FILE", help="the projector, where it is a file of its own")
    add("--vision-tower", help="vision tower, where the checkpoint's own path does not hold here")
    add("--conv-mode", default="v2xum", help="conversation template (%(default)s)")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, ... (%(default)s: a GPU for each process)")
    add("--dtype", default="auto", help="auto, float32, bfloat16, float16 (%(default)s)")
    add("--load-8bit", action="store_true", help="the decoder's weights in 8 bits (bitsandbytes); changes answers")
    add("--load-4bit", action="store_true", help="the decoder's weights in 4 bits (bitsandbytes); changes answers")


def _add_answer(group) -> None:
    add = group.add_argument
    add("--temperature", type=float, default=0.0, help="0 is greedy (default); above it, sampled")
    add("--seed", type=int, default=0, help="for a temperature above 0 (%(default)s)")
    add("--strict", action="store_true", help="end with status 1 where summaries have problems, such as an answer that "
        "repeats itself without end")  # fmt: skip
    add("--max-new-tokens", type=at_least(1), default=1024, help="where an answer is cut off (%(default)s); sooner "
        "where it certainly repeats itself without end")  # fmt: skip
    add("--keep-loops", action="store_true", help="write such an answer to the limit too")


def _add_speed(group) -> None:
    add = group.add_argument
    add("--batch-size", type=at_least(1), default=8, help="answers in the making at a time (%(default)s)")
    add("--workers", type=at_least(0), help="processes that read videos, and half as many that draw; 0 does it all in "
        f"the main one (default: one for each core, at most {MOST_WORKERS})")  # fmt: skip
    add("--no-drafts", action="store_true", help="one token a pass, instead of checking several likely ones")
    kinds = "; ".join(f"{name}: {kind.help}" for name, kind in DRAFTERS.items())
    add("--drafter", choices=DRAFTERS, default=DEFAULT_DRAFTER, help=f"who guesses them (%(default)s). {kinds}")
    add("--max-draft", type=at_least(0), metavar="N", help="tokens that are checked at most (default: by the device)")
    add("--compile", action="store_true", help="compile the decoder's passes first, and on CUDA record them as graphs: "
        "for many videos and a large model; takes some seconds for each of a few shapes")  # fmt: skip
    add("--draft-table", type=Path, metavar="FILE", help="keep what answers teach about the next ones from run to run")


def add_ray_options(parser: argparse.ArgumentParser) -> None:
    """Add `--engine` and what goes with it; `settings_of` reads them."""
    group = parser.add_argument_group(
        "Ray (--engine ray)",
        "Videos, checkpoints and --features must lie under the same paths on every machine of the cluster, and this "
        "package must be installed there; only this machine writes to --output-dir. Summaries come in no fixed order.",
    )
    add = group.add_argument
    add("--engine", choices=("process", "ray"), default="process",
        help="this process, or a Ray Data pipeline, which takes the extra [ray] (%(default)s)")  # fmt: skip
    add("--ray-address", metavar="ADDRESS", help="join the cluster there, such as auto or HOST:6379 (default: start "
        "one on this machine)")  # fmt: skip
    add("--ray-actors", type=at_least(1), metavar="N", help="processes with the model (default: what the GPUs hold, "
        "else 1)")  # fmt: skip
    add("--ray-gpus", type=share, metavar="X", help="GPUs of each, at most 1; 0.5 lets two share one (default: 1 where "
        "the cluster has any)")  # fmt: skip
    add("--ray-encoders", type=at_least(1), default=1, metavar="N", help="processes with the vision tower; on GPUs "
        "they run beside the models (%(default)s)")  # fmt: skip
    add("--ray-readers", type=at_least(1), metavar="N", help="videos read at a time (default: one a CPU of the "
        "cluster)")  # fmt: skip


def settings_of(args: argparse.Namespace) -> RaySettings:
    """The settings that the options of `add_ray_options` ask for."""
    return RaySettings(args.ray_address, args.ray_actors, args.ray_gpus, args.ray_encoders, args.ray_readers)


def formats_of(format: str, export: str, parser: Parser) -> list[str]:
    """The names of formats that `--format` and `--export` ask for; ends the command where one cannot be had."""
    formats, exports = ([name.strip() for name in text.split(",") if name.strip()] for text in (format, export))
    if not formats:
        parser.error(f"--format takes {', '.join(FORMATS)}, got none")
    unknown = [name for name in exports if name not in EXPORTS]
    if unknown:
        parser.error(f"--export takes {', '.join(EXPORTS)}, got {', '.join(unknown)}")
    try:
        check_formats([*formats, *exports], "--format takes")
    except (V2XumError, ImportError) as error:
        parser.error(str(error))
    return list(dict.fromkeys([*formats, *exports]))


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = build_parser()
    args = parser.parse_args(arguments)
    try:
        args.window = as_window(args.window)
    except V2XumError as error:
        parser.error(f"--{error}")
    args.formats = formats_of(args.format, args.export, parser)
    check_editing(args, parser)
    if not edits(args.task, args.length):
        parser.error(f"--length {args.length}: a {args.task.upper()} summary has no "
            + ("sentences" if args.task == "video" else "seconds"))  # fmt: skip
    if args.temperature < 0:
        parser.error(f"--temperature must not be negative, got {args.temperature}")
    if args.load_8bit and args.load_4bit:
        parser.error("--load-8bit and --load-4bit: give one of them")
    if args.compile and (args.load_8bit or args.load_4bit):
        parser.error("--compile takes weights as they are, not in 8 or 4 bits")
    if args.compile and args.temperature:
        parser.error("--compile makes greedy passes, for --temperature 0 alone")
    if args.draft_table is not None and not args.draft_table.absolute().parent.is_dir():
        parser.error(f"--draft-table: no such folder: {args.draft_table.parent}")
    args.tasks = TASKS if args.task == ALL else (args.task,)
    return args
