"""LLaVA's trainer with checkpoints that are there whole or not at all, and runs that go on as if never interrupted."""

from __future__ import annotations

import errno
import logging
import math
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch
from torch.utils.data import Sampler

from ..core.errors import V2XumError
from ..features.checkpoint_files import ADAPTER_CONFIG, ADAPTER_NAMES, CONFIG, NON_LORA, PROJECTOR, some
from ..features.upstream import IGNORE_INDEX, Trainer, TrainerCallback, llava_train
from ..model.compat import cast_trained_as_zero3, mended_trainer, samples_in_whole_steps
from ..model.packing import ENTRY_IDS
from . import finished
from .guard import NamedBatches, StepGuard
from .memory import Meter, OutOfMemory, advice
from .validation import Validation

logger = logging.getLogger(__name__)

STATE, OPTIMIZER = "trainer_state.json", "optimizer.pt"
UNFINISHED = ".unfinished"  # the folder in output_dir where everything is written before it gets its name
_WEIGHTS = (*ADAPTER_NAMES, NON_LORA, PROJECTOR, "model*.safetensors*", "pytorch_model*.bin*")  # of a finished model
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


def whole_checkpoints(output_dir: str | os.PathLike) -> list[Path]:
    """The checkpoints in a run's folder, oldest step first; others that only bear such a name are left out."""
    found = []
    for folder in Path(output_dir).glob("checkpoint-*"):
        match = _CHECKPOINT.fullmatch(folder.name)
        if match and (folder / STATE).is_file():
            found.append((int(match[1]), folder))
        else:
            logger.warning("%s: no whole checkpoint (no %s or another name), not used", folder, STATE)
    return [folder for _, folder in sorted(found)]


def check_resumable(
    checkpoint: Path, processes: int, process_index: int, deepspeed: bool, trained: str = "full"
) -> None:
    """Refuse to go on from a checkpoint without the states that this run needs to be the same run.

    Args:
        trained: what this run trains: "full", "LoRA" or "projector".

    Raises:
        V2XumError: naming the checkpoint, and how the run that wrote it differs from this one.
    """
    by_deepspeed = (checkpoint / "latest").is_file()
    if not by_deepspeed and not (checkpoint / OPTIMIZER).is_file():
        found: str | None = "a model alone (--save_only_model)"
    elif by_deepspeed != deepspeed:
        found = "a run " + ("under DeepSpeed" if by_deepspeed else "without DeepSpeed")
    else:
        own = "rng_state.pth" if processes == 1 else f"rng_state_{process_index}.pth"
        written = len(list(checkpoint.glob("rng_state*.pth")))  # fewer than processes where machines share no disk
        found = None if (checkpoint / own).is_file() and written <= processes else f"a run of {written} processes"
    lora = "LoRA" if (checkpoint / ADAPTER_CONFIG).is_file() else "full"
    before = "projector" if (checkpoint / PROJECTOR).is_file() else lora
    if found is None and before != trained:
        raise V2XumError(
            f"{checkpoint}: expected the checkpoint of a {trained} run, got that of a {before} run; start it as "
            "before, or give another --output_dir"
        )
    if found:
        wanted = f"{processes} processes, {'under' if deepspeed else 'without'} DeepSpeed"
        raise V2XumError(
            f"{checkpoint}: expected the checkpoint of a run of {wanted}, got that of {found}; start it as before, "
            "or give another --output_dir"
        )


class SeededOrder(Sampler):
    """Another sampler's order, drawn from the seed and the epoch alone.

    LLaVA's draws from the process's random numbers, which are others when a run is taken up in the middle.

    Args:
        sampler: the order to draw.
        seed: of the run.
        most: how many of an epoch's samples to take; all if None.
    """

    def __init__(self, sampler: Sampler, seed: int, most: int | None = None) -> None:
        self.sampler = sampler
        self.seed = seed
        self.most = len(sampler) if most is None else most
        self.epoch = 0

    def __len__(self) -> int:
        return self.most

    def __iter__(self) -> Iterator[int]:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.seed + self.epoch)  # torch.manual_seed would reset GPUs too
            return iter(list(self.sampler)[: self.most])


class _TellEpoch(TrainerCallback):
    """Tells the order its epoch; not every release of accelerate tells all samplers."""

    def __init__(self, order: SeededOrder) -> None:
        self.order = order
        self.next_epoch = 0

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        self.next_epoch = int(state.epoch or 0)  # of a run that is taken up: the epoch in which it was

    def on_epoch_begin(self, args, state, control, **kwargs) -> None:
        self.order.epoch = self.next_epoch
        self.next_epoch += 1


class _WholeCheckpoints(Trainer):
    """What stands above LLaVA's trainer: see `make_trainer_class`."""

    finished_folder: Path | None = None  # where the finished model is written before it is published

    def __init__(self, *args, data_collator=None, **kwargs) -> None:
        named = None if data_collator is None else NamedBatches(data_collator)
        super().__init__(*args, data_collator=named, **kwargs)
        self.run_folder = Path(self.args.output_dir)
        self._staging: Path | None = None
        asked = vars(self.args)
        self.guard = StepGuard(self, asked["max_nonfinite_steps"])
        self.add_callback(self.guard)
        if self.eval_dataset is not None:
            self.add_callback(Validation(self))
        self._meter = Meter()
        self._by_tokens = asked["weigh_by_tokens"]
        if self._by_tokens:
            check_counts_tokens(self)
            self.model_accepts_loss_kwargs = True  # transformers then counts a step's learned tokens

    def train(self, resume_from_checkpoint=None, **kwargs):
        """Train from the last whole checkpoint in the output folder, or from the start if there is none.

        Raises:
            V2XumError: if that checkpoint was written by a run of another kind (`check_resumable`).
            RunIsFinished: if there is nothing left to do.
        """
        self._settings = finished.settings_of(self.args, self.train_dataset)
        finished.check(self.run_folder, self._settings)
        tell_of_precision(self.args, self.is_deepspeed_enabled)
        checkpoints = whole_checkpoints(self.run_folder)
        last = checkpoints[-1] if checkpoints else None
        if isinstance(resume_from_checkpoint, (str, os.PathLike)):
            last = Path(resume_from_checkpoint)
        if last is not None:
            args = self.args
            trained = "LoRA" if args.lora_enable else "full"
            trained = "projector" if getattr(args, "tune_mm_mlp_adapter", False) else trained
            check_resumable(last, args.world_size, args.process_index, self.is_deepspeed_enabled, trained)
            logger.info("going on from %s", last)
        self._clear(self.run_folder / UNFINISHED)
        cast_trained_as_zero3(self.model)
        return super().train(resume_from_checkpoint=str(last) if last else None, **kwargs)

    def training_step(self, model, inputs, *args, **kwargs):
        entry_ids = inputs.pop(ENTRY_IDS, ())
        self._meter.begin()
        try:
            loss = super().training_step(model, inputs, *args, **kwargs)
        except torch.cuda.OutOfMemoryError as error:
            rows, positions = inputs["input_ids"].shape
            accumulated, recomputes = self.args.gradient_accumulation_steps, self.args.gradient_checkpointing
            raise OutOfMemory(advice(self._meter.use(error), rows, positions, accumulated, recomputes)) from error
        self.guard.saw(entry_ids, loss)
        return loss

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None, **kwargs):
        """With `--weigh_by_tokens` a pass counts by its share of the step's learned tokens, in all processes."""
        found = super().compute_loss(model, inputs, return_outputs, **kwargs)
        if not self._by_tokens or num_items_in_batch is None:
            return found
        loss = found[0] if return_outputs else found
        here = (inputs["labels"][:, 1:] != IGNORE_INDEX).sum()
        loss = loss * here / num_items_in_batch * self.args.world_size  # processes' gradients are averaged
        return (loss, found[1]) if return_outputs else loss

    def log(self, logs, *args, **kwargs) -> None:
        """transformers leaves losses that are not finite out of its mean, down to 0.0 where all are: say what was."""
        if "loss" in logs and self.guard.lost_since_log:
            logs = {**logs, "loss": math.nan, "nonfinite_steps": self.guard.lost_since_log}
            self.guard.lost_since_log = 0
        super().log(logs, *args, **kwargs)

    def _get_train_sampler(self, *args, **kwargs):
        sampler = super()._get_train_sampler(*args, **kwargs)
        if sampler is None:
            return None
        per_batch = (self.state.train_batch_size or self.args.train_batch_size) * self.args.world_size
        most = samples_in_whole_steps(len(sampler), per_batch, self.args.gradient_accumulation_steps)
        if most < len(sampler):
            logger.info(
                "%d of the %d samples make no whole step with the others and wait for another epoch",
                len(sampler) - most, len(sampler),
            )  # fmt: skip
        order = SeededOrder(sampler, self.args.seed, most)
        self.pop_callback(_TellEpoch)
        self.add_callback(_TellEpoch(order))
        return order

    def create_optimizer(self, *args, **kwargs):
        """LLaVA's groups of parameters; those without any are left out, as ZeRO cannot partition them.

        Where DeepSpeed keeps the optimizer's states on the CPU, its own Adam, which is fast there, takes the groups.
        An `optimizer` section in DeepSpeed's file would do so too, but drop `--mm_projector_lr`.
        """
        optimizer = super().create_optimizer(*args, **kwargs)
        optimizer.param_groups[:] = [group for group in optimizer.param_groups if group["params"]]
        config = getattr(self.args, "hf_deepspeed_config", None)
        if config is not None and config.is_offload() and type(optimizer) is torch.optim.AdamW:
            from deepspeed.ops.adam import DeepSpeedCPUAdam

            known = ("params", "lr", "betas", "eps", "weight_decay")
            groups = [{key: group[key] for key in known} for group in optimizer.param_groups]
            self.optimizer = optimizer = DeepSpeedCPUAdam(groups, adamw_mode=True)
        if not self.is_deepspeed_enabled:
            self.guard.watch(optimizer)
        return optimizer

    def _get_output_dir(self, trial) -> str:
        return str(self._staging) if self._staging else super()._get_output_dir(trial=trial)

    def _save_checkpoint(self, *args, **kwargs) -> None:
        """Write a checkpoint beside the others, and give it its name once all processes have written their part.

        Raises:
            OSError: naming the checkpoint, if it cannot be written; nothing of it stays.
            BrokenRun: if its weights are not finite; it is a V2XumError.
        """
        name = f"checkpoint-{self.state.global_step}"
        self.guard.check_finite(str(self.run_folder / name))
        self._staging = self.run_folder / UNFINISHED
        try:
            super()._save_checkpoint(*args, **kwargs)
            self._complete(self._staging / name)
        except Exception as error:  # torch, safetensors and DeepSpeed each have their own for a full disk
            raise self.could_not_write(str(self.run_folder / name), error) from error
        finally:
            self._staging = None
        written = self.run_folder / UNFINISHED / name
        self.accelerator.wait_for_everyone()
        if self.args.process_index == 0:
            self._put_in_place(written)
        self.accelerator.wait_for_everyone()
        if self.args.local_process_index == 0 and written.exists():  # a machine that does not share the first's disk
            self._put_in_place(written)
        self.accelerator.wait_for_everyone()

    def could_not_write(self, what: str, error: Exception) -> OSError:
        """The error to raise when `what` could not be written; removes the part that was."""
        unfinished = self.run_folder / UNFINISHED
        shutil.rmtree(unfinished, ignore_errors=True)
        free = shutil.disk_usage(self.run_folder).free / 1e9
        kept = [folder.name for folder in whole_checkpoints(self.run_folder)]
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        return OSError(
            getattr(error, "errno", None) or errno.EIO,
            f"{what}: could not be written ({reason}; {free:.1f} GB free on its disk); checkpoints in this folder that "
            f"are whole: {', '.join(kept) or 'none'}",
        )

    def _complete(self, folder: Path) -> None:
        """Add what LLaVA's trainer leaves out: a projector's run could not go on, nor a LoRA run with its projector."""
        if getattr(self.args, "tune_mm_mlp_adapter", False):
            if not self.args.save_only_model:
                self._save_optimizer_and_scheduler(str(folder))
                self._save_rng_state(str(folder))
            if self.args.should_save:
                self.state.save_to_json(str(folder / STATE))
        elif self.args.lora_enable:
            others = llava_train.get_peft_state_non_lora_maybe_zero_3(self.model.named_parameters())
            if self.args.should_save:
                torch.save(others, folder / NON_LORA)
                self.model.config.save_pretrained(folder)

    def _put_in_place(self, written: Path) -> None:
        """Give a whole checkpoint its name, then remove those beyond `save_total_limit`."""
        target = self.run_folder / written.name
        if target.exists():
            self._remove(target)
        os.rename(written, target)
        if self.args.save_total_limit and self.args.save_total_limit > 0:
            for folder in whole_checkpoints(self.run_folder)[: -self.args.save_total_limit]:
                self._remove(folder)

    def _remove(self, folder: Path) -> None:
        """Take its name away first: a kill in the middle must not leave a part of a checkpoint under it."""
        nameless = self.run_folder / UNFINISHED / f"removed-{folder.name}"
        shutil.rmtree(nameless, ignore_errors=True)
        os.rename(folder, nameless)
        shutil.rmtree(nameless)

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None) -> None:
        """Also what `_complete` added; DeepSpeed brings all weights back by itself."""
        folder = Path(resume_from_checkpoint)
        if (folder / PROJECTOR).is_file():
            self._load_some(folder / PROJECTOR)
            return
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if (folder / NON_LORA).is_file():
            self._load_some(folder / NON_LORA)

    def _load_some(self, file: Path) -> None:
        stored = torch.load(file, map_location="cpu", weights_only=True)
        unknown = self.model.load_state_dict(stored, strict=False).unexpected_keys
        if unknown:
            raise V2XumError(f"{file}: expected weights of this model, got {some(unknown)}")

    def save_state(self) -> None:
        """LLaVA saves the finished model right after it: let it write into a folder that `publish` puts in place.

        Raises:
            BrokenRun: if the model must not be published.
        """
        self.guard.check_finite(f"{self.run_folder}: the trained model")
        self.guard.check_moved()
        super().save_state()
        self.finished_folder = self.run_folder / UNFINISHED / f"finished-{self.args.process_index}"
        self.finished_folder.mkdir(parents=True, exist_ok=True)
        self.args.output_dir = str(self.finished_folder)

    def publish(self) -> None:
        """Move the finished model into the output folder, its configs last: without them nothing loads the folder.

        Raises:
            RuntimeError: before `save_state`: there is no finished model.
        """
        whole = self.finished_folder
        if whole is None:
            raise RuntimeError("save_state comes before publish")
        self.accelerator.wait_for_everyone()
        self.args.output_dir = str(self.run_folder)
        if self.args.process_index == 0:
            configs = (CONFIG, ADAPTER_CONFIG)
            for pattern in (finished.FINISHED, *configs, *_WEIGHTS):
                for older in self.run_folder.glob(pattern):
                    older.unlink()
            written = {file.name: file for file in whole.iterdir()}
            last = [name for name in configs if name in written]
            for name in [*(written.keys() - set(configs)), *last]:
                os.replace(written[name], self.run_folder / name)
            finished.write(self.run_folder, self._settings, self.state.global_step, written)
        self._clear(self.run_folder / UNFINISHED)

    def _clear(self, folder: Path) -> None:
        self.accelerator.wait_for_everyone()
        if self.args.local_process_index == 0:
            shutil.rmtree(folder, ignore_errors=True)
        self.accelerator.wait_for_everyone()


def check_counts_tokens(trainer: Trainer) -> None:
    """Refuse `--weigh_by_tokens` where it cannot be done.

    Raises:
        V2XumError: under a transformers that does not count a step's learned tokens, and for several GPUs in one
            process.
    """
    if not hasattr(trainer, "get_batch_samples"):
        raise V2XumError("--weigh_by_tokens needs transformers 4.46 or newer, which counts a step's learned tokens")
    if trainer.args.n_gpu > 1:
        raise V2XumError("--weigh_by_tokens needs a process for each GPU: start it by deepspeed or torchrun")


def tell_of_precision(args, by_deepspeed: bool) -> None:
    """Warn of a full run whose small updates would be lost."""
    if args.bf16 and not by_deepspeed and not args.lora_enable and not getattr(args, "tune_mm_mlp_adapter", False):
        logger.warning(
            "full fine-tuning in bf16 without DeepSpeed keeps no float32 copy of the weights: updates smaller than "
            "1/256 of a weight are lost. scripts/finetune_v2xum.sh (DeepSpeed) keeps one; so does --bf16 False"
        )


def make_trainer_class(stock: type) -> type:
    """LLaVA's trainer for the installed transformers, with whole checkpoints and a repeatable order.

    Args:
        stock: `llava.train.llava_trainer.LLaVATrainer`.
    """
    return type(stock.__name__, (_WholeCheckpoints, mended_trainer(stock)), {})
