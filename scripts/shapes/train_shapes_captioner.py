"""Train the small captioner of the shapes world that ships with the package, from one seed.

A LLaVA-1.5 checkpoint in every file: the demo checkpoint's CLIP tower (frozen, as LLaVA keeps it) and tokenizer, a
projector, and a Llama of two layers that says what a single frame shows. It is asked in many words, most of them
random, so that any prompt will do. At the end it is loaded from its folder as any LLaVA-1.5 checkpoint and asked about
rendered clips that it has not seen, at 1 frame a second: the log's last lines.

    OMP_NUM_THREADS=1 python scripts/shapes/train_shapes_captioner.py --out llava_v2xum/shapes/captioner  # 14 busy
    minutes
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
    parser.add_argument("--out", type=Path, required=True, help="folder of the finished checkpoint")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--clips", type=int, default=600, help="clips that it learns from")
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--held-out", type=int, default=40, help="clips that it is asked about at the end")
    return parser.parse_args()


if __name__ == "__main__":  # before what takes seconds to import: --help and slips are answered at once
    ARGUMENTS = parse_arguments()

import numpy as np
import torch
from llava.constants import IGNORE_INDEX, IMAGE_TOKEN_INDEX
from llava.model import LlavaConfig, LlavaLlamaForCausalLM
from torch import LongTensor, Tensor
from tqdm import tqdm
from train_demo import compress

from llava_v2xum.curate.stages.llava_captioner import LlavaCaptioner
from llava_v2xum.evaluate.models.frames import Second, read_moments
from llava_v2xum.features.checkpoint_files import portable_config, whole_folder
from llava_v2xum.features.encoder import normalize, resize
from llava_v2xum.model.tokens import build_input_ids
from llava_v2xum.shapes import COLORS, PLACES, SHAPES, draw_frames, event_visible, make_clip, sentence_of, write_clip

logger = logging.getLogger("train_shapes_captioner")

TRAIN_SERIES, HELD_OUT_SERIES = 8_000, 9_000  # of clips (plus the seed); no other script's, and never what is evaluated
DEMO = Path(__file__).resolve().parents[2] / "llava_v2xum" / "shapes" / "checkpoint"
TOKENIZER_FILES = ("tokenizer.model", "tokenizer_config.json")
EMPTY = "An empty background."
CAPTIONS = [EMPTY] + [sentence_of(s, c, p) for s in SHAPES for c in COLORS for p in PLACES]
PROMPTS = (
    "Describe this image in detail.",
    "Describe the frame of the video: what is there, what it looks like and where it is.",
    "What is in the picture?",
)
BATCH, FRAMES_OF_CLIP = 24, 24
LONGEST_PROMPT = 640  # random ids: this small vocabulary has about one for each letter of a text that it does not know
FIRST_RANDOM_ID = 259  # those before are special tokens and single bytes
NOTE = "this demo captioner knows only rendered moving shapes; for real videos give another --captioner"


def make_model(tokenizer) -> LlavaLlamaForCausalLM:
    """Stock LLaVA of random weights with the demo checkpoint's tower."""
    config = LlavaConfig(
        vocab_size=len(tokenizer), hidden_size=96, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=2048, pad_token_id=0, bos_token_id=1, eos_token_id=2, tie_word_embeddings=False,
        initializer_range=0.06,  # as in train_demo.py: the default is for wider models
        mm_vision_tower=str(DEMO / "vision_tower"), mm_hidden_size=128, mm_projector_type="mlp2x_gelu",
        mm_vision_select_layer=-2, mm_vision_select_feature="patch", mm_patch_merge_type="flat", use_mm_proj=True,
        mm_use_im_start_end=False, mm_use_im_patch_token=False, image_aspect_ratio="pad",
        tokenizer_padding_side="right", tokenizer_model_max_length=2048, checkpoint_note=NOTE,
    )  # fmt: skip
    model = LlavaLlamaForCausalLM(config)
    model.get_vision_tower().load_model()
    return model.float().train()


def clip_frames(index: int, seed: int, processor) -> tuple[Tensor, list[int]]:
    """Drawn frames of one clip, uint8 [T, 3, h, w], two in three of an event, with the numbers of their captions."""
    clip = make_clip(TRAIN_SERIES + seed, index)
    rng = np.random.default_rng([seed, index])
    shown = np.concatenate([np.arange(event.start_frame, event.end_frame) for event in clip.events])
    shares = FRAMES_OF_CLIP * 2 // 3, FRAMES_OF_CLIP // 3
    chosen = np.concatenate([rng.choice(shown, shares[0]), rng.integers(0, clip.total_frames, shares[1])])
    frames = compress(draw_frames(clip, chosen), int(rng.integers(60, 96)))
    events = [event_visible(clip, int(frame)) for frame in chosen]
    return resize(frames, processor, "pad"), [CAPTIONS.index(event.sentence) if event else 0 for event in events]


class Asker:
    """Questions around the picture, each time another prompt, and the captions as answers.

    Args:
        tokenizer: the demo checkpoint's.
        seed: of the prompts.
    """

    def __init__(self, tokenizer, seed: int) -> None:
        self.vocabulary = len(tokenizer)
        self.rng = np.random.default_rng(seed)
        self.prompts = [build_input_ids(tokenizer, f"<image>\n{prompt}") for prompt in PROMPTS]
        empty = build_input_ids(tokenizer, "<image>\n")
        place = empty.tolist().index(IMAGE_TOKEN_INDEX) + 2  # behind the line break
        self.before, self.behind = empty[:place], empty[place:]
        ids = [tokenizer(caption, add_special_tokens=False).input_ids for caption in CAPTIONS]
        rows = [torch.tensor([*row, tokenizer.eos_token_id]) for row in ids]
        self.answers = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=IGNORE_INDEX)

    def batch(self, captions: LongTensor) -> tuple[LongTensor, LongTensor]:
        """ids and labels int64 [B, S] of one question and these captions."""
        if self.rng.random() < 0.3:
            question = self.prompts[self.rng.integers(len(self.prompts))]
        else:
            length = int(np.exp(self.rng.uniform(0, np.log(LONGEST_PROMPT))))
            words = torch.from_numpy(self.rng.integers(FIRST_RANDOM_ID, self.vocabulary, length))
            question = torch.cat([self.before, words, self.behind])
        answers = self.answers[captions]
        ids = torch.cat([question.expand(len(captions), -1), answers.clamp(min=0)], dim=1)
        return ids, torch.cat([torch.full((len(captions), len(question)), IGNORE_INDEX), answers], dim=1)


def train(model, asker: Asker, frames: Tensor, captions: LongTensor, processor, steps: int) -> None:
    """Teach the captions through LLaVA's own forward; the tower stays as it is."""
    parameters = [weight for name, weight in model.named_parameters() if ".vision_tower." not in name]
    optimizer = torch.optim.AdamW(parameters, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.1)
    right, began = 0.0, time.monotonic()
    for step in range(1, steps + 1):
        rows = torch.randint(len(captions), (BATCH,))
        pixels, wanted = normalize(frames[rows], processor), captions[rows]
        flipped = torch.rand(BATCH) < 0.5
        pixels[flipped] = pixels[flipped].flip(-1)
        ids, labels = asker.batch(wanted)
        output = model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels, images=pixels)
        optimizer.zero_grad()
        output.loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        told = asker.answers[wanted]  # the logits' last positions give them, each one place ahead
        hits = output.logits[:, -told.shape[1] - 1 : -1].argmax(-1) == told
        right = 0.98 * right + 0.02 * (hits | (told == IGNORE_INDEX)).all(dim=1).float().mean().item()
        if step % 50 == 0:
            rate = (time.monotonic() - began) / step
            logger.info("step %d, loss %.3f, captions right %.3f, %.2f s/step", step, output.loss.item(), right, rate)


def ship(model, folder: Path) -> None:
    """Write the checkpoint in LLaVA-1.5's layout, float16, its tower beside the decoder."""
    from safetensors.torch import save_file

    config = portable_config(json.loads(model.config.to_json_string(use_diff=True)))
    config.update(
        architectures=["LlavaLlamaForCausalLM"], mm_vision_tower="vision_tower", torch_dtype="float16", use_cache=True
    )
    state = {name: weight for name, weight in model.state_dict().items() if ".vision_tower." not in name}
    with whole_folder(folder) as partial:
        shutil.copytree(DEMO / "vision_tower", partial / "vision_tower")
        for name in TOKENIZER_FILES:
            shutil.copyfile(DEMO / name, partial / name)
        weights = {name: weight.detach().half().contiguous() for name, weight in state.items()}
        save_file(weights, str(partial / "model.safetensors"), metadata={"format": "pt"})
        (partial / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")


def measure(folder: Path, seed: int, clips: int) -> None:
    """Log how many frames of rendered, unseen clips get exactly the right caption, at 1 frame a second."""
    captioner = LlavaCaptioner(folder, "cpu")
    hits: dict[str, list[bool]] = {"event": [], "empty": []}
    with tempfile.TemporaryDirectory() as work:
        for index in range(clips):
            clip = make_clip(HELD_OUT_SERIES + seed, index)
            file = write_clip(clip, Path(work) / f"{clip.video_id}.mp4")
            moments = [Second(second) for second in range(int(clip.duration_seconds))]
            for which, frames in read_moments(file, moments):
                told, _ = captioner.caption(frames, PROMPTS[index % len(PROMPTS)])
                for second, caption in zip(which.tolist(), told):
                    event = event_visible(clip, min(second * clip.fps, clip.total_frames - 1))
                    hits["event" if event else "empty"].append(caption == (event.sentence if event else EMPTY))
    for kind, found in hits.items():
        logger.info("unseen %s frames: %.1f %% of %d have exactly the right caption",
                    kind, 100 * np.mean(found), len(found))  # fmt: skip


def main(args: argparse.Namespace) -> None:
    from transformers import AutoTokenizer, set_seed

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    began = time.monotonic()
    set_seed(args.seed)
    tokenizer = AutoTokenizer.from_pretrained(DEMO, use_fast=False)
    model = make_model(tokenizer)
    processor = model.get_vision_tower().image_processor
    parts = [clip_frames(index, args.seed, processor) for index in tqdm(range(args.clips), desc="clips", mininterval=5)]
    frames, captions = torch.cat([part[0] for part in parts]), torch.tensor([one for part in parts for one in part[1]])
    train(model, Asker(tokenizer, args.seed), frames, captions, processor, args.steps)
    ship(model, args.out)
    measure(args.out, args.seed, args.held_out)
    size = sum(file.stat().st_size for file in args.out.rglob("*") if file.is_file()) / 1e6
    logger.info("%s: %.2f MB, made in %.0f s", args.out, size, time.monotonic() - began)


if __name__ == "__main__":
    main(ARGUMENTS)
