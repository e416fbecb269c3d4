"""LLaVA's own `train()` with the video type: `python -m llava_v2xum.train --model_name_or_path ... --data_path ...`.

LLaVA builds model, data and trainer from names in its training module; `video_type()` hands it ours.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from .compat import mend_llava, mended_gather, mended_trainer

mend_llava()
import llava.train.llava_trainer as llava_trainer  # noqa: E402  (only importable after the mend)
import llava.train.train as llava_train  # noqa: E402
import transformers  # noqa: E402

from .arguments import DataArguments, ModelArguments, TrainingArguments  # noqa: E402
from .checkpoint.tower import load_clip_tower  # noqa: E402
from .dataset import make_data_module  # noqa: E402
from .features import CLIP_EMBEDDING  # noqa: E402
from .model import LlavaV2XumForCausalLM  # noqa: E402
from .plugin import register  # noqa: E402

logger = logging.getLogger(__name__)


class _ModelMaker:
    """Stands for the model class in LLaVA's `train()`, which calls only `from_pretrained`; keeps what it made.

    Args:
        asked: the model's arguments.
    """

    def __init__(self, asked: ModelArguments) -> None:
        self.asked = asked
        self.model: LlavaV2XumForCausalLM | None = None
        self.tokenizer = None

    def from_pretrained(self, *args, **kwargs) -> LlavaV2XumForCausalLM:
        self.model = LlavaV2XumForCausalLM.from_pretrained(*args, **kwargs)
        self.model.choose_feature(self.asked)
        return self.model

    def data_module(self, tokenizer, data_args: DataArguments) -> dict:
        """LLaVA's `make_supervised_data_module`, with this plugin's data set and collator."""
        self.tokenizer = tokenizer
        if self.model.config.frame_feature != CLIP_EMBEDDING:
            load_clip_tower(self.model.get_vision_tower())  # LLaVA's own load may have left random weights in it
        asked = self.asked
        return make_data_module(tokenizer, data_args, self.model, asked.version, asked.output_dir, asked.seed)


@contextlib.contextmanager
def video_type(asked: ModelArguments) -> Iterator[_ModelMaker]:
    """While it is open, `llava.train.train.train()` trains the video type; afterwards LLaVA is as before.

    Args:
        asked: the model's arguments, as they are known before LLaVA reads them.
    """
    register()
    maker = _ModelMaker(asked)
    ours = {
        "LlavaLlamaForCausalLM": maker,
        "make_supervised_data_module": maker.data_module,
        "ModelArguments": ModelArguments,
        "DataArguments": DataArguments,
        "TrainingArguments": TrainingArguments,
        "maybe_zero_3": mended_gather(llava_train.maybe_zero_3),
        "LLaVATrainer": mended_trainer(llava_train.LLaVATrainer),
    }
    stock = {name: getattr(llava_train, name) for name in ours}
    gather = llava_trainer.maybe_zero_3  # a copy of its own, for checkpoints of the projector alone
    conversations = llava_train.conversation_lib
    default_conversation = conversations.default_conversation  # train() sets it
    try:
        for name, value in ours.items():
            setattr(llava_train, name, value)
        llava_trainer.maybe_zero_3 = ours["maybe_zero_3"]
        yield maker
    finally:
        for name, value in stock.items():
            setattr(llava_train, name, value)
        llava_trainer.maybe_zero_3 = gather
        conversations.default_conversation = default_conversation


def keep_sentencepiece_model(tokenizer, output_dir: str) -> None:
    """Copy `tokenizer.model` along: transformers 5 saves only its own form, which LLaVA's pins cannot read."""
    source = getattr(tokenizer, "vocab_file", None) or ""
    target = Path(output_dir) / "tokenizer.model"
    if source.endswith(".model") and Path(source).is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    elif not target.is_file():
        logger.warning("%s: the base has no tokenizer.model to keep; LLaVA's pins need one", output_dir)


def train(arguments: Sequence[str] | None = None, attn_implementation: str | None = None) -> None:
    """Run LLaVA's `train()` with the video type.

    Args:
        arguments: the command line without the program's name; `sys.argv` if None.
        attn_implementation: as in LLaVA: "flash_attention_2", "sdpa", "eager" or None.

    Raises:
        ValueError: for missing paths, or data that cannot be learnt from.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not any(argument.split("=")[0] == "--vision_tower" for argument in arguments):
        arguments += ["--vision_tower", "openai/clip-vit-large-patch14-336"]  # LLaVA-1.5's
    parser = transformers.HfArgumentParser((ModelArguments, DataArguments, TrainingArguments))
    asked, _ = parser.parse_known_args(arguments)  # plain values: the trainer's own arguments are made only once
    transformers.set_seed(asked.seed)  # LLaVA seeds only its trainer, after a new projector has got its weights
    stock = inspect.unwrap(llava_train.train)  # a patched LLaVA's calls here (`commands.around_train`)
    argv = sys.argv
    sys.argv = [argv[0], *arguments]
    try:
        with video_type(asked) as maker:
            stock(attn_implementation=attn_implementation)
    finally:
        sys.argv = argv
    if int(os.environ.get("RANK", "0")) == 0:
        keep_sentencepiece_model(maker.tokenizer, asked.output_dir)


if __name__ == "__main__":
    train()
