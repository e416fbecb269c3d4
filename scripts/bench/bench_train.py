"""Measure a training step: this project against the released method's way, on the same model, samples and machine.

    python scripts/bench/bench_train.py                       # tiny and mid-size Llama, some minutes on a CPU
    python scripts/bench/bench_train.py --models 7b  # on a GPU: LLaMA 7B's shape, random weights, LoRA and full
    python scripts/bench/bench_train.py --models tiny --rounds 1 --json out.json

What is measured, each in a process of its own, in turn, for --rounds rounds; the figures are medians:

    preparation   a batch of 8 videos of 100 frames -> what the decoder reads, with and without the projector
    released      a whole step as the released code does it: temporal prompts tokenized at every step, a loop over the
                  frames that fills a float16 buffer, eager attention, samples in random order, logits for all positions
    ours          a whole step of this project: SDPA, batches of like length, logits for the learned tokens
    packed        the same with --pack: a video's frames once for its three tasks, rows filled to 2048 positions

A sample is one task of one video (TEXT, VIDEO, BOTH in turn); answers are those of rendered clips.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from llava_v2xum.core.command_line import Parser
from llava_v2xum.core.tasks import TASKS, query_for

VIDEOS = 64  # each has three samples
N, ROW = 100, 2048  # frames of a video, positions of a row (paper, section 5.3)
DEMO = Path(__file__).parents[2] / "llava_v2xum/shapes/checkpoint"
SHAPES = {  # hidden size, MLP, layers, heads, vocabulary, tower width
    "tiny": (64, 176, 2, 2, 512, 64),
    "mid": (512, 1376, 8, 8, 32000, 1024),
    "3b": (3200, 8640, 26, 32, 32000, 1024),
    "7b": (4096, 11008, 32, 32, 32000, 1024),
    "13b": (5120, 13824, 40, 40, 32000, 1024),
}
LARGE = ("3b", "7b", "13b")  # that are trained on a GPU alone, and not with eager attention and all logits
VARIANTS = ("released", "ours", "packed")


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = Parser(description=__doc__)
    parser.add_argument("--models", nargs="+", choices=SHAPES, default=["tiny", "mid"])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--training", nargs="+", choices=["lora", "full"], help="default: full; 3b and larger: both")
    parser.add_argument("--batch", type=int, default=8, help="samples a step")
    parser.add_argument("--steps", type=int, default=4, help="measured steps of a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", help="cpu or cuda (a GPU where there is one)")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], help="default: bfloat16 on a GPU, else float32")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--job", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not 1 <= args.batch <= VIDEOS * len(TASKS) or min(args.steps, args.rounds) < 1:
        parser.error(f"--batch takes 1 to {VIDEOS * len(TASKS)}, --steps and --rounds at least 1")
    args.device = args.device or _default_device()
    args.dtype = args.dtype or ("bfloat16" if args.device == "cuda" else "float32")
    for model in args.models:
        if model in LARGE and args.device != "cuda":
            parser.error(f"--models {model} needs a GPU")
    return args


def _default_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


if __name__ == "__main__":  # before what takes seconds to import: --help and slips are answered at once
    ARGUMENTS = parse_arguments()

import torch
from data_sheets import peak_tflops
from random_model import random_model
from torch import Tensor

from llava_v2xum.core.timeline import Timeline
from llava_v2xum.data.dataset import tokenize_conversation
from llava_v2xum.model import packing
from llava_v2xum.shapes import answer_of, make_clip, truth_frames

Sample = tuple[Tensor, Tensor, int]  # input_ids, labels, number of the video


def make_model(shape: str, attention: str, device: str, dtype: torch.dtype):
    """A model of random weights; frames come as features, so its tower is never loaded."""
    from transformers import AutoTokenizer

    hidden, mlp, layers, heads, vocabulary, width = SHAPES[shape]
    tokenizer = AutoTokenizer.from_pretrained(DEMO, use_fast=False)
    model = random_model(
        tokenizer, (hidden, mlp, layers, heads, heads), device, dtype, vocab_size=vocabulary, pad_token_id=0,
        bos_token_id=1, eos_token_id=2, mm_vision_tower=str(DEMO / "vision_tower"), mm_hidden_size=width,
        use_cache=False, tokenizer_padding_side="right", attn_implementation=attention,
    )  # fmt: skip
    return model.train(), tokenizer


def make_samples(tokenizer, videos: int) -> list[Sample]:
    """The three tasks of rendered clips, task by task, as a shuffled training set has them."""
    timeline, samples = Timeline(N), []
    for number in range(videos):
        clip = make_clip(5_000, number)
        events = [(event.sentence, truth_frames(clip, event, timeline)) for event in clip.events]
        for task in TASKS:
            turns = [{"from": "human", "value": query_for(task)}, {"from": "gpt", "value": answer_of(events, task)}]
            samples.append((*tokenize_conversation(turns, tokenizer), number))
    return samples


def padded(rows: list[Tensor], value: int) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value)


def batches_of(variant: str, samples: list[Sample], batch: int) -> list[tuple[dict[str, Tensor], list[int], int]]:
    """An epoch's batches: tensors, the videos of their placeholders, and how many samples they hold."""
    generator = torch.Generator().manual_seed(0)
    if variant == "packed":
        return _packed_batches(samples, batch)
    order = torch.randperm(len(samples), generator=generator).tolist()
    if variant == "ours":
        order = _length_grouped(samples, batch, generator)
    made = []
    for start in range(0, len(order) - batch + 1, batch):
        chosen = [samples[place] for place in order[start : start + batch]]
        tensors = {
            "input_ids": padded([ids for ids, _, _ in chosen], 0),
            "labels": padded([labels for _, labels, _ in chosen], -100),
            "attention_mask": padded([torch.ones_like(ids) for ids, _, _ in chosen], 0),
        }
        made.append((tensors, [video for _, _, video in chosen], batch))
    return made


def _length_grouped(samples: list[Sample], batch: int, generator: torch.Generator) -> list[int]:
    """LLaVA's own order, `--group_by_modality_length`."""
    from llava_v2xum.features.upstream import mend_llava

    mend_llava()
    from llava.train.llava_trainer import get_length_grouped_indices

    torch.manual_seed(0)
    # groups of one optimizer step: 16 accumulated batches, as in the released script
    return get_length_grouped_indices([len(ids) for ids, _, _ in samples], batch, 16, generator=generator)


def _packed_batches(samples: list[Sample], batch: int) -> list[tuple[dict[str, Tensor], list[int], int]]:
    """Rows of about as many positions in all as `batch` samples have on their own."""
    frames = N * 5
    lengths = [len(ids) - 1 + frames for ids, _, _ in samples]
    before = int((samples[0][0] == -200).nonzero()[0])
    plan = packing.plan_rows(lengths, [video for *_, video in samples], [before + frames] * len(samples), ROW, seed=0)
    rows_at_once = max(1, round(batch * statistics.mean(lengths) / ROW))
    made = []
    for start in range(0, len(plan) - rows_at_once + 1, rows_at_once):
        rows = plan[start : start + rows_at_once]
        groups = [[[samples[place][:2] for place in group] for group in row] for row in rows]
        parts = [padded(list(part), value) for part, value in zip(zip(*map(packing.pack_row, groups)), (0, -100, 0))]
        videos = [samples[group[0]][2] for row in rows for group in row]
        count = sum(len(group) for row in rows for group in row)
        made.append((dict(zip(("input_ids", "labels", "attention_mask"), parts)), videos, count))
    return made


def released_frames(model, tokenizer, videos: Tensor, project: bool = True) -> Tensor:
    """What the released code does with the frames at every step, written from its description in our words.

    The temporal prompts are tokenized and embedded, cast to float16, and each frame's four embeddings and one visual
    token are written into their places of a float16 buffer, frame by frame.

    Args:
        videos: [B, N, C] features, or [B, N, D] visual tokens if they are projected already.

    Returns:
        [B, 5 N, D] float16.
    """
    tokens = model.get_model().mm_projector(videos) if project else videos
    texts = [f"[{index:02d}]" for index in range(N)]
    ids = tokenizer(texts, return_tensors="pt", add_special_tokens=False)["input_ids"].to(tokens.device)
    prompts = model.get_input_embeddings()(ids).half()
    buffer = torch.empty(len(videos), 5 * N, tokens.shape[-1], dtype=torch.float16, device=tokens.device)
    for index in range(N):
        buffer[:, 5 * index : 5 * index + 4] = prompts[index]
        buffer[:, 5 * index + 4] = tokens[:, index]
    return buffer


def released_loss(model, tokenizer, batch: dict[str, Tensor], videos: Tensor) -> Tensor:
    """A forward pass with those frames: LLaVA splices them in, and logits are made for every position."""
    dtype = model.get_input_embeddings().weight.dtype
    frames = released_frames(model, tokenizer, videos).to(dtype)
    media = [video[:, None, None] for video in frames]
    _, positions, mask, _, embeds, labels = model.prepare_inputs_labels_for_multimodal(
        batch["input_ids"], None, batch["attention_mask"], None, batch["labels"], media
    )
    hidden = model.model(inputs_embeds=embeds, attention_mask=mask, position_ids=positions, use_cache=False)[0]
    logits = model.lm_head(hidden).float()
    return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())


def median_seconds(work: Callable[[], object], repeats: int, device: str) -> float:
    def wait() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    work()
    wait()
    taken = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        wait()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


@torch.no_grad()
def measure_preparation(shape: str, device: str, dtype: torch.dtype, repeats: int) -> dict[str, float]:
    """Milliseconds for 8 videos, both ways, with and without the projector, which is the same work in both."""
    model, tokenizer = make_model(shape, "sdpa", device, dtype)
    features = torch.randn(8, N, model.config.mm_hidden_size, device=device, dtype=dtype)
    tokens = torch.randn(8, N, model.config.hidden_size, device=device, dtype=dtype)

    def ours(videos: Tensor) -> list[Tensor]:
        return model.embed_media(list(videos))  # in the form that LLaVA splices in, as the released buffer is

    figures = {
        "released": median_seconds(lambda: released_frames(model, tokenizer, features), repeats, device),
        "ours": median_seconds(lambda: ours(features), repeats, device),
        "released, no projector": median_seconds(
            lambda: released_frames(model, tokenizer, tokens, project=False), repeats, device
        ),
    }
    model.config.mm_hidden_size = model.config.hidden_size
    projector = model.get_model().mm_projector
    for place in range(len(projector)):
        projector[place] = torch.nn.Identity() if place else _Pass(projector[0].weight)
    figures["ours, no projector"] = median_seconds(lambda: ours(tokens), repeats, device)
    return {name: 1000 * seconds for name, seconds in figures.items()}


class _Pass(torch.nn.Module):
    """Stands for the projector where it is left out."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(weight[:1, :1].clone())

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens


def measure_step(
    shape: str, variant: str, training: str, batch: int, steps: int, device: str, dtype: torch.dtype,
    checkpointing: bool | None = None, eight_bit: bool | None = None,
) -> dict[str, float]:  # fmt: skip
    """Samples and tokens a second and peak memory of whole steps: forward, backward, optimizer.

    Args:
        checkpointing: whether a layer's activations are made again on the way back; None does so in large models.
        eight_bit: whether the optimizer's state is in 8 bits; None does so where it is large.
    """
    model, tokenizer = make_model(shape, "eager" if variant == "released" else "sdpa", device, dtype)
    parameters = sum(weight.numel() for name, weight in model.named_parameters() if "embed_tokens" not in name)
    checkpointing = shape in LARGE if checkpointing is None else checkpointing
    stepped = _for_training(model, training, checkpointing)
    optimizer = _optimizer(stepped, eight_bit)
    features = torch.randn(VIDEOS, N, model.config.mm_hidden_size, device=device, dtype=dtype)
    batches = batches_of(variant, make_samples(tokenizer, VIDEOS), batch)
    # spread over the epoch, so that short and long batches are there as often as in all of it
    chosen = [batches[len(batches) * step // (steps + 1)] for step in range(steps + 1)]
    seconds = samples = positions = 0.0
    for number, (tensors, videos, count) in enumerate(chosen):
        began = time.perf_counter()
        tensors = {name: tensor.to(device) for name, tensor in tensors.items()}
        with torch.autocast(device, dtype, enabled=dtype != torch.float32):  # as the trainer: LoRA is float32
            if variant == "released":
                loss = released_loss(model, tokenizer, tensors, features[videos])
            else:
                loss = stepped(**tensors, videos=[features[video] for video in videos]).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if device == "cuda":
            torch.cuda.synchronize()
        if number:  # the first one warms up
            seconds += time.perf_counter() - began
            samples += count
            positions += int((tensors["attention_mask"] > 0).sum()) + len(videos) * (5 * N - 1)
    memory = torch.cuda.max_memory_allocated() if device == "cuda" else _peak_resident_bytes()
    passes = 6 if training == "full" else 4  # FLOP a weight and position; LoRA needs no gradients of the weights
    return {
        "samples_per_second": samples / seconds,
        "positions_per_second": positions / seconds,
        "tflops": passes * parameters * positions / seconds / 1e12,
        "peak_gb": memory / 1e9,
    }


def _for_training(model, training: str, gradient_checkpointing: bool):
    """The model as LLaVA's `train()` sets it up: the tower apart, all weights or LoRA and the projector."""
    if gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if training == "full":
        return model
    import peft

    from llava_v2xum.features.upstream import mend_llava

    mend_llava()
    from llava.train.train import find_all_linear_names

    settings = peft.LoraConfig(r=64, lora_alpha=128, target_modules=find_all_linear_names(model), lora_dropout=0.05)
    wrapped = peft.get_peft_model(model, settings)
    model.get_model().mm_projector.requires_grad_(True)
    return wrapped


def _optimizer(model, eight_bit: bool | None) -> torch.optim.Optimizer:
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    if eight_bit is None:
        eight_bit = sum(weight.numel() for weight in weights) >= 2e9
    if not eight_bit:
        return torch.optim.AdamW(weights, lr=1e-4, fused=weights[0].is_cuda)
    try:
        import bitsandbytes
    except ImportError as error:
        raise SystemExit("full training of 3B and more needs an 8-bit optimizer: pip install bitsandbytes") from error
    return bitsandbytes.optim.AdamW8bit(weights, lr=1e-4)


def _peak_resident_bytes() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def jobs_of(args: argparse.Namespace) -> Iterator[tuple[str, str, str]]:
    """(shape, what is measured, training) of a round."""
    for shape in args.models:
        yield shape, "preparation", "full"
        for training in args.training or (("lora", "full") if shape in LARGE else ("full",)):
            for variant in args.variants:
                if shape not in LARGE or variant != "released":
                    yield shape, variant, training


def run_job(shape: str, what: str, training: str, args: argparse.Namespace) -> dict[str, float]:
    """One measurement in a process of its own, so that its peak memory is its own."""
    call = [sys.executable, __file__, "--job", shape, what, training, "--batch", str(args.batch)]
    call += ["--steps", str(args.steps), "--device", args.device, "--dtype", args.dtype]
    done = subprocess.run(call, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{shape} {what} {training} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def report(results: dict[tuple[str, str, str], dict[str, float]], device: str) -> None:
    """A Markdown table, and the ratios."""
    peak, rate = peak_tflops(device), "samples_per_second"
    for shape in dict.fromkeys(shape for shape, _, _ in results):
        preparation = results.get((shape, "preparation", "full"), {})
        if preparation:
            print(f"\n## {shape}: preparation of 8 videos of {N} frames\n\n| | released, ms | ours, ms | ratio |")
            print("|---|---|---|---|")
            for name, suffix in (("with the projector", ""), ("without it", ", no projector")):
                theirs, ours = preparation[f"released{suffix}"], preparation[f"ours{suffix}"]
                print(f"| {name} | {theirs:.2f} | {ours:.2f} | {theirs / ours:.1f} |")
        steps = {key[1:]: figures for key, figures in results.items() if key[0] == shape and key[1] in VARIANTS}
        if steps:
            print(f"\n## {shape}: whole steps\n\n| | samples/s | positions/s | model TFLOP/s | peak memory, GB |")
            print("|---|---|---|---|---|")
        for (variant, training), figures in steps.items():
            share = f" ({100 * figures['tflops'] / peak:.0f} % of {peak})" if peak else ""
            print(
                f"| {variant}, {training} | {figures['samples_per_second']:.2f} | "
                f"{figures['positions_per_second']:.0f} | {figures['tflops']:.3f}{share} | {figures['peak_gb']:.2f} |"
            )
        for training in dict.fromkeys(training for _, training in steps):
            for one, other in (("ours", "released"), ("packed", "ours"), ("packed", "released")):
                if (one, training) in steps and (other, training) in steps:
                    ratio = steps[one, training][rate] / steps[other, training][rate]
                    print(f"{shape}, {training}: {one} / {other}: {ratio:.2f} times the samples a second")


def main(args: argparse.Namespace) -> None:
    if args.job:
        shape, what, training = args.job
        dtype = getattr(torch, args.dtype)
        if what == "preparation":
            figures = measure_preparation(shape, args.device, dtype, 10 * args.steps)
        else:
            figures = measure_step(shape, what, training, args.batch, args.steps, args.device, dtype)
        print(json.dumps(figures))
        return
    rounds: dict[tuple[str, str, str], list[dict[str, float]]] = {}
    for number in range(args.rounds):
        for job in jobs_of(args):
            print(f"round {number + 1} of {args.rounds}: {' '.join(job)}", file=sys.stderr)
            rounds.setdefault(job, []).append(run_job(*job, args))
    results = {
        job: {name: statistics.median(figures[name] for figures in runs) for name in runs[0]}
        for job, runs in rounds.items()
    }
    report(results, args.device)
    if args.json:
        args.json.write_text(json.dumps({" ".join(job): figures for job, figures in results.items()}, indent=1) + "\n")


if __name__ == "__main__":
    main(ARGUMENTS)
