"""Train the demo checkpoint that ships with the package, from one seed.

Everything is made here: a sentencepiece model with LLaMA's settings, a CLIP tower trained on rendered frames and
their captions, the features of rendered clips, and a small Llama trained with the projector by LLaVA's own `train()`
with the video type, in five runs: few scattered frames of the 100-frame clock, growing windows of it, then all of it
(starting at N = 100 is far slower), the last one mostly on TEXT.
Steps that are done are not done again: start it once more to go on.

    python scripts/shapes/train_demo.py --work /tmp/demo --out llava_v2xum/shapes/checkpoint
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import shutil
import time
from io import BytesIO
from pathlib import Path

from llava_v2xum.core.command_line import Parser


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = Parser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder of the steps' results")
    parser.add_argument("--out", type=Path, required=True, help="folder of the finished checkpoint")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--tower-clips", type=int, default=1200)
    parser.add_argument("--tower-steps", type=int, default=2000)
    parser.add_argument("--clips", type=int, default=2500, help="clips that the decoder learns from")
    parser.add_argument("--batch", type=int, default=16)
    return parser.parse_args()


if __name__ == "__main__":  # before what takes seconds to import: --help and slips are answered at once
    ARGUMENTS = parse_arguments()

import numpy as np
import torch
from PIL import Image

from llava_v2xum.core.atomic import replacing
from llava_v2xum.core.tasks import TASKS, query_for
from llava_v2xum.core.timeline import Timeline
from llava_v2xum.features import FeatureFolder, FrameEncoder
from llava_v2xum.model.checkpoint import load_pretrained, save_checkpoint
from llava_v2xum.shapes import (
    COLORS,
    PLACES,
    SHAPES,
    answer_of,
    draw_frames,
    event_visible,
    make_clip,
    sentence_of,
    truth_frames,
)

logger = logging.getLogger("train_demo")

TIMELINE = Timeline()
FINISHED = "finished"  # an empty file in the folder of a step that is done
VOCABULARY, HIDDEN, IMAGE_SIZE, TOWER_WIDTH = 512, 128, 64, 128
EMPTY = "An empty scene."
CAPTIONS = [EMPTY] + [sentence_of(s, c, p) for s in SHAPES for c in COLORS for p in PLACES]
NOTE = "this demo checkpoint knows only rendered moving shapes; for real videos give --model-path"
TOWER_SERIES, DECODER_SERIES = 1_000, 2_000  # clip series (plus the seed): none of them is used to measure
STAGES = (  # name, frames of a sample, tasks, steps, learning rate, its schedule
    ("scattered", (6, 20), TASKS, 900, 2e-3, "constant_with_warmup"),
    ("short", (16, 48), TASKS, 900, 1.5e-3, "constant_with_warmup"),
    ("middle", (48, 80), TASKS, 300, 1e-3, "constant_with_warmup"),
    ("whole", (100, 100), TASKS, 600, 8e-4, "cosine"),
    # an answer in TEXT has few of a batch's tokens, so few of its gradients: it gets samples of its own at the end
    ("text", (100, 100), ("text", "text", "text", "both", "video"), 300, 4e-4, "cosine"),
)


def make_base(folder: Path, seed: int) -> None:
    """A Llama of random weights with its tokenizer, in the layout of `lmsys/vicuna-7b-v1.5`."""
    import sentencepiece
    from llava.conversation import conv_templates
    from transformers import LlamaConfig, LlamaForCausalLM, set_seed

    conversation = conv_templates["v1"].copy()
    sentences = [conversation.system + " USER: ASSISTANT:"] * 50
    sentences += [query_for(task).replace("<video>", "") + " ASSISTANT:" for task in TASKS] * 50
    sentences += CAPTIONS * 5
    sentences += [answer_of([(CAPTIONS[i], [i - 1, i])], "both") for i in range(1, len(CAPTIONS))]
    model = BytesIO()
    sentencepiece.SentencePieceTrainer.train(  # LLaMA's settings, read off its tokenizer.model
        sentence_iterator=iter(sentences), model_writer=model, model_type="bpe", vocab_size=VOCABULARY,
        byte_fallback=True, split_digits=True, normalization_rule_name="identity", add_dummy_prefix=True,
        remove_extra_whitespaces=False, allow_whitespace_only_pieces=True, character_coverage=0.99995,
        hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    folder.mkdir(parents=True)
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    tokenizer = {
        "tokenizer_class": "LlamaTokenizer", "legacy": True, "add_bos_token": True, "add_eos_token": False,
        "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<unk>",
        "clean_up_tokenization_spaces": False, "model_max_length": 2048,
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer, indent=1) + "\n")
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue()).vocab_size()
    set_seed(seed)
    config = LlamaConfig(
        vocab_size=pieces, hidden_size=HIDDEN, intermediate_size=352, num_hidden_layers=4, num_attention_heads=4,
        max_position_embeddings=2048, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        initializer_range=0.06,  # the default of 0.02 is for wider models; here it slows the attention's start
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)


def compress(frames: np.ndarray, quality: int) -> np.ndarray:
    """What a codec would leave of the frames, roughly: training draws them without encoding whole clips."""
    compressed = []
    for frame in frames:
        file = BytesIO()
        Image.fromarray(frame).save(file, "JPEG", quality=quality)
        compressed.append(np.asarray(Image.open(file)))
    return np.stack(compressed)


def image_processor():
    from transformers import CLIPImageProcessor

    side = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    return CLIPImageProcessor(size={"shortest_edge": IMAGE_SIZE}, crop_size=side)


class _Preprocessor:
    """Stands for a loaded tower where only its image processor is wanted."""

    is_loaded = True

    def __init__(self) -> None:
        self.image_processor = image_processor()


def _pool_of_clip(job: tuple[int, int, int]) -> tuple[np.ndarray, list[int]]:
    """Preprocessed frames of one clip, half of them showing an event, with the numbers of their captions."""
    seed, index, count = job
    torch.set_num_threads(1)
    clip = make_clip(TOWER_SERIES + seed, index)
    rng = np.random.default_rng([seed, index])
    shown = np.concatenate([np.arange(event.start_frame, event.end_frame) for event in clip.events])
    chosen = np.concatenate([rng.choice(shown, count * 2 // 3), rng.integers(0, clip.total_frames, count // 3)])
    frames = compress(draw_frames(clip, chosen), int(rng.integers(60, 96)))
    pixels = FrameEncoder(_Preprocessor(), "pad", {}).preprocess(frames).numpy().astype(np.float16)
    events = [event_visible(clip, int(frame)) for frame in chosen]
    return pixels, [CAPTIONS.index(event.sentence) if event else 0 for event in events]


def tower_frames(pool: Path, seed: int, clips: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The frames that the tower learns from: pixels [T, 3, h, w] and the numbers of their captions [T]."""
    if not pool.exists():
        with multiprocessing.get_context("spawn").Pool(2) as workers:
            parts = workers.map(_pool_of_clip, [(seed, index, 24) for index in range(clips)], chunksize=8)
        pixels, labels = (np.concatenate([part[which] for part in parts]) for which in (0, 1))
        with replacing(pool) as unfinished:
            np.savez(unfinished, pixels=pixels, labels=labels)
    stored = np.load(pool)
    return torch.from_numpy(stored["pixels"]), torch.from_numpy(stored["labels"])


def train_tower(folder: Path, base: Path, seed: int, clips: int, steps: int) -> None:
    """Contrast frames with captions (CLIP), at the feature that the plugin uses and at CLIP's own embedding."""
    from transformers import AutoTokenizer, CLIPConfig, CLIPModel, set_seed

    pixels, labels = tower_frames(folder.with_name("tower_frames.npz"), seed, clips)
    logger.info("tower: %d frames, %.0f %% of them empty", len(labels), 100 * (labels == 0).float().mean())

    set_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(base, use_fast=False)
    captions = tokenizer(CAPTIONS, padding=True, return_tensors="pt")
    config = CLIPConfig(
        vision_config=dict(
            hidden_size=TOWER_WIDTH, intermediate_size=256, num_hidden_layers=3, num_attention_heads=4,
            image_size=IMAGE_SIZE, patch_size=8,
        ),
        text_config=dict(
            vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
            num_attention_heads=2, max_position_embeddings=64, bos_token_id=1, eos_token_id=2, pad_token_id=0,
        ),
        projection_dim=TOWER_WIDTH,
    )  # fmt: skip
    model = CLIPModel(config).train()
    to_caption = torch.nn.Linear(TOWER_WIDTH, TOWER_WIDTH)
    parameters = [*model.parameters(), *to_caption.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.5e-3, total_steps=steps, pct_start=0.1)
    right, began = 0.0, time.monotonic()
    for step in range(steps):
        rows = torch.randint(len(labels), (64,))
        batch, wanted = pixels[rows].float(), labels[rows]
        flipped = torch.rand(len(rows)) < 0.5
        batch[flipped] = batch[flipped].flip(-1)
        seen = model.vision_model(batch, output_hidden_states=True)
        told = model.text_model(**captions).last_hidden_state.mean(dim=1)
        told = torch.nn.functional.normalize(model.text_projection(told), dim=-1)
        scale = model.logit_scale.exp()
        loss = 0.0
        used = to_caption(seen.hidden_states[-2][:, 1:].mean(dim=1))
        for embedding in (used, model.visual_projection(seen.pooler_output)):
            scores = scale * torch.nn.functional.normalize(embedding, dim=-1) @ told.T
            loss = loss + torch.nn.functional.cross_entropy(scores, wanted)
            if embedding is used:
                right = 0.98 * right + 0.02 * (scores.argmax(1) == wanted).float().mean().item()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 99:
            rate = (time.monotonic() - began) / (step + 1)
            logger.info(
                "tower: step %d, loss %.3f, captions right %.3f, %.2f s/step", step + 1, loss.item(), right, rate
            )
    save_tower(model, folder)


def save_tower(model, folder: Path) -> None:
    """The vision half as `CLIPVisionModel` saves it, with its image processor."""
    from transformers import CLIPVisionModel

    vision = CLIPVisionModel(model.config.vision_config)
    wanted = vision.state_dict().keys()
    state = {name: value for name, value in model.state_dict().items() if name.startswith("vision_model.")}
    if not any(name.startswith("vision_model.") for name in wanted):  # transformers 5 dropped the prefix
        state = {name.removeprefix("vision_model."): value for name, value in state.items()}
    vision.load_state_dict({name: value for name, value in state.items() if name in wanted})
    unfinished = folder.with_name(f".{folder.name}.partial")
    vision.save_pretrained(unfinished)
    image_processor().save_pretrained(unfinished)
    unfinished.rename(folder)


def feature_folder(path: Path) -> FeatureFolder:
    description = {
        "frame_feature": "patch_mean", "frame_tokens": 1, "tower": "vision_tower", "select_layer": -2,
        "aspect_ratio": "pad", "num_frames": TIMELINE.num_frames,
    }  # fmt: skip
    return FeatureFolder(path, description)


def _encode_clips(job: tuple[Path, Path, int, range]) -> None:
    """Features of drawn clips; those that are there already stay."""
    from types import SimpleNamespace

    from llava.model.multimodal_encoder.clip_encoder import CLIPVisionTower

    tower_folder, features, seed, indexes = job
    torch.set_num_threads(1)
    tower = CLIPVisionTower(str(tower_folder), SimpleNamespace(mm_vision_select_layer=-2))
    encoder = FrameEncoder(tower, "pad", {}, batch_size=100)
    folder = feature_folder(features)
    for index in indexes:
        clip = make_clip(DECODER_SERIES + seed, index)
        if (features / f"{clip.video_id}.npy").exists():
            continue
        frames = compress(draw_frames(clip, TIMELINE.sample(clip.total_frames)), 60 + index % 36)
        folder.save(clip.video_id, encoder(frames).float().numpy())


def encode_clips(tower: Path, features: Path, seed: int, clips: int) -> None:
    jobs = [(tower, features, seed, range(start, min(start + 25, clips))) for start in range(0, clips, 25)]
    with multiprocessing.get_context("spawn").Pool(2) as workers:
        for done, _ in enumerate(workers.imap_unordered(_encode_clips, jobs), 1):
            if done % 20 == 0:
                logger.info("features: %d of %d clips", done * 25, clips)


def choose_frames(rng: np.random.Generator, kind: str, window: tuple[int, int], cited: list[int]) -> set[int]:
    """Which frames of a clip a sample shows: "scattered" ones, half of them of events, or a "window" without gaps.

    In a window all but the first index of an event follow from the one before; scattered, each must be read off its
    frame, which is how a decoder soon learns that it can.
    """
    length = int(rng.integers(window[0], window[1] + 1))
    if kind == "scattered":
        some = rng.choice(cited, min(len(cited), length // 2), replace=False)
        return {*some.tolist(), *rng.integers(0, TIMELINE.num_frames, length - len(some)).tolist()}
    start = int(rng.integers(0, TIMELINE.num_frames - length + 1))
    return set(range(start, start + length))


def write_stage(
    path: Path, seed: int, clips: int, samples: int, kind: str, window: tuple[int, int], tasks: tuple[str, ...]
) -> None:
    """Instruction JSON of some frames of clips on the 100-frame clock, the answer telling what they show."""
    rng = np.random.default_rng([seed, *window, *(TASKS.index(task) for task in tasks)])
    events = []
    for index in range(clips):
        clip = make_clip(DECODER_SERIES + seed, index)
        events.append((clip.video_id, [(event.sentence, truth_frames(clip, event)) for event in clip.events]))
    entries = []
    while len(entries) < samples:
        video_id, told = events[rng.integers(clips)]
        shown = choose_frames(rng, kind, window, [index for _, frames in told for index in frames])
        inside = [(text, [index for index in frames if index in shown]) for text, frames in told]
        if not any(frames for _, frames in inside):
            continue
        task = tasks[rng.integers(len(tasks))]
        turns = [
            {"from": "human", "value": query_for(task)},
            {"from": "gpt", "value": answer_of(inside, task)},
        ]
        entries.append({"id": video_id, "frame_indices": sorted(shown), "conversations": turns})
    path.write_text(json.dumps(entries))


def train_decoder(work: Path, seed: int, clips: int, batch: int) -> Path:
    """Five runs of LLaVA's `train()`, each from where the last one ended."""
    from llava_v2xum.train.loop import train

    model = work / "base"
    for name, window, tasks, steps, rate, schedule in STAGES:
        output = work / f"decoder-{name}"
        if not (output / FINISHED).exists():
            data = work / f"{name}.json"
            write_stage(data, seed, clips, steps * batch, name, window, tasks)
            shutil.rmtree(output, ignore_errors=True)
            began = time.monotonic()
            train([
                "--model_name_or_path", str(model), "--vision_tower", str(work / "vision_tower"),
                "--data_path", str(data), "--feature_folder", str(work / "features"), "--output_dir", str(output),
                "--per_device_train_batch_size", str(batch), "--max_steps", str(steps),
                "--learning_rate", str(rate), "--lr_scheduler_type", schedule, "--warmup_steps", "100",
                "--max_grad_norm", "1.0", "--weight_decay", "0.01", "--adam_beta2", "0.98",
                "--group_by_modality_length", "True", "--dataloader_num_workers", "1", "--seed", str(seed),
                "--logging_steps", "50", "--save_strategy", "no", "--report_to", "none",
            ])  # fmt: skip
            logger.info("decoder: run %s of %d steps took %.0f s", name, steps, time.monotonic() - began)
            (output / FINISHED).touch()
        model = output
    return model


def check_settings(file: Path, settings: dict[str, str]) -> None:
    """Refuse to go on from the results of other settings."""
    if not file.exists():
        file.write_text(json.dumps(settings, indent=1) + "\n")
    elif (found := json.loads(file.read_text())) != settings:
        raise SystemExit(f"{file}: the results there are of {found}, asked for were {settings}; give another --work")


def ship(trained: Path, tower: Path, out: Path) -> None:
    """The finished checkpoint: one folder with all that it needs, in float16."""
    tokenizer, model, _ = load_pretrained(trained, device="cpu")
    model.config.checkpoint_note = NOTE
    save_checkpoint(model, tokenizer, out, tower, dtype="float16")


def main(args: argparse.Namespace) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    began = time.monotonic()
    args.work.mkdir(parents=True, exist_ok=True)
    settings = {key: str(value) for key, value in vars(args).items() if key not in ("work", "out")}
    check_settings(args.work / "settings.json", settings)
    if not (args.work / "base" / FINISHED).exists():
        shutil.rmtree(args.work / "base", ignore_errors=True)
        make_base(args.work / "base", args.seed)
        (args.work / "base" / FINISHED).touch()
    tower = args.work / "vision_tower"
    if not tower.exists():
        train_tower(tower, args.work / "base", args.seed, args.tower_clips, args.tower_steps)
    encode_clips(tower, args.work / "features", args.seed, args.clips)
    trained = train_decoder(args.work, args.seed, args.clips, args.batch)
    ship(trained, tower, args.out)
    size = sum(file.stat().st_size for file in args.out.rglob("*")) / 1e6
    logger.info("%s: %.1f MB, made in %.0f minutes", args.out, size, (time.monotonic() - began) / 60)


if __name__ == "__main__":
    main(ARGUMENTS)
