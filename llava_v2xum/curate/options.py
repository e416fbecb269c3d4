"""The arguments of `python -m llava_v2xum.curate`."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from ..core.command_line import Parser
from ..core.tasks import TASKS

DTYPES = ("auto", "float32", "bfloat16", "float16")
STAGES = ("select", "caption", "extract", "filter", "refine")
_LEAST = {"caption_tokens": 1, "caption_batch": 1, "bertscore_layers": 1, "tries": 1, "concurrency": 1,
          "context_tokens": 1, "thinking_tokens": 0, "max_requests": 1, "max_tokens": 1, "ray_captioners": 1,
          "preview": 0}  # fmt: skip

_DESCRIPTION = """\
Make an instruction-tuning set for cross-modal video summarization, in
Instruct-V2Xum's JSON, of your own videos (arXiv 2404.12353, section 3.1):

  select    readable videos of the right length, without duplicates (and ugly
            ones, with --aesthetic-predictor)
  caption   a detailed caption of every second's frame: a LLaVA-1.5
            checkpoint, or an OpenAI-compatible endpoint
  extract   the captions that tell the video: an LLM behind an endpoint, or,
            without one, by similarity alone
  filter    of two captions that say the same (BERTScore) the later one goes
  refine    short fluent sentences, one for each kept frame: an LLM behind an
            endpoint; without one, captions stay
  then      train.json, val.json, test.json, rejected.jsonl, card.md with
            figures, and preview.html to judge it by

What a stage found is kept in OUT/work.sqlite as it comes. After a kill or
Ctrl-C, or when an endpoint was down or a budget spent, the same command goes
on where it was, and pays nothing twice; with another prompt, model or option
it begins again at the stage that depends on it. Videos may be added: what was
found of the others stays, though some may move to another split.
"""

_EXAMPLES = """\
examples:
  # LLaVA-1.5 captions, a model behind a local endpoint chooses and rewrites
  python -m llava_v2xum.curate videos/ --out data \\
      --endpoint http://localhost:8000/v1 --model Qwen/Qwen2.5-7B-Instruct
  # no service at all
  python -m llava_v2xum.curate videos/ --out data \\
      --captioner liuhaotian/llava-v1.5-7b
  # no network and no GPU: rendered shapes, with the small models that ship
  # with this package
  python -m llava_v2xum.shapes --videos 50 --out clips
  python -m llava_v2xum.curate clips/videos --out data --captioner shapes \\
      --bertscore-model shapes --min-duration 20
  # one stage after the other, to look at each: data/select.jsonl, ...
  python -m llava_v2xum.curate videos/ --out data --until caption

exit status: 0 done; 1 done, but some videos failed and are tried again by the
next run; 2 wrong arguments; 3 stopped early (Ctrl-C, a full disk, a spent
budget, an endpoint that refuses), to go on with the same command
"""


def build_parser() -> Parser:
    """The parser of the command."""
    parser = Parser(
        prog="python -m llava_v2xum.curate",
        usage="%(prog)s VIDEO [VIDEO ...] --out DIR [options]",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
    )
    add = parser.add_argument
    add("videos", nargs="*", metavar="VIDEO", help="video files, and folders of them; ids are the files' names")
    add("--list", action="append", default=[], metavar="FILE", help="a text file with such paths, one a line")
    add("--out", required=True, type=Path, metavar="DIR", help="the folder of the data set and of the stored results")
    add("--until", choices=STAGES, metavar="STAGE", help=f"end after this stage ({', '.join(STAGES)}), and write its "
        "results to DIR/STAGE.jsonl; the data set is not written")  # fmt: skip
    add("--quiet", action="store_true", help="tell only errors and the end")
    _add_select(parser)
    _add_caption(parser)
    _add_endpoint(parser)
    _add_text(parser)
    _add_output(parser)
    _add_engine(parser)
    return parser


def _add_select(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("select").add_argument
    add("--min-duration", type=float, default=40.0, metavar="S", help="shortest video, in seconds (%(default)g)")
    add("--max-duration", type=float, default=940.0, metavar="S", help="longest video, in seconds (%(default)g)")
    add("--keep-duplicates", action="store_true", help="do not look for videos of the same content")
    add("--aesthetic-predictor", metavar="FILE", help="'laion-v1' or 'laion-v2', or a file with the "
        "weights of such a head on CLIP; without it no video is judged")  # fmt: skip
    add("--aesthetic-clip", default="ViT-L-14/openai", metavar="NAME", help="the CLIP that it stands on (%(default)s)")
    add("--aesthetic-threshold", type=float, default=4.0, metavar="X", help="least mean score (%(default)g)")


def _add_caption(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("caption").add_argument
    add("--captioner", default="liuhaotian/llava-v1.5-7b", metavar="NAME",
        help="a LLaVA-1.5 checkpoint: a folder or hub name; 'shapes' is the small one of the rendered world that ships "
        "with this package; with --caption-endpoint the model's name there (%(default)s)")  # fmt: skip
    add("--caption-endpoint", metavar="URL", help="caption by an OpenAI-compatible vision endpoint")
    add("--caption-prompt", metavar="FILE", help="in place of the packaged one")
    add("--caption-tokens", type=int, default=256, metavar="N", help="most tokens of a caption (%(default)s)")
    add("--caption-batch", type=int, default=16, metavar="N", help="frames captioned at a time (%(default)s)")
    add("--features", metavar="DIR", help="also store the features for training there of each video that is "
        "captioned now, by the captioner's own tower, as `python -m llava_v2xum.features` does")  # fmt: skip
    add("--device", default="auto", help="of the models here: auto, cpu, cuda (%(default)s)")
    add("--dtype", default="auto", choices=DTYPES, metavar="TYPE",
        help="of the captioner's weights (%(default)s: bfloat16 on a GPU, else float32)")  # fmt: skip


def _add_endpoint(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "endpoint (extract and refine)",
        "Any server that speaks OpenAI's chat completions: a hosted model, vLLM,\nllama.cpp, Ollama. The key is read "
        "from the environment and written nowhere.",
    )
    add = group.add_argument
    add("--endpoint", metavar="URL", help="such as http://localhost:8000/v1; without one, extract is by similarity, "
        "and captions are not refined")  # fmt: skip
    add("--model", metavar="NAME", help="the model's name at the endpoint")
    add("--api-key-env", default="OPENAI_API_KEY", metavar="NAME", help="variable with the key (%(default)s)")
    add("--timeout", type=float, default=120.0, metavar="S", help="time limit of a request, in seconds (%(default)g)")
    add("--tries", type=int, default=8, metavar="N", help="tries of a request that fails (%(default)s)")
    add("--concurrency", type=int, default=8, metavar="N", help="requests in flight (%(default)s)")
    add("--max-requests", type=int, metavar="N", help="stop cleanly before this run makes more")
    add("--max-tokens", type=int, metavar="N", help="stop cleanly when this run has used as many")


def _add_text(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("extract, filter and refine").add_argument
    add("--fraction", type=float, default=0.1639, metavar="X",
        help="share of the frames to choose, the paper's compression ratio (%(default)g)")  # fmt: skip
    add("--context-tokens", type=int, default=8192, metavar="N",
        help="context of the model at the endpoint, at most the server's own, which may cut longer questions without a "
        "word (Ollama: num_ctx); longer videos are read in windows (%(default)s)")  # fmt: skip
    add("--thinking-tokens", type=int, default=0, metavar="N",
        help="room for what a reasoning model writes before its answer (%(default)s)")  # fmt: skip
    add("--extract-prompt", metavar="FILE", help="in place of the packaged one")
    add("--extract-encoder", metavar="NAME", help="without an endpoint: compare captions by this encoder (a folder or "
        "hub name) in place of their words")  # fmt: skip
    add("--bertscore-model", default="roberta-large", metavar="NAME",
        help="encoder of BERTScore: a folder, a hub name, or 'shapes' (%(default)s)")  # fmt: skip
    add("--bertscore-layers", type=int, metavar="N", help="the encoder's layer to compare (default: the one that "
        "bert-score has tuned; a model it does not know needs it)")  # fmt: skip
    add("--bertscore-threshold", type=_threshold, default=0.93, metavar="X",
        help="captions more alike than this are one; 'none' keeps all (%(default)s)")  # fmt: skip
    add("--refine-prompt", metavar="FILE", help="in place of the packaged one")
    add("--no-refine", action="store_true", help="keep the captions as they are, though there is an endpoint")


def _add_output(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("data set").add_argument
    add("--tasks", type=_tasks, default=TASKS, metavar="A,B", help="instructions of each video (all: video,text,both)")
    add("--splits", type=_proportions, default=(25000, 1000, 4000), metavar="A:B:C",
        help="train, val and test videos in proportion (25000:1000:4000)")  # fmt: skip
    add("--seed", type=int, default=0, help="of the splits and of the preview's samples (%(default)s)")
    grammar = _scorer("cola:.+|languagetool(:.+)?", "cola:MODEL or languagetool")
    add("--grammar", action="append", default=[], type=grammar, metavar="SCORER",
        help="score the text before and after it was refined, for the card: cola:MODEL or languagetool")  # fmt: skip
    add("--plausibility", action="append", default=[], type=_scorer("vera:.+", "vera:MODEL"), metavar="SCORER",
        help="the same by vera:MODEL")  # fmt: skip
    add("--preview", type=int, default=24, metavar="N", help="videos on preview.html (%(default)s)")


def _add_engine(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("engine").add_argument
    add("--engine", choices=("process", "ray"), default="process",
        help="this process, or a Ray Data pipeline over many machines: extra [ray] (%(default)s)")  # fmt: skip
    add("--ray-address", metavar="ADDRESS", help="join the cluster there (default: start one on this machine)")
    add("--ray-captioners", type=int, metavar="N", help="processes with the captioner (default: what the GPUs hold)")
    add("--ray-gpus", type=float, metavar="X", help="GPUs of each, at most 1 (default: 1 where there are any)")


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments, checked as far as they can be without looking at files."""
    parser = build_parser()
    args = parser.parse_intermixed_args(arguments)
    if (problem := _problem(args)) is not None:
        parser.error(problem)
    return args


def _problem(args: argparse.Namespace) -> str | None:
    """What is wrong with the arguments."""
    if not args.videos and not args.list:
        return "name videos, folders of them, or a --list"
    if not 0 <= args.min_duration <= args.max_duration < math.inf:
        return f"--min-duration must be at most --max-duration, got {args.min_duration:g}, {args.max_duration:g}"
    if not 0 < args.fraction <= 1:
        return f"--fraction must be above 0 and at most 1, got {args.fraction:g}"
    if args.bertscore_threshold is not None and not 0 <= args.bertscore_threshold <= 1:
        return f"--bertscore-threshold must be from 0 to 1, or none, got {args.bertscore_threshold:g}"
    if not 0 < args.timeout < math.inf:
        return f"--timeout must be a number of seconds above 0, got {args.timeout:g}"
    if args.ray_gpus is not None and not 0 < args.ray_gpus <= 1:
        return f"--ray-gpus must be above 0 and at most 1, got {args.ray_gpus:g}"
    if args.endpoint and not args.model:
        return "--endpoint needs --model, the model's name there"
    if args.model and not args.endpoint:
        return "--model is a name at an endpoint: give --endpoint URL too"
    if args.features and args.caption_endpoint:
        return "--features are made by a captioner that is a checkpoint here, not by --caption-endpoint"
    for name, least in _LEAST.items():
        if (value := getattr(args, name)) is not None and value < least:
            return f"--{name.replace('_', '-')} must be at least {least}, got {value}"
    return None


def _scorer(pattern: str, forms: str) -> Callable[[str], str]:
    """An argument of that form: its model is loaded days later, and a slip should not wait for that."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise argparse.ArgumentTypeError(f"expected {forms}, got {value!r}")
        return value

    return check


def _threshold(value: str) -> float | None:
    if value == "none":
        return None
    try:
        return float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number or 'none', got {value!r}") from None


def _tasks(value: str) -> tuple[str, ...]:
    named = [name.strip() for name in value.split(",")]
    if not named or set(named) - set(TASKS) or len(set(named)) < len(named):
        raise argparse.ArgumentTypeError(f"expected some of {', '.join(TASKS)}, got {value!r}")
    return tuple(task for task in TASKS if task in named)


def _proportions(value: str) -> tuple[int, int, int]:
    try:
        parts = tuple(int(part) for part in value.split(":"))
    except ValueError:
        parts = ()
    if len(parts) != 3 or min(parts) < 0 or not parts[0]:
        raise argparse.ArgumentTypeError(f"expected three whole numbers such as 25:1:4, got {value!r}")
    return parts
