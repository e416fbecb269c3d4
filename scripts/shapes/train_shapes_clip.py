"""Train the small CLIP that scores summaries of the shapes world, from one seed.

A transformers CLIP folder with its tokenizer and image processor: the image tower begins as the demo checkpoint's, the
text tower and the byte-level BPE are made here. It learns which sentence tells of which drawn frame, and which few
sentences tell of which few frames. Its clips are of a series that nothing else uses. At the end it is asked about
rendered clips that it has not seen, which is what the log's last lines tell.

    OMP_NUM_THREADS=1 python scripts/shapes/train_shapes_clip.py --out llava_v2xum/shapes/clip  # 5 minutes of one core
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import tempfile
import time
from pathlib import Path

from llava_v2xum.core.command_line import Parser


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = Parser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the finished CLIP")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--clips", type=int, default=600, help="clips that it learns from")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--held-out", type=int, default=20, help="clips that it is asked about at the end")
    return parser.parse_args()


if __name__ == "__main__":  # before what takes seconds to import: --help and slips are answered at once
    ARGUMENTS = parse_arguments()

import numpy as np
import torch
from torch.nn.functional import cross_entropy, normalize
from tqdm import tqdm
from train_demo import CAPTIONS, compress

from llava_v2xum.features.encoder import normalize as normalize_pixels
from llava_v2xum.features.encoder import resize
from llava_v2xum.media.video import read_video
from llava_v2xum.shapes import draw_frames, event_visible, make_clip, write_clip

logger = logging.getLogger("train_shapes_clip")

TRAIN_SERIES, HELD_OUT_SERIES = 6_000, 7_000  # of clips (plus the seed); no other script's, and never what is evaluated
IMAGE_SIZE, TEXT_WIDTH, CONTEXT, EMBEDDING = 64, 64, 77, 128
START, END = "<|startoftext|>", "<|endoftext|>"
TOWER = Path(__file__).resolve().parents[2] / "llava_v2xum" / "shapes" / "checkpoint" / "vision_tower"
NOT_OF_SHAPE = ("_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version")  # of a config
BATCH, GROUPS, GROUP_SIZES = 64, 24, (2, 6)  # frames of a step; sets of frames with a text of as many sentences
FRAMES_OF_CLIP = 24


def write_tokenizer(folder: Path) -> None:
    """CLIP's byte-level BPE over the world's words: vocab.json, merges.txt and the tokenizer's config."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    # a bound that is never reached: each word of the world becomes one token
    trainer = trainers.BpeTrainer(vocab_size=10_000, end_of_word_suffix="</w>", show_progress=False)
    tokenizer.train_from_iterator([caption.lower() for caption in CAPTIONS], trainer)
    learnt = json.loads(tokenizer.to_str())["model"]["merges"]  # texts in older releases of tokenizers, else pairs
    merges = [pair if isinstance(pair, list) else pair.split(" ") for pair in learnt]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())  # any text has tokens, as under CLIP's own vocabulary
    pieces = [*alphabet, *(letter + "</w>" for letter in alphabet), *("".join(pair) for pair in merges), START, END]
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False) + "\n", encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    config = {
        "tokenizer_class": "CLIPTokenizer", "model_max_length": CONTEXT, "do_lower_case": True, "bos_token": START,
        "eos_token": END, "pad_token": END, "unk_token": END,
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")


def image_processor():
    """Whole pictures, squeezed to a square: a centre crop would lose shapes at the sides of wide clips."""
    from transformers import CLIPImageProcessor

    side = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    return CLIPImageProcessor(size=side, crop_size=side, do_center_crop=False)


def make_model(vocabulary: int, end: int):
    """A CLIP whose image tower is the demo checkpoint's."""
    from transformers import CLIPConfig, CLIPModel, CLIPVisionModel

    tower = CLIPVisionModel.from_pretrained(TOWER).float()
    config = CLIPConfig(
        vision_config={key: value for key, value in tower.config.to_dict().items() if key not in NOT_OF_SHAPE},
        text_config=dict(
            vocab_size=vocabulary, hidden_size=TEXT_WIDTH, intermediate_size=2 * TEXT_WIDTH, num_hidden_layers=2,
            num_attention_heads=2, max_position_embeddings=CONTEXT, bos_token_id=end - 1, eos_token_id=end,
            pad_token_id=end,
        ),
        projection_dim=EMBEDDING,
    )  # fmt: skip
    model = CLIPModel(config)
    state = {name.removeprefix("vision_model."): value for name, value in tower.state_dict().items()}
    model.vision_model.load_state_dict(state)
    return model.train()


def clip_frames(index: int, seed: int, processor) -> tuple[torch.Tensor, list[int]]:
    """Drawn frames of one clip, uint8 [T, 3, h, w], two in three of an event, with the numbers of their captions."""
    clip = make_clip(TRAIN_SERIES + seed, index)
    rng = np.random.default_rng([seed, index])
    shown = np.concatenate([np.arange(event.start_frame, event.end_frame) for event in clip.events])
    shares = FRAMES_OF_CLIP * 2 // 3, FRAMES_OF_CLIP // 3
    chosen = np.concatenate([rng.choice(shown, shares[0]), rng.integers(0, clip.total_frames, shares[1])])
    frames = compress(draw_frames(clip, chosen), int(rng.integers(60, 96)))
    events = [event_visible(clip, int(frame)) for frame in chosen]
    return resize(frames, processor, None), [CAPTIONS.index(event.sentence) if event else 0 for event in events]


def unit_images(model, pixels: torch.Tensor) -> torch.Tensor:
    """float32 [T, 3, h, w] -> unit vectors [T, D]."""
    return normalize(model.visual_projection(model.vision_model(pixels).pooler_output), dim=-1)


def unit_texts(model, tokenizer, texts: list[str]) -> torch.Tensor:
    """Texts -> unit vectors [M, D]."""
    tokens = tokenizer(texts, padding=True, return_tensors="pt")
    return normalize(model.text_projection(model.text_model(**tokens).pooler_output), dim=-1)


def group_loss(model, tokenizer, images: torch.Tensor, labels: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Sets of frames against the sentences of each set joined: which text tells of which set, both ways."""
    events = torch.nonzero(labels)[:, 0]
    rows, texts = [], []
    for _ in range(GROUPS):
        count = int(torch.randint(*GROUP_SIZES, ()))
        chosen = events[torch.randperm(len(events))[:count]]
        rows.append(normalize(images[chosen].mean(dim=0), dim=-1))
        texts.append(" ".join(CAPTIONS[label] for label in labels[chosen].tolist()))
    scores = scale * torch.stack(rows) @ unit_texts(model, tokenizer, texts).T
    right = torch.arange(GROUPS)
    return (cross_entropy(scores, right) + cross_entropy(scores.T, right)) / 2


def train(model, tokenizer, pixels: torch.Tensor, labels: torch.Tensor, processor, steps: int) -> None:
    """Contrast frames with all the world's sentences, and sets of frames with their sentences."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps, pct_start=0.1)
    right, began = 0.0, time.monotonic()
    for step in range(1, steps + 1):
        rows = torch.randint(len(labels), (BATCH,))
        batch, wanted = normalize_pixels(pixels[rows], processor), labels[rows]
        flipped = torch.rand(BATCH) < 0.5
        batch[flipped] = batch[flipped].flip(-1)
        images, scale = unit_images(model, batch), model.logit_scale.exp()
        scores = scale * images @ unit_texts(model, tokenizer, CAPTIONS).T
        loss = cross_entropy(scores, wanted) + group_loss(model, tokenizer, images, wanted, scale)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        right = 0.98 * right + 0.02 * (scores.argmax(1) == wanted).float().mean().item()
        if step % 50 == 0:
            rate = (time.monotonic() - began) / step
            logger.info("step %d, loss %.3f, sentences right %.3f, %.2f s/step", step, loss.item(), right, rate)


@torch.no_grad()
def measure(model, tokenizer, processor, seed: int, clips: int) -> None:
    """Log how often the right one of the world's sentences is the nearest to a frame of rendered, unseen clips."""
    model.eval()
    texts = unit_texts(model, tokenizer, CAPTIONS)
    hits: dict[str, list[bool]] = {"event": [], "empty": []}
    cosines: dict[str, list[float]] = {"right": [], "other": []}
    with tempfile.TemporaryDirectory() as folder:
        for index in range(clips):
            clip = make_clip(HELD_OUT_SERIES + seed, index)
            video = read_video(write_clip(clip, Path(folder) / f"{clip.video_id}.mp4"))
            images = unit_images(model, normalize_pixels(resize(video.frames, processor, None), processor))
            for scores, frame in zip((images @ texts.T).tolist(), video.frame_indices.tolist()):
                event = event_visible(clip, frame)
                label = CAPTIONS.index(event.sentence) if event else 0
                hits["event" if event else "empty"].append(int(np.argmax(scores)) == label)
                if event:
                    cosines["right"].append(scores.pop(label))
                    cosines["other"] += scores
    for kind, found in hits.items():
        logger.info("unseen %s frames: %.1f %% of %d have the right sentence as the nearest of %d",
                    kind, 100 * np.mean(found), len(found), len(CAPTIONS))  # fmt: skip
    logger.info("cosine of an event's frame with its sentence %.2f, with the others %.2f",
                np.mean(cosines["right"]), np.mean(cosines["other"]))  # fmt: skip


def main(args: argparse.Namespace) -> None:
    from transformers import AutoTokenizer, set_seed

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    began = time.monotonic()
    unfinished = args.out.with_name(f".{args.out.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    set_seed(args.seed)
    write_tokenizer(unfinished)
    tokenizer, processor = AutoTokenizer.from_pretrained(unfinished), image_processor()
    model = make_model(len(tokenizer), tokenizer.eos_token_id)
    parts = [clip_frames(index, args.seed, processor) for index in tqdm(range(args.clips), desc="clips", mininterval=5)]
    pixels, labels = torch.cat([part[0] for part in parts]), torch.tensor([one for part in parts for one in part[1]])
    train(model, tokenizer, pixels, labels, processor, args.steps)
    measure(model, tokenizer, processor, args.seed, args.held_out)
    model.half().save_pretrained(unfinished)
    processor.save_pretrained(unfinished)
    shutil.rmtree(args.out, ignore_errors=True)
    unfinished.rename(args.out)
    size = sum(file.stat().st_size for file in args.out.iterdir()) / 1e6
    logger.info("%s: %.2f MB, made in %.0f s", args.out, size, time.monotonic() - began)


if __name__ == "__main__":
    main(ARGUMENTS)
