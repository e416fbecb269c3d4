"""What all ablations on the shapes world share: a decoder that has seen no picture, a CLIP, and frame features.

The paper starts from Vicuna, which has read much and never a frame. Its stand-in reads the three tasks with symbols
where the frames' visual tokens will be: what a frame shows (shape, color and place, or nothing) as a noisy one-hot
vector through a linear layer that is thrown away. Every temporal prompt, none of them, every N and every number of
tokens a frame that is ablated later is in the mix, so that no variant is favoured. Few scattered frames come first:
there each citation must be read off its frame, which is how a decoder soon learns that it can. Later the three tasks of
a clip share its frames in one row (`llava_v2xum.model.packing`).

Shapes: B rows, L positions, T frames of one sample, k ids of a temporal prompt, m visual tokens of a frame, F features
of a symbol (14), R visual tokens of a batch, N frames of a clip.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from ablate_variants import ALIGN_FRAMES, KINDS, PATCH_MEAN
from llava.constants import IGNORE_INDEX, IMAGE_TOKEN_INDEX
from torch import LongTensor, Tensor, nn
from train_demo import EMPTY, compress, make_base

from llava_v2xum.core.tasks import TASKS, query_for
from llava_v2xum.core.timeline import Timeline, as_template, temporal_prompt_ids
from llava_v2xum.data.dataset import tokenize_conversation
from llava_v2xum.features import FrameEncoder, pool_patches
from llava_v2xum.model.packing import attention_mask_of, pack_row, positions
from llava_v2xum.shapes import COLORS, PLACES, SHAPES, Clip, Event, answer_of, draw_frames, make_clip, truth_frames

logger = logging.getLogger("shapes_base")

TOWER = Path(__file__).resolve().parents[2] / "llava_v2xum" / "shapes" / "checkpoint" / "vision_tower"
CLIPS, READ_SERIES = 4000, 4_000  # the clips that the decoder reads about; no other step draws from that series
CLOCKS = (25, 50, 100)
PROMPTS = ("[00]", "00", "[f00]")
FRAME_TOKENS = (1, 4, 9)
FEATURES = len(SHAPES) + len(COLORS) + len(PLACES) + 1  # F; the last one says that the frame is empty
NOISE = 0.15  # of a symbol's features: projected ones will not be one-hot either
VISUAL = -1  # stands for a visual token among ids
CAPTION_SHARE = 0.08  # of the batches: one frame and its sentence, as a projector is aligned later
WARMUP_STEPS = 60


@dataclass(frozen=True)
class Draw:
    """A kind of batch.

    Args:
        share: how often it is drawn, among those of its stage.
        kind: what a sample shows: "scattered" frames, a "window" without gaps, or "whole", all N of them.
        frames: how many, from and to; of no matter to "whole".
        rows: samples in a batch with N = 50; fewer with more frames.
        clocks: N, one for the whole batch.
        prompts: the temporal prompts, one for the whole batch. Without any (None) a frame is known by its place alone,
            so only "whole" can be learnt.
        tokens: how often a frame has 1, 4 and 9 visual tokens; one where N is 100 and all of them are shown.
        together: whether the three tasks of a clip stand in one row; else one of them.
    """

    share: float
    kind: str
    frames: tuple[int, int] = (0, 0)
    rows: int = 5
    clocks: tuple[int, ...] = CLOCKS
    prompts: tuple[str | None, ...] = PROMPTS
    tokens: tuple[float, float, float] = (0.8, 0.12, 0.08)
    together: bool = True


@dataclass(frozen=True)
class Stage:
    """A part of the course: steps, the learning rate at its begin and end, and what is drawn."""

    steps: int
    rates: tuple[float, float]
    draws: tuple[Draw, ...]


_COUNTED = Draw(0.25, "whole", prompts=(None,))
_MIXED = (
    Draw(0.26, "scattered", (6, 21), rows=8, clocks=(100,)),
    Draw(0.19, "window", (12, 29), rows=6, clocks=(50, 100)),
    Draw(0.30, "whole"),
    _COUNTED,
)
COURSE = (
    # one task a sample, everything at once: teaches the sentences and to count on from a citation, but not to cite
    Stage(900, (2e-3, 2e-3), (Draw(0.75, "scattered", (4, 16), rows=16, together=False), _COUNTED)),
    Stage(300, (2e-3, 1e-3), (Draw(0.75, "window", (12, 25), rows=16, together=False), _COUNTED)),
    Stage(300, (1e-3, 1e-4), (Draw(0.75, "window", (25, 50), rows=10, clocks=(50, 100), together=False), _COUNTED)),
    # few frames far apart: no citation follows from the one before it, so each must be found
    Stage(800, (2e-3, 2e-3), (Draw(1.0, "scattered", (3, 10), rows=14, clocks=(100,), tokens=(1, 0, 0)),)),
    Stage(400, (2e-3, 2e-3), _MIXED),
    Stage(750, (2e-3, 1e-4), _MIXED),
)


@dataclass(frozen=True)
class Sample:
    """Questions and answers about some frames.

    Args:
        turns: for each question its ids and labels, int64 [L], VISUAL where visual tokens stand.
        symbols: [T * m, F], what the visual tokens show.
    """

    turns: list[tuple[LongTensor, LongTensor]]
    symbols: Tensor


@dataclass(frozen=True)
class Batch:
    """ids and labels int64 [B, L], the symbols [R, F] in the order of their places; codes [B, L] as in `packing`."""

    prompt: str | None
    ids: LongTensor
    labels: LongTensor
    symbols: Tensor
    codes: LongTensor


def symbol_of(event: Event | None) -> np.ndarray:
    """float32 [F]: what a frame shows, each of shape, color and place one-hot, or that it is empty."""
    symbol = np.zeros(FEATURES, dtype=np.float32)
    if event is None:
        symbol[-1] = 1
        return symbol
    symbol[SHAPES.index(event.shape)] = 1
    symbol[len(SHAPES) + list(COLORS).index(event.color)] = 1
    symbol[len(SHAPES) + len(COLORS) + list(PLACES).index(event.place)] = 1
    return symbol


class Teacher:
    """Draws batches about clips that are never rendered.

    Args:
        tokenizer: the base's.
        series: of the clips.
        seed: of what is asked about them.
    """

    def __init__(self, tokenizer, series: int, seed: int, clips: int = CLIPS) -> None:
        self.tokenizer = tokenizer
        self.rng = np.random.default_rng([series, seed])
        self.clips = [make_clip(series, index) for index in range(clips)]
        self.prompt_ids: dict[str | None, list[list[int]]] = {None: [[]] * max(CLOCKS)}
        for prompt in PROMPTS:
            self.prompt_ids[prompt] = temporal_prompt_ids(tokenizer, Timeline(max(CLOCKS), as_template(prompt)))

    def batch(self, stage: Stage) -> Batch:
        """Rows of about the same length: one temporal prompt, one N and one number of tokens a frame for them all."""
        rng, prompt = self.rng, None
        if rng.random() < CAPTION_SHARE:
            tokens = int(rng.choice(FRAME_TOKENS, p=(0.6, 0.2, 0.2)))
            samples = [self._caption(tokens) for _ in range(24)]
        else:
            shares = np.array([draw.share for draw in stage.draws])
            draw = stage.draws[rng.choice(len(shares), p=shares / shares.sum())]
            prompt, num_frames = draw.prompts[rng.integers(len(draw.prompts))], int(rng.choice(draw.clocks))
            whole = draw.kind == "whole"
            tokens = 1 if whole and num_frames == 100 else int(rng.choice(FRAME_TOKENS, p=draw.tokens))
            shown = num_frames if whole else int(rng.integers(draw.frames[0], draw.frames[1] + 1))
            size = {25: draw.rows + 2, 50: draw.rows, 100: draw.rows - 2}[num_frames] if whole else draw.rows
            samples = [self._sample(draw, shown, num_frames, prompt, tokens) for _ in range(size)]
        rows = [pack_row([sample.turns]) for sample in samples]
        pad = torch.nn.utils.rnn.pad_sequence
        columns = zip(zip(*rows), (0, IGNORE_INDEX, 0))
        ids, labels, codes = (pad(column, batch_first=True, padding_value=value) for column, value in columns)
        return Batch(prompt, ids, labels, torch.cat([sample.symbols for sample in samples]), codes)

    def _sample(self, draw: Draw, shown: int, num_frames: int, prompt: str | None, tokens: int) -> Sample:
        """Frames of a clip that show something."""
        rng = self.rng
        while True:
            clip = self.clips[rng.integers(len(self.clips))]
            told = [(event, truth_frames(clip, event, Timeline(num_frames))) for event in clip.events]
            cited = {index: event for event, frames in told for index in frames}
            if draw.kind == "scattered":  # half of them of events
                some = rng.permutation([*cited])[: shown // 2].astype(int).tolist()
                indices = {*some, *rng.integers(0, num_frames, shown - len(some)).tolist()}
            else:
                start = int(rng.integers(0, num_frames - shown + 1))
                indices = set(range(start, start + shown))
            if indices & set(cited):
                break
        inside = [(event, [index for index in frames if index in indices]) for event, frames in told]
        tasks = TASKS if draw.together else [TASKS[rng.integers(len(TASKS))]]
        answers = {task: answer_of(inside, task) for task in tasks}
        return self._assemble(answers, sorted(indices), [cited.get(index) for index in sorted(indices)], prompt, tokens)

    def _caption(self, tokens: int) -> Sample:
        """One frame without a temporal prompt, and its sentence as a TEXT answer."""
        clip = self.clips[self.rng.integers(len(self.clips))]
        event = clip.events[self.rng.integers(len(clip.events))] if self.rng.random() < 0.7 else None
        return self._assemble({"text": event.sentence if event else EMPTY}, [0], [event], None, tokens)

    def _assemble(
        self, answers: dict[str, str], indices: list[int], events: list[Event | None], prompt: str | None, tokens: int
    ) -> Sample:
        block = [number for index in indices for number in (*self.prompt_ids[prompt][index], *[VISUAL] * tokens)]
        frames = torch.tensor(block)
        ignored = torch.full_like(frames, IGNORE_INDEX)
        turns = []
        for task, answer in answers.items():
            said = [{"from": "human", "value": query_for(task)}, {"from": "gpt", "value": answer}]
            ids, labels = tokenize_conversation(said, self.tokenizer)
            place = int((ids == IMAGE_TOKEN_INDEX).nonzero())
            before, behind = slice(None, place), slice(place + 1, None)
            turns.append((
                torch.cat([ids[before], frames, ids[behind]]),
                torch.cat([labels[before], ignored, labels[behind]]),
            ))  # fmt: skip
        symbols = np.stack([symbol_of(event) for event in events])
        return Sample(turns, torch.from_numpy(self._spread(symbols, tokens)))

    def _spread(self, symbols: np.ndarray, tokens: int) -> np.ndarray:
        """[T, F] -> [T * m, F]: of several tokens some show what is there, as cells of a picture do."""
        if tokens == 1:
            return symbols
        spread = np.repeat(symbols[:, None], tokens, axis=1)
        blank = self.rng.random(spread.shape[:2]) < 0.5
        blank[np.arange(len(blank)), self.rng.integers(tokens, size=len(blank))] = False
        spread[blank] = symbol_of(None)
        return spread.reshape(-1, FEATURES)


def answer_logits(model, reader: nn.Module, batch: Batch) -> tuple[Tensor, LongTensor]:
    """The logits at the answers' positions, and the ids that belong there."""
    embedded = model.get_input_embeddings()(batch.ids.clamp(min=0))
    seen = reader(batch.symbols + NOISE * torch.randn_like(batch.symbols))
    embedded = embedded.masked_scatter((batch.ids == VISUAL)[..., None], seen)
    mask = attention_mask_of(batch.codes, embedded.dtype)
    places = positions(batch.codes)
    hidden = model.model(inputs_embeds=embedded, attention_mask=mask, position_ids=places, use_cache=False)[0]
    wanted = batch.labels[:, 1:]
    learned = wanted != IGNORE_INDEX
    return model.lm_head(hidden[:, :-1][learned]), wanted[learned]


def learning_rates(course: Sequence[Stage]) -> list[float]:
    """The learning rate of every step: straight through each stage; it climbs where a stage begins above the last."""
    rates, last = [], 0.0
    for stage in course:
        straight = np.linspace(*stage.rates, stage.steps)
        if stage.rates[0] > last:
            straight *= np.minimum(np.arange(1, stage.steps + 1) / WARMUP_STEPS, 1.0)
        rates += straight.tolist()
        last = stage.rates[1]
    return rates


def train_base(folder: Path, seed: int, course: Sequence[Stage] = COURSE, series: int = READ_SERIES) -> None:
    """Make the tokenizer and the decoder, and train it; the folder is there once it is done."""
    from transformers import AutoTokenizer, LlamaForCausalLM, set_seed

    unfinished = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(unfinished, ignore_errors=True)
    make_base(unfinished, seed)
    tokenizer = AutoTokenizer.from_pretrained(unfinished, use_fast=False)
    model = LlamaForCausalLM.from_pretrained(unfinished).float().train()
    set_seed(seed)
    reader = nn.Linear(FEATURES, model.config.hidden_size)
    parameters = [*model.parameters(), *reader.parameters()]
    optimizer = torch.optim.AdamW(parameters, betas=(0.9, 0.98), weight_decay=0.01)
    teacher = Teacher(tokenizer, series, seed)
    digits = torch.tensor([tokenizer.convert_tokens_to_ids(str(digit)) for digit in range(10)])
    plan = [stage for stage in course for _ in range(stage.steps)]
    began, right, seen = time.monotonic(), np.zeros(3), np.zeros(3)
    for step, (stage, rate) in enumerate(zip(plan, learning_rates(course)), 1):
        batch = teacher.batch(stage)
        logits, wanted = answer_logits(model, reader, batch)
        loss = nn.functional.cross_entropy(logits, wanted)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        hit, cited = logits.argmax(-1) == wanted, torch.isin(wanted, digits)
        prompted = cited & (batch.prompt is not None)
        for place, some in enumerate((prompted, cited & ~prompted, ~cited)):
            right[place] += hit[some].sum().item()
            seen[place] += some.sum().item()
        if step % 50 == 0:
            logger.info(
                "base: step %d of %d, loss %.3f; right: digits %.3f, without temporal prompts %.3f, words %.3f; %.0f s",
                step, len(plan), loss.item(), *(right / np.maximum(seen, 1)), time.monotonic() - began,
            )  # fmt: skip
            right, seen = np.zeros(3), np.zeros(3)
    model.save_pretrained(unfinished)
    unfinished.rename(folder)


def train_projection(folder: Path, tower: Path, pixels: Tensor, captions: LongTensor, steps: int = 1500) -> None:
    """A whole CLIP folder of a tower that was saved without its image projection: the projection is fitted, no more.

    Contrast of frames with captions as CLIP's, each caption a unit vector that is learnt along.

    Args:
        pixels: [T, 3, h, w].
        captions: int64 [T], the numbers of the frames' captions.

    Raises:
        ValueError: if the tower lacks weights other than the projection.
    """
    from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection, set_seed

    set_seed(0)
    model, report = CLIPVisionModelWithProjection.from_pretrained(tower, output_loading_info=True)
    if lacking := sorted(set(report["missing_keys"]) - {"visual_projection.weight"}):
        raise ValueError(f"{tower}: expected all of a CLIP vision tower, got none of {lacking}")
    model.float().eval().requires_grad_(False)
    pooled = torch.cat([model.vision_model(part.float()).pooler_output for part in pixels.split(256)])
    projection = model.visual_projection.requires_grad_(True)
    told = nn.Embedding(int(captions.max()) + 1, projection.out_features)
    optimizer = torch.optim.AdamW([*projection.parameters(), *told.parameters()], lr=3e-3, weight_decay=0.01)
    for step in range(1, steps + 1):
        rows = torch.randint(len(captions), (256,))
        image = nn.functional.normalize(projection(pooled[rows]), dim=-1)
        scores = 20 * image @ nn.functional.normalize(told.weight, dim=-1).T
        loss = nn.functional.cross_entropy(scores, captions[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 500 == 0:
            right = (scores.argmax(1) == captions[rows]).float().mean().item()
            logger.info("projection: step %d of %d, captions right %.3f", step, steps, right)
    unfinished = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(unfinished, ignore_errors=True)
    model.requires_grad_(True).save_pretrained(unfinished)
    CLIPImageProcessor.from_pretrained(tower).save_pretrained(unfinished)
    unfinished.rename(folder)


def align_frames(clip: Clip) -> np.ndarray:
    """int64 [ALIGN_FRAMES], ascending: frames of a clip to align projectors on, two thirds of them of events."""
    rng = np.random.default_rng([clip.seed, clip.index])
    shown = np.concatenate([np.arange(event.start_frame, event.end_frame) for event in clip.events])
    shown = rng.choice(shown, 2 * ALIGN_FRAMES // 3)
    return np.sort(np.concatenate([shown, rng.integers(0, clip.total_frames, ALIGN_FRAMES - len(shown))]))


class _Preprocessor:
    """Stands for a loaded tower, of which only the image processor is wanted."""

    is_loaded = True

    def __init__(self) -> None:
        from transformers import CLIPImageProcessor

        self.image_processor = CLIPImageProcessor.from_pretrained(TOWER)


def clip_pixels(which: tuple[int, int, int]) -> Tensor:
    """Preprocessed frames [N, 3, h, w] of clip (series, index, N); N = ALIGN_FRAMES stands for `align_frames`."""
    series, index, num_frames = which
    torch.set_num_threads(1)
    clip = make_clip(series, index)
    numbers = align_frames(clip) if num_frames == ALIGN_FRAMES else Timeline(num_frames).sample(clip.total_frames)
    return FrameEncoder(_Preprocessor(), "pad", {}).preprocess(compress(draw_frames(clip, numbers), 60 + index % 36))


def kinds_at(num_frames: int) -> tuple[tuple[str, int], ...]:
    """The kinds of feature that some variant, or the alignment, needs at N."""
    return KINDS if num_frames in (50, ALIGN_FRAMES) else (PATCH_MEAN,)


@lru_cache(maxsize=1)
def _whole_clip(folder: Path):
    from transformers import CLIPVisionModelWithProjection

    return CLIPVisionModelWithProjection.from_pretrained(folder).float().eval()


@torch.inference_mode()
def encode_clip(job: tuple[Path, int, int, int]) -> tuple[str, int, dict[tuple[str, int], np.ndarray]]:
    """All kinds of features of one clip by one pass of the tower: video id, N, and kind -> features.

    Args:
        job: the CLIP's folder, and what `clip_pixels` takes.
    """
    folder, series, index, num_frames = job
    seen = _whole_clip(folder)(clip_pixels((series, index, num_frames)), output_hidden_states=True)
    layer = seen.hidden_states[-2]  # LLaVA-1.5's
    features = {("class_token", 1): layer[:, 0], ("clip_embedding", 1): seen.image_embeds}
    features |= {kind: pool_patches(layer[:, 1:], kind[1]) for kind in KINDS if kind[0] == "patch_mean"}
    found = {kind: features[kind].numpy().astype(np.float16) for kind in kinds_at(num_frames)}
    return make_clip(series, index).video_id, num_frames, found
