"""Mends that let LLaVA 1.2.2, written for transformers 4.37, run on later releases. Each says which and why."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any


def mend_calls(model_class: type[Any]) -> None:
    """Let a model class of LLaVA's be called, and call upwards, as the installed transformers has it.

    5.24 renamed `past_key_values` to `cache` in every model's forward and in generation, and 5.40 takes the old name
    away. From 4.38 to 5.3 generation hands every model `cache_position`, which LLaVA's forward does not take and
    transformers' own works out where it is left out. Calling this again changes nothing.

    Args:
        model_class: such as `LlavaLlamaForCausalLM`, with transformers' class as its first base.
    """
    base: type[Any] = model_class.__bases__[0]
    above = inspect.signature(base.forward).parameters
    if "cache" in above:
        model_class.__bases__ = (_class_below(base), *model_class.__bases__[1:])
        model_class.forward = _renamed(model_class.forward)
        model_class.prepare_inputs_for_generation = _renamed(model_class.prepare_inputs_for_generation)
    elif "cache_position" in above and "cache_position" not in inspect.signature(model_class.forward).parameters:
        if not hasattr(model_class.forward, "__wrapped__"):
            model_class.forward = _without_cache_position(model_class.forward)


def _class_below(base: type[Any]) -> type:
    """A class between LLaVA's and transformers', which takes the calls that LLaVA's makes upwards."""

    class Below(base):
        def forward(self, *args, past_key_values=None, **kwargs):
            return super().forward(*args, cache=past_key_values, **kwargs)

        def prepare_inputs_for_generation(self, *args, past_key_values=None, **kwargs):
            return super().prepare_inputs_for_generation(*args, cache=past_key_values, **kwargs)

    Below.__name__ = base.__name__
    return Below


def _renamed(method: Callable) -> Callable:
    """A method of LLaVA's that takes `past_key_values`, as transformers 5.24 calls it."""

    @functools.wraps(method)
    def renamed(self, *args, **kwargs):
        if "cache" in kwargs:
            kwargs["past_key_values"] = kwargs.pop("cache")
        return method(self, *args, **kwargs)

    return renamed


def _without_cache_position(forward: Callable) -> Callable:
    @functools.wraps(forward)
    def called(self, *args, cache_position=None, **kwargs):
        return forward(self, *args, **kwargs)

    return called


def splicing_of(splice: Callable, media: Sequence) -> dict[str, list[str]]:
    """What LLaVA's splicing must be told of items that are embedded already; nothing in LLaVA itself.

    LLaVA-NeXT takes `modalities`, one for each item, pools what is a "video" there, and drops the rows beyond its
    default of a single one.
    """
    takes_kinds = "modalities" in inspect.signature(splice).parameters
    return {"modalities": ["image"] * len(media)} if takes_kinds else {}


def mend_encoding(model_class: type[Any], upstream: type[Any]) -> None:
    """Let what is embedded already pass LongVA's `encode_multimodals`, which its splicing asks and no `encode_images`.

    Does nothing for a LLaVA without it.

    Args:
        model_class: ours.
        upstream: LLaVA's class that it inherits from.
    """
    stock = getattr(upstream, "encode_multimodals", None)
    if stock is None:
        return

    @functools.wraps(stock)
    def encode_multimodals(self, media, videos, sizes=None):
        if media.shape[1] == 1:  # pixels have three channels
            return list(media.flatten(1, 2).split(sizes))
        return stock(self, media, videos, sizes)

    model_class.encode_multimodals = encode_multimodals


def mend_tokenizer(tokenizer) -> None:
    """Make a LLaMA tokenizer of transformers 5 give the ids that sentencepiece gives. Calling it again changes nothing.

    5.0 builds LLaMA's tokenizer on `Metaspace`, which puts no `▁` before a text that begins with a blank;
    sentencepiece and 4.37 always put one. Left alone under 4.37, and where the tokenizer is no such one.

    Args:
        tokenizer: legacy ones (`▁` before every piece between special tokens) end up exactly as in 4.37; others
            (`▁` before the first piece only) do but for a blank straight after a special token inside a text.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return
    from tokenizers import Regex, normalizers, pre_tokenizers

    metaspace = backend.pre_tokenizer
    if not isinstance(metaspace, pre_tokenizers.Metaspace) or metaspace.split or metaspace.prepend_scheme == "never":
        return
    if metaspace.prepend_scheme == "always":  # legacy: what 4.37's own fast class is made of
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        backend.pre_tokenizer = None
    elif backend.normalizer is None:  # one blank more where there is one, as Metaspace takes the first for its own
        backend.normalizer = normalizers.Replace(Regex(r"\A(?=[ ▁])"), " ")


def mended_gather(gather: Callable) -> Callable:
    """LLaVA's `maybe_zero_3`, which its LoRA and projector checkpoints go through, where deepspeed is not installed.

    LLaVA imports deepspeed there whether or not it is in use; without it no parameter is sharded.
    """
    if importlib.util.find_spec("deepspeed") is not None:
        return gather
    return lambda param, ignore_status=False, name=None: param.detach().cpu().clone()


def mended_other_weights(gather_others: Callable) -> Callable:
    """LLaVA's `get_peft_state_non_lora_maybe_zero_3`, which leaves a frozen projector out of what a LoRA run saves.

    The base has none, so that such a checkpoint could not be loaded.

    Args:
        gather_others: LLaVA's function: (name, parameter) pairs -> the trained ones that are no LoRA weights.
    """

    def gather_with_projector(named_params: Iterable[tuple], require_grad_only: bool = True) -> dict:
        named = list(named_params)
        found = gather_others(named, require_grad_only)
        # not of a second model that some forks put into the first
        frozen = [(name, param) for name, param in named if "model.mm_projector" in name and name not in found]
        return {**found, **gather_others(frozen, False)}

    return gather_with_projector


def mended_final_save(save: Callable) -> Callable:
    """LLaVA's `safe_save_model_for_hf_trainer`, which asks for CUDA even where there is none: LLaVA-NeXT's always,
    LLaVA's own under DeepSpeed."""

    def safe_save_model_for_hf_trainer(trainer, output_dir: str) -> None:
        import torch

        projector_alone = getattr(trainer.args, "tune_mm_mlp_adapter", False)
        if not projector_alone and not torch.cuda.is_available():
            trainer.save_model(output_dir)
        else:
            save(trainer, output_dir)

    return safe_save_model_for_hf_trainer


def _zero3_settings():
    """transformers' module that knows whether ZeRO-3 is on, or None where it is off."""
    if importlib.util.find_spec("deepspeed") is None:
        return None
    from ..features.upstream import transformers_deepspeed as integration

    return integration if integration.is_deepspeed_zero3_enabled() else None


def join_processes() -> None:
    """Tell DeepSpeed of the process group before ZeRO-3 partitions a model as it is built.

    With `--use_cpu`, accelerate starts torch's group alone, and DeepSpeed takes the world for one process.
    """
    if _zero3_settings() is not None:
        import deepspeed

        if not deepspeed.comm.is_initialized():
            deepspeed.init_distributed(auto_mpi_discovery=False)


@contextlib.contextmanager
def without_partitioning() -> Iterator[None]:
    """While it is open, transformers builds models whole under ZeRO-3; DeepSpeed's engine partitions them later.

    LLaVA and `features.clip_tower` copy weights into the vision tower once it is built, which a partitioned one does
    not take. Does nothing outside of ZeRO-3.
    """
    integration = _zero3_settings()
    if integration is None:
        yield
        return
    config = integration._hf_deepspeed_config_weak_ref()
    integration.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        integration.set_hf_deepspeed_config(config)


def cast_as_zero3(projector, dtype) -> None:
    """Give a projector that was built behind a partitioned decoder the dtype of that; does nothing outside of ZeRO-3.

    DeepSpeed's engine did so itself until 0.18; since then it stops at weights of two dtypes.
    """
    if _zero3_settings() is not None:
        projector.to(dtype)


def cast_trained_as_zero3(model) -> None:
    """Give all that is trained the dtype that ZeRO-3 has partitioned the decoder in; does nothing outside of ZeRO-3.

    peft makes a LoRA pair in float32 beside a base in bf16, and DeepSpeed stops with a bare assertion at trained
    weights of two dtypes; its optimizer keeps float32 copies of its own.
    """
    if _zero3_settings() is None:
        return
    dtypes = (parameter.ds_tensor.dtype for parameter in model.parameters() if hasattr(parameter, "ds_tensor"))
    dtype = next((one for one in dtypes if one.is_floating_point), None)
    for parameter in model.parameters():
        if dtype is not None and parameter.requires_grad and not hasattr(parameter, "ds_tensor"):
            parameter.data = parameter.data.to(dtype)


@contextlib.contextmanager
def gathered(parameters: Iterable) -> Iterator[None]:
    """While it is open, parameters that ZeRO-3 has partitioned are whole; what every process writes is kept."""
    parameters = [parameter for parameter in parameters if hasattr(parameter, "ds_id")]
    if not parameters:
        yield
        return
    import deepspeed

    with deepspeed.zero.GatheredParameters(parameters, modifier_rank=0):
        yield


@contextlib.contextmanager
def own_precision() -> Iterator[None]:
    """While it is open, a run's precision is its own: transformers sets accelerate's in the environment and leaves it.

    A later run of the same process, in float32, would compute in bf16.
    """
    name = "ACCELERATE_MIXED_PRECISION"
    before = os.environ.get(name)
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before


def mended_model_kwargs(kwargs: dict) -> dict:
    """What LLaVA's `train()` gives to `from_pretrained`, as the installed transformers takes it.

    `load_in_4bit` and `load_in_8bit` stand beside the same settings in `quantization_config`, which transformers 5
    refuses; and its `mm_projector`, which is to stay as it is, has to be named from the model on since 5.0. A
    `torch_dtype` of None meant float32 in 4.37, and means the file's own dtype, float16 for Vicuna, since.
    """
    import torch

    kwargs = dict(kwargs)
    if kwargs.get("quantization_config") is not None:
        left_alone = kwargs["quantization_config"].llm_int8_skip_modules
        kwargs["quantization_config"].llm_int8_skip_modules = [*(left_alone or ()), "model.mm_projector"]
        kwargs.pop("load_in_4bit", None)
        kwargs.pop("load_in_8bit", None)
    if kwargs.get("torch_dtype") is None:
        kwargs["torch_dtype"] = torch.float32
    return kwargs


def mended_arguments(arguments: Sequence[str], known: Iterable[str]) -> list[str]:
    """LLaVA's command lines under transformers 5, which renamed three flags of theirs.

    Args:
        arguments: the command line.
        known: the names of the training arguments that the installed transformers has.
    """
    known = set(known)
    if "activation_checkpointing" in known:
        known.discard("gradient_checkpointing")  # 5.23 still takes it, with a warning
    renamed = {
        "warmup_ratio": "warmup_steps",  # below 1, steps are a ratio
        "evaluation_strategy": "eval_strategy",
        "gradient_checkpointing": "activation_checkpointing",
    }
    mended = []
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        name = flag[2:].replace("-", "_") if flag.startswith("--") else ""
        if name in renamed and name not in known:
            flag = f"--{renamed[name]}"
        mended.append(flag + equals + value)
    return mended


def samples_in_whole_steps(samples: int, per_batch: int, accumulated: int) -> int:
    """How many of an epoch's samples to train on, so that a run can be taken up in its later epochs.

    Before 5.0 the batches that an epoch has left over from its last whole step count towards the next epoch's first
    one, which a resumed run knows nothing of: it would go on at another place of the data.

    Args:
        per_batch: samples of one batch of all processes.
        accumulated: batches of one step.

    Returns:
        All of them from 5.0 on, which makes a step of what is left over, and for data of less than a step.
    """
    from ..features.upstream import Trainer

    batches = -(-samples // per_batch)
    if "tokenizer" not in inspect.signature(Trainer.__init__).parameters or batches < accumulated:
        return samples
    return min(samples, batches // accumulated * accumulated * per_batch)


def mended_trainer(trainer_class: type) -> type:
    """LLaVA's trainer as the installed transformers can call it; the class itself under 4.37.

    Args:
        trainer_class: `llava.train.llava_trainer.LLaVATrainer`.
    """
    from ..features.upstream import Trainer

    signature = inspect.signature(Trainer.__init__).parameters
    if "tokenizer" in signature:
        return trainer_class

    class Below(Trainer):
        """Stands between LLaVA's trainer and transformers', and takes the calls that LLaVA's makes upwards."""

        def _save_checkpoint(self, model, trial, metrics=None):  # 4.46 dropped metrics
            super()._save_checkpoint(model, trial)

    class MendedTrainer(trainer_class, Below):
        """Stands above LLaVA's trainer, and takes the calls that transformers makes."""

        def __init__(self, *args, tokenizer=None, **kwargs):  # 5.0 renamed the argument
            super().__init__(*args, processing_class=tokenizer, **kwargs)

        def _get_train_sampler(self, train_dataset=None):  # 4.50 hands the data set in
            return super()._get_train_sampler()

        def create_optimizer(self, model=None):  # 5.0 hands the model in
            return super().create_optimizer()

    MendedTrainer.__name__ = trainer_class.__name__
    return MendedTrainer
