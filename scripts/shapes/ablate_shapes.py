"""Train and measure the ablations of the paper's table 5, and more, on the rendered shapes world.

Every row of the table is one run of `llava_v2xum.train` (two where the tasks are trained apart) with the flags that a
user would give, which `--list` shows, for each of three seeds; the table has mean and standard deviation over them.
What all runs share is made once: a decoder that cites from context but has seen no picture (shapes_base.py), the demo's
vision tower, the features of rendered clips, and for each kind of feature a projector aligned by LLaVA's first stage.
What is done is not done again: start it once more to go on.

    python scripts/shapes/ablate_shapes.py --work /tmp/ablations --jobs 2
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import shutil
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from ablate_variants import ALIGN_FRAMES, KINDS, VARIANTS, Variant

from llava_v2xum.core.command_line import Parser


def parse_arguments(arguments: Sequence[str] | None = None) -> Namespace:
    """The command line's values."""
    parser = Parser(description=__doc__)

    def number(flag: str, default: float, told: str) -> None:
        parser.add_argument(flag, type=type(default), default=default, help=f"{told} (default: {default})")

    add = parser.add_argument
    add("--work", type=lambda path: Path(path).resolve(), required=True, help="folder of all that is made")
    add("--only", nargs="+", choices=[variant.name for variant in VARIANTS], metavar="NAME", help="only these variants")
    add("--list", action="store_true", help="print the variants with their command lines, and end")
    add("--seeds", type=int, nargs="+", default=[1, 2, 3], help="a run of each variant for each (default: 1 2 3)")
    number("--jobs", 2, "processes, one core each")
    number("--steps", 80, "optimizer steps of a variant, in all of its trainings")
    number("--videos", 5, "videos in a step, each with its three tasks")
    number("--main-clips", 96, "clips of the first data set; 96 to 300 is VideoXum's 8,000 to Instruct-V2Xum's 25,000")
    number("--extra-clips", 300, "clips of the second data set")
    number("--test-clips", 60, "clips to measure on")
    number("--align-clips", 500, f"clips of which {ALIGN_FRAMES} frames each align the projectors")
    number("--align-steps", 100, "steps of aligning a projector, of 64 frames each")
    number("--learning-rate", 1e-3, "of decoder and projector")
    number("--lora-learning-rate", 2e-3, "of LoRA's weights; the projector's stays the other")
    return parser.parse_args(arguments)


if __name__ == "__main__":  # before what takes seconds to import: --help and slips are answered at once
    ARGUMENTS = parse_arguments()

import numpy as np
import torch
from shapes_base import (
    TOWER,
    align_frames,
    clip_pixels,
    encode_clip,
    kinds_at,
    train_base,
    train_projection,
)
from shapes_figures import FIGURES, best_possible, measure, scipy_stats, table
from train_demo import CAPTIONS, EMPTY, check_settings

from llava_v2xum.core.atomic import replacing
from llava_v2xum.core.tasks import TASKS, query_for
from llava_v2xum.core.timeline import Timeline
from llava_v2xum.data.dataset import build_input_ids
from llava_v2xum.features import FeatureFolder
from llava_v2xum.infer.engine import generate_answers
from llava_v2xum.model.checkpoint import load_pretrained
from llava_v2xum.model.config import LlavaV2XumConfig
from llava_v2xum.shapes import Clip, answer_of, event_visible, make_clip, truth_frames
from llava_v2xum.train.loop import train

logger = logging.getLogger("ablate_shapes")

ALIGN_SERIES, MAIN_SERIES, EXTRA_SERIES, TEST_SERIES = 4_001, 4_002, 4_003, 4_004  # of clips; no other script's
MAX_NEW_TOKENS = 260  # 40 cited frames and five sentences take about 220


def tower_of(args: Namespace, kind: tuple[str, int]) -> Path:
    """The demo's tower, or the folder that has its image projection too."""
    return args.work / "clip" if kind[0] == "clip_embedding" else TOWER


def features_of(args: Namespace, kind: tuple[str, int], num_frames: int) -> Path:
    return args.work / "features" / f"{kind[0]}-{kind[1]}-N{num_frames}"


def projector_of(args: Namespace, kind: tuple[str, int]) -> Path:
    return args.work / "projectors" / f"{kind[0]}-{kind[1]}"


def data_file(args: Namespace, name: str, num_frames: int, tasks: Sequence[str]) -> Path:
    return args.work / "data" / f"{name}-N{num_frames}-{'-'.join(tasks)}.json"


def result_file(args: Namespace, variant: Variant, seed: int) -> Path:
    return args.work / "results" / f"{variant.name}-{seed}.json"


def common_flags(args: Namespace, kind: tuple[str, int], num_frames: int, output: Path, seed: int) -> list[str]:
    """The flags that the alignment and all variants share."""
    return [
        "--model_name_or_path", str(args.work / "base"), "--vision_tower", str(tower_of(args, kind)),
        "--frame_feature", kind[0], "--frame_tokens", str(kind[1]), "--num_frames", str(num_frames),
        "--feature_folder", str(features_of(args, kind, num_frames)), "--output_dir", str(output), "--strict", "True",
        "--group_by_modality_length", "True", "--max_grad_norm", "1.0", "--adam_beta2", "0.98", "--seed", str(seed),
        "--lr_scheduler_type", "cosine", "--warmup_ratio", "0.03", "--dataloader_num_workers", "0",
        "--save_strategy", "no", "--logging_steps", "20", "--report_to", "none", "--disable_tqdm", "True",
    ]  # fmt: skip


def align_flags(args: Namespace, kind: tuple[str, int], output: Path) -> list[str]:
    """LLaVA's first stage: the decoder is frozen, the projector learns to be read by it."""
    return [
        *common_flags(args, kind, ALIGN_FRAMES, output, seed=0), "--tune_mm_mlp_adapter", "True",
        "--data_path", str(args.work / "data" / "captions.json"), "--temporal_prompts", "False",
        "--per_device_train_batch_size", "64", "--max_steps", str(args.align_steps), "--learning_rate", "2e-3",
    ]  # fmt: skip


def variant_flags(args: Namespace, variant: Variant, part: int, seed: int, output: Path) -> list[str]:
    """The flags of one training of a variant."""
    tasks = variant.parts[part]
    data = [data_file(args, name, variant.num_frames, tasks) for name in ("main", "extra")[: 1 + variant.extra_data]]
    flags = [
        *common_flags(args, variant.kind, variant.num_frames, output, seed), "--data_path", *map(str, data),
        "--max_steps", str(args.steps // len(variant.parts)), "--mm_projector_lr", str(args.learning_rate),
        "--learning_rate", str(args.lora_learning_rate if variant.lora else args.learning_rate),
        "--per_device_train_batch_size", str(args.videos if variant.row_positions else args.videos * len(TASKS)),
    ]  # fmt: skip
    if variant.row_positions:
        flags += ["--pack", "True", "--model_max_length", str(variant.row_positions)]
    if variant.aligned:
        flags += ["--pretrain_mm_mlp_adapter", str(projector_of(args, variant.kind) / "mm_projector.bin")]
    return [*flags, *variant.flags]


def write_features(args: Namespace) -> None:
    """Features of all clips, of every kind and N that some variant needs."""
    sizes = {MAIN_SERIES: args.main_clips, TEST_SERIES: args.test_clips, EXTRA_SERIES: args.extra_clips}
    wanted = [(ALIGN_SERIES, index, ALIGN_FRAMES) for index in range(args.align_clips)]
    wanted += [(series, index, n) for series, size in sizes.items() for index in range(size) for n in (25, 50, 100)]
    folders = {}
    for kind, n in {(kind, clip[2]) for clip in wanted for kind in kinds_at(clip[2])}:
        tower = str(tower_of(args, kind))
        config = LlavaV2XumConfig(
            frame_feature=kind[0], frame_tokens=kind[1], num_frames=n, mm_vision_tower=tower, frame_tower=tower,
            mm_vision_select_layer=-2, image_aspect_ratio="pad",
        )  # fmt: skip
        folders[kind, n] = FeatureFolder(features_of(args, kind, n), config.describe_features())
    missing = [
        (args.work / "clip", *clip) for clip in wanted  # a clip's last kind is saved last, so it tells for all of them
        if f"shapes_{clip[0]}_{clip[1]:04d}" not in folders[kinds_at(clip[2])[-1], clip[2]]
    ]  # fmt: skip
    with multiprocessing.get_context("spawn").Pool(args.jobs) as workers:
        for done, (video_id, n, features) in enumerate(workers.imap_unordered(encode_clip, missing, chunksize=4), 1):
            for kind in kinds_at(n):
                folders[kind, n].save(video_id, features[kind])
            if done % 200 == 0:
                logger.info("features: %d of %d", done, len(missing))


def write_data(args: Namespace) -> None:
    """The instruction JSON of both data sets for every N and choice of tasks, and the captions for the alignment."""
    shown = sorted({(variant.num_frames, tasks) for variant in VARIANTS for tasks in variant.parts})
    for name, series, clips in (("main", MAIN_SERIES, args.main_clips), ("extra", EXTRA_SERIES, args.extra_clips)):
        for num_frames, tasks in shown:
            entries = []
            for clip in (make_clip(series, index) for index in range(clips)):
                told = [(event, truth_frames(clip, event, Timeline(num_frames))) for event in clip.events]
                if any(frames for _, frames in told):  # else all events fall between two sampled frames
                    entries += [_entry(clip, task, answer_of(told, task)) for task in tasks]
            _write_json(data_file(args, name, num_frames, tasks), entries)
    _write_json(args.work / "data" / "captions.json", [
        {**_entry(clip, "text", event.sentence if event else EMPTY), "frame_indices": [place]}
        for clip, place, event in aligned_frames(args)
    ])  # fmt: skip


def aligned_frames(args: Namespace) -> list[tuple]:
    """(clip, place among ALIGN_FRAMES, event or None) of all frames that the projectors are aligned on."""
    clips = [make_clip(ALIGN_SERIES, index) for index in range(args.align_clips)]
    return [
        (clip, place, event_visible(clip, int(frame)))
        for clip in clips for place, frame in enumerate(align_frames(clip))
    ]  # fmt: skip


def _entry(clip: Clip, task: str, answer: str) -> dict:
    turns = [{"from": "human", "value": query_for(task)}, {"from": "gpt", "value": answer}]
    return {"id": clip.video_id, "conversations": turns}


def _write_json(path: Path, content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def prepare(args: Namespace) -> None:
    """All that the runs share."""
    if not (args.work / "base").exists():
        train_base(args.work / "base", seed=1)
    if not (args.work / "clip").exists():
        captions = [CAPTIONS.index(event.sentence if event else EMPTY) for _, _, event in aligned_frames(args)]
        with multiprocessing.get_context("spawn").Pool(args.jobs) as workers:
            parts = workers.map(clip_pixels, [(ALIGN_SERIES, index, ALIGN_FRAMES) for index in range(args.align_clips)])
        train_projection(args.work / "clip", TOWER, torch.cat(parts), torch.tensor(captions))
    write_features(args)
    write_data(args)
    waiting = [(args, kind) for kind in KINDS if not projector_of(args, kind).exists()]
    _work_off(align, waiting, args.jobs)


def align(job: tuple[Namespace, tuple[str, int]]) -> str:
    """One run of LLaVA's first stage; keeps its projector, and tells of it."""
    args, kind = job
    torch.set_num_threads(1)
    began, target = time.monotonic(), projector_of(args, kind)
    unfinished = target.with_name(f".{target.name}.partial")
    shutil.rmtree(unfinished, ignore_errors=True)
    train(align_flags(args, kind, unfinished))
    unfinished.rename(target)
    return f"projector {target.name}: {time.monotonic() - began:.0f} s"


def evaluate(args: Namespace, variant: Variant, checkpoint: Path, tasks: Sequence[str]) -> dict[str, float]:
    """The figures of a trained checkpoint on the test clips, for the tasks that it learnt."""
    tokenizer, model, _ = load_pretrained(checkpoint, model_base=args.work / "base" if variant.lora else None)
    clips = [make_clip(TEST_SERIES, index) for index in range(args.test_clips)]
    stored = features_of(args, variant.kind, variant.num_frames)
    videos = [torch.from_numpy(np.load(stored / f"{clip.video_id}.npy")) for clip in clips]
    figures = {"parameters": sum(w.numel() for name, w in model.named_parameters() if "vision_tower" not in name)}
    for task in tasks:
        prompt, answers = build_input_ids(tokenizer, query_for(task)), []
        for start in range(0, len(clips), 30):
            some = videos[start : start + 30]
            answers += generate_answers(model, tokenizer, [prompt] * len(some), some, MAX_NEW_TOKENS)
        figures.update(measure(answers, clips, task, variant.num_frames))
    return figures


def run(job: tuple[Namespace, Variant, int]) -> str:
    """Train and measure one variant with one seed, and write its result; tells of it."""
    args, variant, seed = job
    torch.set_num_threads(1)
    result = {"variant": variant.name, "seed": seed, "flags": [], "training_seconds": 0.0, "measuring_seconds": 0.0}
    for part, tasks in enumerate(variant.parts):
        output = args.work / "runs" / f"{variant.name}-{seed}-{part}"
        shutil.rmtree(output, ignore_errors=True)
        result["flags"].append(variant_flags(args, variant, part, seed, output))
        began = time.monotonic()
        train(result["flags"][-1])
        trained = time.monotonic()
        result.update(evaluate(args, variant, output, tasks))
        result["training_seconds"] += trained - began
        result["measuring_seconds"] += time.monotonic() - trained
        shutil.rmtree(output)
    _write_json(result_file(args, variant, seed), result)
    return f"{variant.name}, seed {seed}: " + ", ".join(f"{key} {result[key]:.3f}" for key in FIGURES if key in result)


def _work_off(function, jobs: Sequence, processes: int) -> None:
    if jobs:
        with multiprocessing.get_context("spawn").Pool(min(processes, len(jobs)), initializer=_quiet) as workers:
            for done, line in enumerate(workers.imap_unordered(function, jobs), 1):
                logger.info("%d of %d: %s", done, len(jobs), line)


def _quiet() -> None:
    """In a worker: transformers' progress bars and notes would come from all of them at once."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


def list_variants(args: Namespace) -> str:
    """Every variant with its trainings' command lines, for the first seed."""
    lines = []
    for variant in VARIANTS:
        lines.append(f"{variant.name}: {variant.label}")
        for part in range(len(variant.parts)):
            flags = variant_flags(args, variant, part, args.seeds[0], args.work / "runs" / variant.name)
            lines.append("  python -m llava_v2xum.train " + " ".join(flags))
    return "\n".join(lines)


def main(args: Namespace) -> None:
    if args.list:
        print(list_variants(args))
        return
    scipy_stats()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    os.environ["OMP_NUM_THREADS"] = "1"  # of the workers
    args.work.mkdir(parents=True, exist_ok=True)
    free = ("work", "jobs", "only", "list", "seeds")  # may differ from one start to the next
    settings = {key: str(value) for key, value in vars(args).items() if key not in free}
    check_settings(args.work / "settings.json", settings)
    prepare(args)
    chosen = [variant for variant in VARIANTS if args.only is None or variant.name in args.only]
    waiting = [  # seed by seed: an early end leaves whole columns
        (args, variant, seed) for seed in args.seeds for variant in chosen
        if not result_file(args, variant, seed).exists()
    ]  # fmt: skip
    _work_off(run, waiting, args.jobs)
    results = [json.loads(file.read_text(encoding="utf-8")) for file in sorted((args.work / "results").glob("*.json"))]
    labels = {variant.name: variant.label for variant in VARIANTS}
    lines = [table(results, labels)]
    for num_frames in sorted({variant.num_frames for variant in VARIANTS}):
        best = best_possible([make_clip(TEST_SERIES, index) for index in range(args.test_clips)], num_frames)
        told = f"F1 {100 * best['f1']:.1f} %, sentences {100 * best['exact']:.1f} %"
        lines.append(f"- N = {num_frames}: the true answers score {told}")
    (args.work / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main(ARGUMENTS)
