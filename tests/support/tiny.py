"""Tiny weights of the real layouts, made from one seed: tokenizer, tower, base decoder, LLaVA and released folders."""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path

import torch

HIDDEN, TOWER_WIDTH, IMAGE_SIZE = 32, 24, 28

CORPUS = [
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions. "
    "USER: ASSISTANT: USER: ASSISTANT:",
    "Please generate a VIDEO summarization for this video.",
    "Please generate a TEXT summarization for this video.",
    "Please generate BOTH video and text summarization for this video.",
    "A woman brushes her hair [42, 43, 44]. A man is seen running down a track [08, 09, 10]. [05]A hand holds a box.",
    *(f"[{i:02d}] [{i:02d}, {i + 1:02d}] {i}" for i in range(99)),
]


@lru_cache(maxsize=1)
def sentencepiece_model() -> bytes:
    """A sentencepiece BPE model trained with LLaMA's settings on a few sentences."""
    import sentencepiece

    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS * 4),
        model_writer=written,
        model_type="bpe",
        vocab_size=420,
        byte_fallback=True,
        split_digits=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        character_coverage=0.99995,
        unk_surface=" \u2047 ",
        minloglevel=2,
    )
    return written.getvalue()


def write_tokenizer(folder: Path) -> None:
    """A LLaMA tokenizer folder as Vicuna's: `tokenizer.model` and its config (slow class, legacy)."""
    import json

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.model").write_bytes(sentencepiece_model())
    config = {
        "tokenizer_class": "LlamaTokenizer",
        "add_bos_token": True,
        "add_eos_token": False,
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "<unk>",
        "legacy": True,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 2048,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def llama_sizes() -> dict:
    return dict(
        vocab_size=420, hidden_size=HIDDEN, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=2048, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip


def write_tower(folder: Path) -> Path:
    """A CLIP vision tower folder: config, weights, image processor."""
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

    torch.manual_seed(1)
    config = CLIPVisionConfig(
        hidden_size=TOWER_WIDTH, intermediate_size=48, num_hidden_layers=3, num_attention_heads=2,
        image_size=IMAGE_SIZE, patch_size=7, projection_dim=16,
    )  # fmt: skip
    CLIPVisionModel(config).save_pretrained(folder)
    size = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    CLIPImageProcessor(size={"shortest_edge": IMAGE_SIZE}, crop_size=size).save_pretrained(folder)
    return folder


def write_base(folder: Path) -> Path:
    """A plain Llama folder, as `lmsys/vicuna-7b-v1.5` is."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(2)
    LlamaForCausalLM(LlamaConfig(**llama_sizes())).save_pretrained(folder)
    write_tokenizer(folder)
    return folder
