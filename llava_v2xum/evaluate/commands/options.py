"""The options of scoring, which the data sets' commands and `compare` share, and the settings that they make."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass, field, fields
from pathlib import Path

from ...core.errors import V2XumError
from ..formats.data_sets import DATA_SETS
from ..formats.format import ANNOTATIONS, AUTO
from ..formats.format_registry import ANNOTATION_FORMATS, PREDICTION_FORMATS
from ..formats.names import MATCHES
from ..formats.predictions import CLOCKS
from ..groups.v2t import REFERENCE_RULES
from ..metrics.baselines import SEEDS
from ..metrics.captions import TOKENIZER_CHOICES
from ..metrics.confidence import RESAMPLES
from ..metrics.knapsack import BUDGETS


class BadOption(V2XumError):
    """An option that does not fit the others."""


@dataclass(frozen=True)
class Settings:
    """How predictions are scored; the fields are the options of the same names."""

    dataset: str
    annotations: Path
    further_annotations: tuple[Path, ...] = ()
    annotation_format: str = AUTO
    prediction_format: str = AUTO
    num_frames: int | None = None
    clock: str | None = None
    match: str = "exact"
    skip_missing: bool = False
    seeds: int = SEEDS
    resamples: int = RESAMPLES
    seed: int = 0
    reference_rule: str = "plain"
    tokenizer: str = "auto"
    no_meteor: bool = False
    bertscore: str | None = None
    dense: bool = False
    videos: Path | None = None
    clip: str | None = None
    clip_weights: str | None = None
    clip_cache: Path | None = None
    clip_device: str | None = None
    no_clip_baselines: bool = False
    judge: str | None = None
    judge_model: str | None = None
    judge_prompts: Path | None = None
    judge_cache: Path | None = None
    judge_key_env: str = "OPENAI_API_KEY"
    judge_concurrency: int = 8
    features: Path | None = None
    importance: Path | None = None
    budget: str = "frames"
    ranking: bool = False
    splits: Path | None = None
    progress: bool = field(default=True, compare=False)

    def check_clip(self) -> None:
        """Check the options about CLIP against each other.

        Raises:
            BadOption: naming the one that is of no use, or is missing.
        """
        if self.clip is not None:
            if self.videos is None:
                raise BadOption("--clip needs the video files: give their folder with --videos")
            return
        for name in ("videos", "clip_weights", "clip_cache", "clip_device", "no_clip_baselines"):
            if getattr(self, name):
                raise BadOption(f"--{name.replace('_', '-')} is of use with --clip MODEL alone")

    def check_judge(self) -> None:
        """Check the options about the judge against each other.

        Raises:
            BadOption: naming the one that is of no use, or is missing.
        """
        if self.judge is not None and self.judge_model is None:
            raise BadOption("--judge needs --judge-model, the model's name there")
        for name in ("judge_model", "judge_prompts", "judge_cache"):
            if self.judge is None and getattr(self, name) is not None:
                raise BadOption(f"--{name.replace('_', '-')} is of use with --judge URL alone")

    @classmethod
    def from_arguments(cls, dataset: str, args: argparse.Namespace) -> Settings:
        """Those of the parsed command line."""
        known = {one.name for one in fields(cls)} & vars(args).keys()
        first, *further = args.annotations
        files = {"annotations": first, "further_annotations": tuple(further)}
        return cls(**{**{name: getattr(args, name) for name in known}, **files, "dataset": dataset})


def add_scoring_options(parser: argparse.ArgumentParser, dataset: str | None) -> None:
    """Add the options; those that the data set has no use for are left out.

    Args:
        dataset: a key of `DATA_SETS`; None for a command that takes any.
    """
    known = None if dataset is None else DATA_SETS[dataset]
    form = "the data set's published file" if known is None else known.annotations
    formats = ANNOTATION_FORMATS if known is None else (ANNOTATIONS, *known.formats)
    add = parser.add_argument
    add("--annotations", type=Path, nargs="+", required=True, metavar="FILE", help=f"{form}; annotation JSON lines of "
        "`python -m llava_v2xum.convert` are read too. Of several files (val_1.json val_2.json) each is what further "
        "people say: all texts are references, and segments are scored with those that fit best")  # fmt: skip
    add("--annotation-format", choices=(AUTO, *formats), default=AUTO, metavar="F",
        help=f"{AUTO} (default) or {', '.join(formats)}")  # fmt: skip
    add("--prediction-format", choices=(AUTO, *PREDICTION_FORMATS), default=AUTO, metavar="F",
        help=f"{AUTO} (default) or {', '.join(PREDICTION_FORMATS)}")  # fmt: skip
    add("--num-frames", type=positive, metavar="N", help="N of predictions that do not tell it (such as 100)")
    add_clock(parser)
    told = "; ".join(f"{name}: {what}" for name, what in MATCHES.items())
    add("--match", choices=MATCHES, default="exact", help=f"when a predicted video's name is an annotated one's. "
        f"{told} (%(default)s)")  # fmt: skip
    add("--skip-missing", action="store_true", help="leave videos without a prediction out instead of scoring them as "
        "misses; lifts the scores, and the report says so")  # fmt: skip
    add("--ranking", action="store_true", help="mAP of the top 50 and 15 %% of pieces of five samples (Mr. HiSum), "
        "and F1 of the top 5 to 50 %% by importance with its area")  # fmt: skip
    if known is not None:  # a comparison has no baselines, and always an interval
        add("--seeds", type=positive, default=SEEDS, metavar="K", help="importances of the random row (%(default)s)")
        add("--resamples", type=count, default=RESAMPLES, metavar="K", help="of the bootstrap; 0 for no intervals "
            "(%(default)s)")  # fmt: skip
    else:
        add("--resamples", type=positive, default=RESAMPLES, metavar="K", help="of the bootstrap (%(default)s)")
    add("--seed", type=count, default=0, metavar="K", help="of the bootstrap and of permutations (%(default)s)"
        if known is None else "of the bootstrap (%(default)s)")  # fmt: skip
    if known is None or not known.keyshots:
        _add_text_options(parser.add_argument_group("text"))
        _add_judge_options(parser.add_argument_group("judge"))
    _add_clip_options(parser.add_argument_group("CLIP"))
    if known is None or known.keyshots:
        group = parser.add_argument_group("keyshots")
        group.add_argument("--features", type=Path, metavar="FILE", help="frame features (eccv16 .h5, or a folder of "
            "ID.npy, [T, C] at the picks) to find change points by KTS where the annotations have none")  # fmt: skip
        told = "; ".join(f"{name}: {what}" for name, what in BUDGETS.items())
        group.add_argument("--budget", choices=BUDGETS, default="frames", help="what a keyshot summary takes 15 %% of "
            f"where change points end early. {told} (%(default)s)")  # fmt: skip
        group.add_argument("--splits", type=Path, metavar="FILE", help="JSON of splits with test_keys (PGL-SUM's, "
            "CSTA's): figures are means over splits; give one prediction file, or one a split, in order")  # fmt: skip
        if dataset in (None, "tvsum"):
            group.add_argument("--importance", type=Path, metavar="FILE", help="ydata-tvsum50's .mat or .tsv beside "
                "the eccv16 file: each annotator's importance, which published correlations are against")  # fmt: skip


def add_clock(parser: argparse.ArgumentParser) -> None:
    """Add `--clock`."""
    told = "; ".join(f"{name}: {what}" for name, what in CLOCKS.items())
    parser.add_argument("--clock", choices=CLOCKS, help=f"what moment a prediction's index i of N stands for. {told} "
        "(by the file: score arrays count samples, all else is frames)")  # fmt: skip


def _add_text_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--reference-rule", choices=REFERENCE_RULES, default="plain", help="reference sentences joined as they are "
        "(plain, default), or as VideoXum's script prepares them (videoxum)")  # fmt: skip
    add("--tokenizer", choices=TOKENIZER_CHOICES, default="auto", help="auto: PTB where there is Java, else plain, and "
        "the report says which (%(default)s)")  # fmt: skip
    add("--no-meteor", action="store_true", help="leave METEOR out (it needs Java)")
    add("--bertscore", metavar="MODEL", help="BERTScore by that model, a folder or name; "
        'pip install "llava_v2xum[bertscore]"')  # fmt: skip
    add("--dense", action="store_true", help="dense-caption scores of sentences with their times, or those of "
        "the frames that they cite, and SODA")  # fmt: skip


def _add_judge_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--judge", metavar="URL", help="relevance and modality coherence of the text as a model there grades them; any "
        'server with OpenAI\'s chat completions; pip install "llava_v2xum[endpoint]"')  # fmt: skip
    add("--judge-model", metavar="NAME", help="the model's name there")
    add("--judge-prompts", type=Path, metavar="DIR", help="relevance.txt and coherence.txt in place of the packaged "
        "ones")  # fmt: skip
    add("--judge-cache", type=Path, metavar="FILE", help="where answers are kept (in --out)")
    add("--judge-key-env", default="OPENAI_API_KEY", metavar="NAME", help="variable with the key (%(default)s)")
    add("--judge-concurrency", type=positive, default=8, metavar="N", help="requests in flight (%(default)s)")


def _add_clip_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--videos", type=Path, metavar="DIR", help="the video files, named by their ids; CLIP reads their frames")
    add("--clip", metavar="MODEL", help="F_CLIP, Cross-F_CLIP and VT-CLIPScore by this CLIP: a folder or hub name in "
        "transformers' form, OpenAI's .pt, or an open_clip name with --clip-weights")  # fmt: skip
    add("--clip-weights", metavar="W", help="open_clip's tag or a file")
    add("--clip-cache", type=Path, metavar="FILE", help="where embeddings are kept (in --out)")
    add("--clip-device", metavar="D", help="cpu, cuda, ... (a GPU where there is one)")
    add("--no-clip-baselines", action="store_true", help="no F_CLIP of random, uniform and human: embeds only the "
        "frames that the system and the annotators chose")  # fmt: skip


def positive(value: str) -> int:
    """A command line's positive integer."""
    if not count(value):
        raise argparse.ArgumentTypeError(f"expected a positive integer, got {value!r}")
    return int(value)


def count(value: str) -> int:
    """A command line's integer of 0 or more."""
    if not (value.isascii() and value.isdigit()):
        raise argparse.ArgumentTypeError(f"expected an integer of 0 or more, got {value!r}")
    return int(value)


def out_folder(value: str) -> Path:
    """A command line's folder to write to, which may not be there yet; checked before hours of scoring."""
    path = Path(value)
    there = next(one for one in (path, *path.absolute().parents) if one.exists())
    if not there.is_dir():
        raise argparse.ArgumentTypeError(f"expected a folder, and {there} is a file")
    if not os.access(there, os.W_OK | os.X_OK):
        raise argparse.ArgumentTypeError(f"there is no permission to write in {there}")
    return path


def out_file(value: str) -> Path:
    """A command line's file to write, in a folder that is there."""
    path = Path(value)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"expected a file, and {path} is a folder")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{path.parent}: no such folder")
    out_folder(str(path.parent))
    return path
