"""LLaVA's own `train()` with the video type: `python -m llava_v2xum.train --model_name_or_path ... --data_path ...`.

LLaVA builds model, data and trainer from names in its training module; `video_type()` hands it ours.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import inspect
import logging
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor

from ..core.errors import V2XumError
from ..data.dataset import make_data_module
from ..data.mixing import is_main_process
from ..features.checkpoint_files import find_folder, read_tensors
from ..features.clip_tower import load_clip_tower
from ..features.hf_llava import (
    TOWER,
    config_in,
    hf_llava_folder,
    is_hf_llava,
    llava_fields,
    projector_in,
    weights_in,
)
from ..features.kinds import DEFAULT_TOWER, tower_key
from ..features.upstream import HfArgumentParser, PretrainedConfig, Trainer, llava_train, llava_trainer, set_seed
from ..model.compat import (
    cast_as_zero3,
    gathered,
    join_processes,
    mended_arguments,
    mended_final_save,
    mended_gather,
    mended_model_kwargs,
    mended_other_weights,
    own_precision,
    without_partitioning,
)
from ..model.config import LlavaV2XumConfig, not_of_llava_15, take_fields
from ..model.modeling import LlavaV2XumForCausalLM
from ..model.plugin import register
from ..model.tokens import is_plain
from .arguments import DataArguments, ModelArguments, TrainingArguments
from .finished import RunIsFinished
from .flags import UsageError, as_arguments, check_arguments, given_values
from .trainer import make_trainer_class

logger = logging.getLogger(__name__)

_KEPT_FROM_BASE = ("mm_projector_type", "mm_vision_select_layer", "mm_vision_select_feature", "image_aspect_ratio")


class _DryRunEnds(Exception):
    """All that a dry run does is done."""


class _ModelMaker:
    """Stands for the model and trainer classes in LLaVA's `train()`; keeps what it made of them.

    Args:
        asked: the arguments of training.

    Attributes:
        model: the one that LLaVA gave a vision tower last; forks make others too, such as a teacher.
        trainer: what LLaVA's `train()` trains with; None until it has got that far.
    """

    model: LlavaV2XumForCausalLM

    def __init__(self, asked: argparse.Namespace) -> None:
        self.asked = asked
        self.tokenizer = None
        self.trainer: Trainer | None = None

    def from_pretrained(self, name: str, **kwargs) -> LlavaV2XumForCausalLM:
        join_processes()
        try:
            folder = hf_llava_folder(name, "--model_name_or_path")
            if folder is not None:
                config = LlavaV2XumConfig.from_dict(llava_fields(config_in(folder), folder))
            else:
                config = LlavaV2XumConfig.from_pretrained(name, cache_dir=kwargs.get("cache_dir"))
        except (OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UsageError(f"--model_name_or_path: {name}: expected a decoder's folder or name ({reason})") from error
        if config.feature.has_own_tower:
            vars(config).pop("mm_vision_tower", None)  # LLaVA would build a tower of its own from it
        elif getattr(config, "mm_vision_tower", None):
            config.mm_vision_tower = self.asked.vision_tower  # a checkpoint that holds its tower names it by its place
            config.mm_vision_select_layer = self.asked.mm_vision_select_layer  # which LLaVA would only note
        if getattr(config, "mm_patch_merge_type", "flat") != "flat":
            raise UsageError(f"--model_name_or_path: {name}: {not_of_llava_15(config.mm_patch_merge_type)}")
        kwargs = mended_model_kwargs(kwargs)
        take_fields(config, kwargs.pop("config", None))  # LLaVA-NeXT's, with what its own flags change
        if folder is not None:
            kwargs["state_dict"] = _decoder_in(folder, kwargs)
        source = name if folder is None else None
        model = LlavaV2XumForCausalLM.from_pretrained(source, config=config, **kwargs)
        model.choose_feature(self.asked)
        inner = model.get_model()
        stock = inner.initialize_vision_modules

        def initialize_vision_modules(**given) -> None:
            self.model = model
            _initialize_vision(model, stock, **given)

        inner.initialize_vision_modules = initialize_vision_modules
        return model

    def trainer_class(self, *args, **kwargs):
        self.trainer = make_trainer_class(llava_trainer.LLaVATrainer)(*args, **kwargs)
        return self.trainer

    def data_module(self, tokenizer, data_args: DataArguments) -> dict:
        """LLaVA's `make_supervised_data_module`, with this plugin's data set and collator."""
        self.tokenizer = tokenizer
        asked = self.asked
        allowed = data_args.max_rejected
        if asked.dry_run:
            data_args.max_rejected = "100%"  # the report says so where it is more than allowed
        try:
            made = make_data_module(tokenizer, data_args, self.model, asked.version, asked.output_dir, asked.seed)
        except V2XumError as error:  # of the user's files, and says which
            raise UsageError(str(error)) from error
        if asked.dry_run:
            from .inspection.report import write_report

            if is_main_process():
                world = int(os.environ.get("WORLD_SIZE", "1"))
                write_report(asked, self.model, made["train_dataset"], world, allowed)
            raise _DryRunEnds
        return made


def _decoder_in(folder: Path, kwargs: Mapping[str, object]) -> dict[str, Tensor]:
    """Decoder and projector of transformers' own LLaVA, under LLaVA's names; its tower loads itself."""
    if kwargs.get("quantization_config") is not None:
        raise UsageError(
            f"--bits: {folder} is in transformers' own form, which can be trained in 16 bits; write it in LLaVA's "
            "first: python -m llava_v2xum.merge --model-path ... --out ..."
        )
    files = weights_in(folder, lambda name: not name.startswith(TOWER))
    return {name: tensor for _, tensors in files for name, tensor in tensors}


def _initialize_vision(model: LlavaV2XumForCausalLM, stock, model_args: ModelArguments, fsdp=None) -> None:
    """LLaVA's `initialize_vision_modules`, with the projector's file checked against the projector that it is for.

    Raises:
        UsageError: naming the file, if it holds no projector or one of another shape; or for another type of
            projector than the base has.
    """
    had_projector = getattr(model.get_model(), "mm_projector", None) is not None
    wanted, own = model_args.mm_projector_type, getattr(model.config, "mm_projector_type", "linear")
    if had_projector and wanted != own:  # LLaVA would keep the base's, and save a config that says otherwise
        raise UsageError(f"--mm_projector_type: the base has a projector, expected its type {own}, got {wanted}")
    file, model_args.pretrain_mm_mlp_adapter = model_args.pretrain_mm_mlp_adapter, None
    with without_partitioning():
        stock(model_args=model_args, fsdp=fsdp)
        if not had_projector and model.config.feature.has_own_projector:
            model.get_model().mm_projector = model.config.feature.projector(model.config)
        if not model.config.feature.has_own_tower:
            load_clip_tower(model.get_vision_tower())  # LLaVA's own load may have left random weights in it
    cast_as_zero3(model.get_model().mm_projector, model.lm_head.weight.dtype)
    model_args.pretrain_mm_mlp_adapter = file
    if file is not None:
        _load_projector(model.get_model().mm_projector, Path(file))
    elif not had_projector:
        logger.warning("no --pretrain_mm_mlp_adapter, and the base has no projector: it starts from random weights")


def _load_projector(projector, file: Path) -> None:
    """Its weights, from LLaVA's file or from a folder or hub name of a whole checkpoint."""
    try:
        found = dict(read_tensors(file)) if file.is_file() else projector_in(find_folder(file, "the projector"))
    except (FileNotFoundError, V2XumError) as error:
        raise UsageError(f"--pretrain_mm_mlp_adapter: {error}") from error
    stored = {name.split("mm_projector.")[1]: tensor for name, tensor in found.items() if "mm_projector." in name}
    with gathered(projector.parameters()):
        expected = {name: list(tensor.shape) for name, tensor in projector.state_dict().items()}
        found = {name: list(tensor.shape) for name, tensor in stored.items()}
        if found != expected:
            raise UsageError(
                f"--pretrain_mm_mlp_adapter: {file}: expected a projector of shapes {expected} (--mm_projector_type, "
                f"tower and decoder), got {found or 'a file without one'}"
            )
        projector.load_state_dict(stored)


@contextlib.contextmanager
def video_type(asked: argparse.Namespace) -> Iterator[_ModelMaker]:
    """While it is open, `llava.train.train.train()` trains the video type; afterwards LLaVA is as before.

    Args:
        asked: the arguments of training, as they are known before LLaVA reads them.
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
        "get_peft_state_non_lora_maybe_zero_3": mended_other_weights(llava_train.get_peft_state_non_lora_maybe_zero_3),
        "safe_save_model_for_hf_trainer": mended_final_save(llava_train.safe_save_model_for_hf_trainer),
        "LLaVATrainer": maker.trainer_class,
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


def train(arguments: Sequence[str] | None = None, attn_implementation: str | None = None):
    """Run LLaVA's `train()` with the video type. Started again, it goes on from the last whole checkpoint.

    Args:
        arguments: the command line without the program's name; `sys.argv` if None.
        attn_implementation: as in LLaVA: "flash_attention_2", "sdpa", "eager" or None; `--attn_implementation` wins.

    Returns:
        The trainer, whose `model` is the trained one; None after a dry run.

    Raises:
        UsageError: a V2XumError, for an argument that is missing or names what is not there.
        V2XumError: for data that cannot be learnt from, or a checkpoint that the run cannot go on from.
        OSError: naming what could not be written, as when the disk is full; older checkpoints stay.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    asked, arguments = _read(arguments)
    check_arguments(arguments)
    _check_machine(asked)
    set_seed(asked.seed)  # LLaVA seeds only its trainer, after a new projector has got its weights
    stock = inspect.unwrap(llava_train.train)  # a patched LLaVA's calls here (`hooks.around_train`)
    argv = sys.argv
    sys.argv = [argv[0], *arguments]
    try:
        with own_precision(), video_type(asked) as maker:
            try:
                stock(attn_implementation=_attention(asked, attn_implementation))
                _finish(maker)
            except _DryRunEnds:
                return None
            except RunIsFinished as told:
                logger.info("%s", told)
                return maker.trainer
            except Exception as error:
                if maker.trainer is None or maker.trainer.finished_folder is None:
                    raise  # nothing to do with the last save
                raise maker.trainer.could_not_write(f"{asked.output_dir}: the trained model", error) from error
    finally:
        sys.argv = argv
    return maker.trainer


def _read(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The arguments' values, and the arguments as LLaVA can read them; prints all flags for `--help`."""
    classes = (ModelArguments, DataArguments, TrainingArguments)
    arguments = mended_arguments(arguments, TrainingArguments.__dataclass_fields__)
    defaults = _settings_of_base(arguments)
    if "LOCAL_RANK" in os.environ:
        defaults["local_rank"] = os.environ["LOCAL_RANK"]  # LLaVA saves where it is 0 or was not given
    arguments = [*as_arguments(defaults), *arguments]  # of a flag that stands twice, the last one counts
    parser = HfArgumentParser(classes, description=__doc__)
    parser.error = _refuse_flag  # its own prints every flag there is, from every process
    asked, unknown = parser.parse_known_args(arguments)  # plain values: the trainer's arguments are made only once
    if Path(asked.vision_tower).exists():  # it is saved with the model, which is loaded from other places
        asked.vision_tower = str(Path(asked.vision_tower).resolve())
        arguments += ["--vision_tower", asked.vision_tower]
    if unknown:
        raise UsageError(
            f"{' '.join(unknown)}: no such flag of training (DeepSpeed's own go between deepspeed and the script)"
        )
    for name in ("eval_strategy", "evaluation_strategy", "load_best_model_at_end", "do_eval"):
        if str(vars(asked).get(name) or "no").lower() not in ("no", "false", "intervalstrategy.no"):
            raise UsageError(f"--{name}: validation of this training is --val_data_path FILE with --val_steps N")
    for name in ("resume_from_checkpoint", "overwrite_output_dir"):
        if getattr(asked, name, None):  # LLaVA pays no heed to them
            raise UsageError(
                f"--{name}: no flag of this training, which goes on from the last whole checkpoint in --output_dir; "
                "to start over, give a new folder"
            )
    return asked, arguments


def _check_machine(asked: argparse.Namespace) -> None:
    """What transformers would refuse with a traceback: a precision that is not here, DeepSpeed without its launcher.

    Raises:
        UsageError: naming the flag, and what it needs.
    """
    if asked.tf32 and not (torch.cuda.is_available() and torch.cuda.get_device_capability() >= (8, 0)):
        raise UsageError("--tf32 True needs a GPU of NVIDIA's Ampere or a newer kind; leave the flag out")
    if asked.deepspeed and "LOCAL_RANK" not in os.environ:
        raise UsageError(
            "--deepspeed needs a launcher, also for one process: deepspeed --module llava_v2xum.train FLAGS, or "
            "scripts/finetune_v2xum.sh, which starts it"
        )


def _refuse_flag(message: str) -> NoReturn:
    raise UsageError(message)


def _settings_of_base(arguments: Sequence[str]) -> dict[str, object]:
    """Flag -> value of what a checkpoint to start from was made with: its tower, or LLaVA-1.5's, and how it is used."""
    base = _local_base((given_values(arguments).get("model_name_or_path") or [""])[-1])
    config = config_in(base)
    if is_hf_llava(config):
        config = llava_fields(config, base)
    tower = config.get(tower_key(config))
    if tower and (base / tower).exists():
        tower = str(base / tower)
    found = {name: config[name] for name in _KEPT_FROM_BASE if config.get(name) is not None}
    if is_plain((given_values(arguments).get("version") or [""])[-1]):
        found["image_aspect_ratio"] = "square"  # LLaVA-1.5's first stage says nothing of it, and has LLaVA's default
    return {"vision_tower": tower or DEFAULT_TOWER, **found}


def _local_base(name: str) -> Path:
    """The folder of a base; of a hub name only where it is a checkpoint that may hold its own tower."""
    path = Path(name).expanduser()
    if not name or path.exists():
        return path
    try:
        found = PretrainedConfig.get_config_dict(name)[0]
    except (OSError, ValueError):
        return path  # `from_pretrained` says what is wrong with it
    return find_folder(name, "--model_name_or_path") if "mm_vision_tower" in found or is_hf_llava(found) else path


def _attention(asked: argparse.Namespace, wanted: str | None) -> str | None:
    """The attention to train with: what was asked for, else FlashAttention where it is installed and a GPU runs it."""
    wanted = getattr(asked, "attn_implementation", None) or wanted
    if wanted is None and asked.pack:
        return "sdpa"  # FlashAttention takes no mask of packed rows
    if wanted is None and torch.cuda.is_available() and importlib.util.find_spec("flash_attn") and not asked.use_cpu:
        return "flash_attention_2"
    return wanted  # None is transformers' own choice, SDPA


def _finish(maker: _ModelMaker) -> None:
    """Put the finished model in place."""
    if maker.trainer is None:
        raise RuntimeError("LLaVA's train() made no trainer")
    if maker.trainer.args.process_index == 0:
        keep_sentencepiece_model(maker.tokenizer, str(maker.trainer.finished_folder))
    maker.trainer.publish()
