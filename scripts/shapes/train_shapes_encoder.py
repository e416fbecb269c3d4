"""Train the small text encoder that compares captions of the shapes world, from one seed.

A BERT folder with its tokenizer, for BERTScore (`--bertscore-model shapes`) where no hub can be reached. It learns to
name masked words of the world's sentences, and to keep apart what they tell: masked words alone leave the BERTScore of
sentences that differ in one word over 0.93 at every layer (`--apart 0` shows it), so the scores themselves are trained
too, from both sides. An eighth of the 72 kinds of event is never shown; the log's last lines are about all pairs that
have one of these, and about all pairs.

    OMP_NUM_THREADS=1 python scripts/shapes/train_shapes_encoder.py --out llava_v2xum/shapes/encoder   # 1 minute of one
    core
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import string
import time
from itertools import combinations, product
from pathlib import Path

from llava_v2xum.core.command_line import Parser


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = Parser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the finished encoder")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--apart", type=float, default=1.0, help="weight of the scores; 0 for masked words alone")
    return parser.parse_args()


if __name__ == "__main__":  # before what takes seconds to import: --help and slips are answered at once
    ARGUMENTS = parse_arguments()

import numpy as np
import torch
from torch.nn.functional import cross_entropy, normalize, relu

from llava_v2xum.evaluate.models.bertscores import BertScoreOptions, load_scorer
from llava_v2xum.shapes import COLORS, PLACES, SHAPES, sentence_of

logger = logging.getLogger("train_shapes_encoder")

WIDTH, LAYERS, HEADS, CONTEXT = 64, 2, 2, 64
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD, MASK = SPECIAL.index("[PAD]"), SPECIAL.index("[MASK]")
KINDS = [None, *product(SHAPES, COLORS, PLACES)]  # None: nothing but background
HELD_OUT = 9  # kinds of event
SENTENCES = 96  # of a step
MASKED = 0.2  # of the words of a sentence
# What precision and recall of the same kind are lifted to, and those of two kinds lowered to. No word's best cosine is
# lowered to less than LEAST: below 0, F1 has a pole, and the package takes it for 0 where a batch is padded.
ALIKE, APART, LEAST = 0.985, 0.75, 0.05
FORMS = (  # of an event; the world's own is `sentence_of`, the others are what a refined or another caption might say
    "A {color} {shape} crosses the {place}.",
    "A {color} {shape} is moving across the {place}.",
    "A {color} {shape} is at the {place}.",
    "The {color} {shape} moves across the {place} of the picture.",
    "There is a {color} {shape} at the {place}.",
    "Across the {place} moves a {color} {shape}.",
)
EMPTY_FORMS = (
    "An empty background.", "An empty scene.", "The background is empty.", "There is nothing in the picture.",
)  # fmt: skip


def forms_of(kind: tuple[str, str, str] | None) -> list[str]:
    """The sentences that tell of a kind of event, (shape, color, place); the first is the usual one."""
    if kind is None:
        return list(EMPTY_FORMS)
    shape, color, place = kind
    return [sentence_of(*kind), *(form.format(shape=shape, color=color, place=place) for form in FORMS)]


def write_tokenizer(folder: Path) -> None:
    """BERT's word pieces: the world's words whole, any other ASCII text by its letters."""
    text = " ".join(form for kind in KINDS for form in forms_of(kind)).lower()
    words = sorted(set("".join(letter if letter.isalpha() else " " for letter in text).split()))
    letters = string.ascii_lowercase + string.digits
    pieces = dict.fromkeys([*SPECIAL, *string.punctuation, *letters, *("##" + letter for letter in letters), *words])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    config = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": CONTEXT}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")


def make_model(vocabulary: int):
    """A BERT with its head for masked words."""
    from transformers import BertConfig, BertForMaskedLM

    config = BertConfig(
        vocab_size=vocabulary, hidden_size=WIDTH, intermediate_size=2 * WIDTH, num_hidden_layers=LAYERS,
        num_attention_heads=HEADS, max_position_embeddings=CONTEXT, pad_token_id=PAD,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    return BertForMaskedLM(config).train()


def held_out_kinds(seed: int) -> set[int]:
    """Numbers of kinds that are never shown; each of their words is in others."""
    return set((1 + np.random.default_rng(seed).permutation(len(KINDS) - 1)[:HELD_OUT]).tolist())


def draw(rng: np.random.Generator, kinds: list[int]) -> tuple[list[int], list[str]]:
    """Sentences of a step, half of them drawn freely and half one word or nothing apart from the one before."""
    numbers = rng.choice(kinds, SENTENCES)
    for place in range(1, SENTENCES, 2):
        kind = KINDS[numbers[place - 1]]
        near = [one for one in kinds if kind and KINDS[one] and sum(map(str.__ne__, KINDS[one], kind)) <= 1]
        numbers[place] = rng.choice(near or [0])
    texts = [str(rng.choice(forms_of(KINDS[number]))) for number in numbers]
    return numbers.tolist(), [text.removesuffix(".") if rng.random() < 0.2 else text for text in texts]


def precisions(states: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """BERTScore's precision of all pairs: [S, L, D] with its mask [S, L] -> [S, S]; its transpose is the recall.

    The second of the two is what it is the mean of: the best cosine of each word that counts, [words, S].

    [CLS] and [SEP], the first and the last word, are matched against but do not count, as the package has it.
    """
    units = normalize(states, dim=-1)
    cosines = torch.einsum("ild,jmd->ijlm", units, units).masked_fill(~mask[None, :, None, :], -1.0)
    places = torch.arange(mask.shape[1])
    counted = (places > 0) & (places < mask.sum(1, keepdim=True) - 1)
    best = cosines.amax(3)
    return (best * counted[:, None]).sum(2) / counted.sum(1)[:, None], best.transpose(1, 2)[counted]


def train(model, tokenizer, kinds: list[int], steps: int, apart: float, seed: int) -> None:
    """Masked words, and scores of all pairs of a step: over ALIKE for one kind, under APART for two."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.1)
    rng = np.random.default_rng([seed, 1])
    for step in range(1, steps + 1):
        numbers, texts = draw(rng, kinds)
        tokens = tokenizer(texts, padding=True, return_tensors="pt")
        ids, mask = tokens["input_ids"], tokens["attention_mask"].bool()
        hidden = torch.from_numpy(rng.random(ids.shape) < MASKED) & (ids >= len(SPECIAL))
        masked = model(ids.masked_fill(hidden, MASK), attention_mask=mask.long()).logits
        loss = cross_entropy(masked[hidden], ids[hidden])
        states = model.bert(ids, attention_mask=mask.long()).last_hidden_state
        (scores, words), kind = precisions(states, mask), torch.tensor(numbers)
        same = kind[:, None] == kind
        too_near, too_far = relu(scores[~same] - APART), relu(LEAST - words)
        # few pairs are too near, and they are what counts: the mean over those alone
        gap = relu(ALIKE - scores[same]).mean() + too_near.sum() / (too_near > 0).sum().clamp(min=1) + too_far.mean()
        optimizer.zero_grad()
        (loss + apart * min(1.0, step / (steps / 2)) * 5 * gap).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            logger.info("step %d, masked words %.3f, apart by %.3f too little", step, loss.item(), gap.item())


@torch.no_grad()
def measure_words(model, tokenizer, held_out: set[int]) -> None:
    """Log how often one masked word of a sentence never shown is named, but for colour, shape and place."""
    model.eval()
    right = []
    for number in sorted(held_out):
        tokens = tokenizer(forms_of(KINDS[number]), padding=True, return_tensors="pt")
        ids, mask = tokens["input_ids"], tokens["attention_mask"]
        guessed = {tokenizer.convert_tokens_to_ids(word) for word in KINDS[number]}
        for place in range(ids.shape[1]):
            words = ids[:, place].tolist()
            some = [row for row, word in enumerate(words) if word >= len(SPECIAL) and word not in guessed]
            if some:
                hidden = ids[some].clone()
                hidden[:, place] = MASK
                named = model(hidden, attention_mask=mask[some]).logits[:, place].argmax(-1)
                right += (named == ids[some, place]).tolist()
    logger.info("masked words of kinds never shown: %.1f %% of %d named", 100 * np.mean(right), len(right))


def save(model, folder: Path) -> None:
    """Write the encoder, with a pooler that nothing uses: loaders would miss it and say so."""
    from transformers import BertModel

    encoder = BertModel(model.config)
    for part in encoder.pooler.parameters():
        torch.nn.init.zeros_(part)
    encoder.load_state_dict(model.bert.state_dict(), strict=False)
    encoder.save_pretrained(folder)


def measure_scores(folder: Path, held_out: set[int]) -> None:
    """Log the BERTScore of all pairs at each layer, by the package: of one kind's forms, and of two kinds."""
    told = [(number, text) for number, kind in enumerate(KINDS) for text in forms_of(kind)]
    pairs = list(combinations(told, 2))
    same = np.array([one[0] == other[0] for one, other in pairs])
    usual = {forms_of(kind)[0] for kind in KINDS}
    unseen = np.array([one[0] in held_out or other[0] in held_out for one, other in pairs])
    plain = np.array([one[1] in usual and other[1] in usual for one, other in pairs])
    sentences = [[one[which][1] for one in pairs] for which in (0, 1)]
    for layer in range(1, LAYERS + 1):
        scorer = load_scorer(BertScoreOptions(str(folder), num_layers=layer, device="cpu", batch_size=1024))
        scores = scorer.score(*sentences, batch_size=1024)[2].numpy()
        for name, some in {
            "one kind": same, "one kind never shown": same & unseen, "two kinds": ~same,
            "two kinds, one or both never shown": ~same & unseen, "two kinds, usual forms": ~same & plain,
        }.items():  # fmt: skip
            found = scores[some]
            logger.info("BERTScore at layer %d, %s: %d pairs, %.3f to %.3f, mean %.3f",
                        layer, name, len(found), found.min(), found.max(), found.mean())  # fmt: skip


def main(args: argparse.Namespace) -> None:
    from transformers import AutoTokenizer, set_seed

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    began = time.monotonic()
    unfinished = args.out.with_name(f".{args.out.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    set_seed(args.seed)
    write_tokenizer(unfinished)
    tokenizer = AutoTokenizer.from_pretrained(unfinished)
    model, held_out = make_model(len(tokenizer)), held_out_kinds(args.seed)
    shown = [number for number in range(len(KINDS)) if number not in held_out]
    train(model, tokenizer, shown, args.steps, args.apart, args.seed)
    measure_words(model, tokenizer, held_out)
    save(model, unfinished)
    measure_scores(unfinished, held_out)
    shutil.rmtree(args.out, ignore_errors=True)
    unfinished.rename(args.out)
    size = sum(file.stat().st_size for file in args.out.iterdir()) / 1e6
    logger.info("%s: %.2f MB, made in %.0f s", args.out, size, time.monotonic() - began)


if __name__ == "__main__":
    main(ARGUMENTS)
