"""Instruction JSON -> token ids and labels -> batches, for LLaVA's trainer.

Shapes: B batch, S text positions, T frames of one video, C feature width, h and w the tower's pixels.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..core.checks import first_few
from ..core.clock import Clocks
from ..core.errors import V2XumError
from ..features import FeatureFolder
from ..features.upstream import IGNORE_INDEX
from ..model.packing import ENTRY_IDS, PackedDataset, check_attention
from ..model.tokens import PieceCache, build_input_ids, tokenize_conversation
from .entries import Entry, EntryChecker
from .frame_sources import FrameSource, ImageFiles, NoVideos, StoredFeatures, VideoFiles
from .mixing import is_main_process, load_entries

logger = logging.getLogger(__name__)

__all__ = ["VideoCollator", "VideoDataset", "build_input_ids", "make_data_module"]


class VideoDataset(Dataset):
    """Checked entries -> samples, which are made when they are asked for.

    Args:
        entries: those of an epoch (`mixing.load_entries`).
        tokenizer: a `PieceCache`, the one that they were checked with.
        source: where their videos come from.
        num_frames: N.
        conversation: a name in LLaVA's `conv_templates`.
        images: where their still images come from; None if there are none.

    Attributes:
        lengths: positions of each sample with its frames or image, exact, for length-grouped batches and packing.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        tokenizer: PieceCache,
        source: FrameSource,
        num_frames: int,
        conversation: str = "v1",
        images: ImageFiles | None = None,
    ) -> None:
        self.entries = list(entries)
        self.lengths = [entry.length for entry in self.entries]
        self.tokenizer = tokenizer
        self.source = source
        self.num_frames = num_frames
        self.conversation = conversation
        self.images = images

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def modality_lengths(self) -> list[int]:
        """The same, with a minus sign for text alone, as LLaVA marks what it keeps apart from images and videos."""
        return [entry.length if entry.videos or entry.image else -entry.length for entry in self.entries]

    def __getitem__(self, position: int) -> dict[str, Any]:
        """One sample, with the same keys however many videos it has.

        Returns:
            input_ids and labels, int64 [S] each; media, for each placeholder in order the features [T, C] or pixels
            [T, 3, h, w] of a video or the pixels [3, h, w] of a still image; video_indices, int64 [T] for each, or None
            for what is shown whole; entry_ids, a list of one.

        Raises:
            V2XumError: naming the entry and the file, if a video's frames or an image cannot be had.
        """
        input_ids, labels = self.text_of(position)
        media, indices = self.media_of(position)
        sample = {"input_ids": input_ids, "labels": labels, "media": media, "video_indices": indices}
        return {**sample, ENTRY_IDS: [self.entries[position].id]}

    def text_of(self, position: int) -> tuple[Tensor, Tensor]:
        """A sample's input_ids and labels, int64 [S] each."""
        entry = self.entries[position]
        try:
            return tokenize_conversation(entry.turns, self.tokenizer, self.conversation)
        except V2XumError as error:
            raise V2XumError(f"entry {entry.id}: {error}") from error

    def media_of(self, position: int) -> tuple[list[Tensor], list[Tensor | None]]:
        """A sample's videos or image and the indexes of their frames; see `__getitem__`."""
        entry = self.entries[position]
        try:
            if entry.image is not None and self.images is not None:
                return [self.images.load(entry.image)], [None]
            videos = [self.source.load(video, shown) for video, shown in zip(entry.videos, entry.frame_indices)]
        except V2XumError as error:
            raise V2XumError(f"entry {entry.id}: {error}") from error
        return videos, [None if shown is None else torch.tensor(shown) for shown in entry.frame_indices]


class VideoCollator:
    """Pads samples on the right into a batch.

    Args:
        pad_token_id: what input_ids are padded with.
    """

    def __init__(self, pad_token_id: int) -> None:
        self.pad_token_id = pad_token_id

    def __call__(self, samples: Sequence[dict[str, Tensor | list[Tensor]]]) -> dict[str, Tensor | list[Tensor]]:
        """Samples of `VideoDataset`, or rows of a `PackedDataset`, -> a batch.

        Returns:
            input_ids, labels, attention_mask, int64 [B, S] each; and unless all of it is text, the lists images (of
            videos too, as the model takes them) and video_indices, one item for each placeholder in order.
        """

        def pad(rows: list[Tensor], value: int) -> Tensor:
            return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value)

        batch = {
            "input_ids": pad([sample["input_ids"] for sample in samples], self.pad_token_id),
            "labels": pad([sample["labels"] for sample in samples], IGNORE_INDEX),
            "attention_mask": pad([sample.get("attention_mask", _ones(sample)) for sample in samples], 0),
        }
        media = [item for sample in samples for item in sample["media"]]
        if media:
            batch["images"] = media
            batch["video_indices"] = [indices for sample in samples for indices in sample["video_indices"]]
        return batch


def _ones(sample: dict[str, Tensor | list[Tensor]]) -> Tensor:
    return torch.ones_like(sample["input_ids"])


def frame_source(data_args, model) -> FrameSource:
    """Where the run's videos come from: stored features, or files that the loader's workers decode.

    Args:
        data_args: `arguments.DataArguments`.
        model: with its timeline bound, and for videos its tower loaded.

    Raises:
        V2XumError: if no folder was given, of images neither, or both of videos, or the stored features are not what
            the model needs.
    """
    config = model.config
    folders = (data_args.feature_folder, data_args.video_folder)
    if all(folders) or not any((*folders, data_args.image_folder)):
        raise V2XumError(
            "--feature_folder is needed, the folder of the videos' features, or --video_folder, that of the videos "
            f"themselves, or --image_folder for still images alone; {'both' if all(folders) else 'none'} came"
        )
    if data_args.video_track is not None and (data_args.video_folder is None or data_args.video_track < 0):
        raise V2XumError(
            f"--video_track is a number from 0 on, of the tracks in the files of --video_folder, got "
            f"{data_args.video_track}" + ("" if data_args.video_folder else " without --video_folder")
        )
    if not any(folders):
        return NoVideos()
    if data_args.feature_folder is not None:
        description = config.describe_features(model.get_vision_tower())
        return StoredFeatures(FeatureFolder(data_args.feature_folder, description), config.feature_shape)
    tower = model.get_vision_tower()
    return VideoFiles(
        data_args.video_folder, config.timeline, tower.image_processor, config.image_aspect_ratio, tower.dtype,
        data_args.video_track,
    )  # fmt: skip


def image_source(data_args, model) -> ImageFiles | None:
    """Where the run's still images come from; None without any.

    Raises:
        V2XumError: if the model reads no still images.
    """
    if data_args.image_folder is None:
        return None
    model.config.feature.check_images()
    tower = model.get_vision_tower()
    positions = tower.num_patches + (tower.select_feature == "cls_patch")
    return ImageFiles(data_args.image_folder, tower.image_processor, model.config.image_aspect_ratio, positions)


def make_data_module(
    tokenizer,
    data_args,
    model,
    conversation: str = "v1",
    output_dir: str | os.PathLike | None = None,
    seed: int = 42,
) -> dict:
    """LLaVA's function of nearly this name, for the video type: every entry is read and checked here.

    Args:
        data_args: `arguments.DataArguments`.
        model: with its timeline bound, and for `--video_folder` and `--image_folder` its tower loaded.
        conversation: a name in LLaVA's `conv_templates`.
        output_dir: where `rejected.jsonl` goes.
        seed: the run's, for `--data_weights`.

    Returns:
        train_dataset, eval_dataset (None without `--val_data_path`) and data_collator.

    Raises:
        V2XumError: for missing flags and those that do not go together, files that cannot be read, and data that cannot
            be learnt from.
    """
    if not data_args.data_path:
        raise V2XumError("--data_path is needed: the instruction JSON, one file or several")
    config, pieces = model.config, PieceCache(tokenizer)
    if data_args.pack:
        check_attention(config)
    source, images = frame_source(data_args, model), image_source(data_args, model)
    clocks = Clocks(data_args.clock, source.times)
    most, positions = tokenizer.model_max_length, config.frame_positions
    checker = EntryChecker(
        pieces, most, config.timeline, positions, source, conversation, clocks, images,
        warn_only=tuple(data_args.warn_only or ()),
    )  # fmt: skip
    files = data_args.data_path
    limits = data_args.check, data_args.max_rejected
    entries = load_entries(files, checker, data_args.data_weights, seed, data_args.strict, output_dir, *limits)
    held_out = None
    if data_args.val_data_path:
        of_validation = None if output_dir is None else os.path.join(output_dir, "validation")
        kept = load_entries(data_args.val_data_path, checker, None, seed, data_args.strict, of_validation, *limits)
        tell_of_leaks(entries, kept)
        held_out = VideoDataset(kept, pieces, source, config.num_frames, conversation, images)
    dataset = VideoDataset(entries, pieces, source, config.num_frames, conversation, images)
    if data_args.pack:
        dataset = PackedDataset(dataset, config.frame_positions, tokenizer.model_max_length, seed)
    return {"train_dataset": dataset, "eval_dataset": held_out, "data_collator": VideoCollator(tokenizer.pad_token_id)}


def tell_of_leaks(entries: Sequence[Entry], held_out: Sequence[Entry]) -> None:
    """Warn of videos that are learnt from and validated on: such a validation says little."""
    learnt = {video for entry in entries for video in entry.videos}
    both = sorted({video for entry in held_out for video in entry.videos} & learnt)
    if both and is_main_process():
        logger.warning("%d videos of --val_data_path are in --data_path too: %s", len(both), first_few(both))
