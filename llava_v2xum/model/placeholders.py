"""Videos and images on their way to their placeholders: what they are, and whether they fit.

Shapes: T frames of one video, H and W pixels, S text positions, B batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from ..core.errors import V2XumError
from ..features.upstream import IMAGE_TOKEN_INDEX

FRAMES_AT_ONCE = 32  # our choice: frames in one pass of the tower


def is_pixels(video: Tensor) -> bool:
    """Whether a video is pixels [T, 3, H, W] rather than features."""
    return video.ndim == 4 and video.shape[1] == 3


def keep_pace(tower, calls: int, encode: Callable[[Tensor], Tensor], device: torch.device) -> None:
    """Call the tower on an empty frame as often as the process with the most calls calls it more than this one.

    ZeRO-3 partitions the tower too and gathers its weights at every call, so that all processes must make as many;
    their batches differ in their videos and images. To be called by each before it encodes its own; does nothing
    elsewhere.

    Args:
        tower: the model's, or None.
        calls: those that this process's batch needs (`tower_calls`).
        encode: pixels -> frame features, `FRAMES_AT_ONCE` in one call.
        device: of the model.
    """
    if tower is None or not tower.is_loaded or not any(hasattr(weight, "ds_id") for weight in tower.parameters()):
        return
    most = torch.tensor(calls, device=device)
    torch.distributed.all_reduce(most, torch.distributed.ReduceOp.MAX)
    size = tower.image_processor.crop_size
    for _ in range(int(most) - calls):
        encode(torch.zeros(1, 3, size["height"], size["width"], device=device))


def tower_calls(media: Iterable[Tensor] | None, is_image: Callable[[Tensor], bool]) -> int:
    """How often a batch's media call the tower: a video's pixels in parts, still images all at once."""
    media = list(() if media is None else media)
    return sum(-(-len(item) // FRAMES_AT_ONCE) for item in media if is_pixels(item)) + any(map(is_image, media))


def check_frames(num_frames: int, frame_indices: Tensor | None, most: int) -> None:
    """Refuse frames that have no place on a timeline of `most` frames."""
    if frame_indices is not None and len(frame_indices) != num_frames:
        raise V2XumError(f"{num_frames} frames need as many frame indexes, got {len(frame_indices)}")
    low, high = 0, num_frames - 1
    if frame_indices is not None and num_frames:
        low, high = int(frame_indices.min()), int(frame_indices.max())
    if num_frames == 0 or low < 0 or high >= most:
        raise V2XumError(
            f"a video must have 1 to {most} frames with indexes 0 to {most - 1} (the checkpoint's timeline), got "
            f"{num_frames} frames" + (f", indexes {low} to {high}" if num_frames else "")
        )


def check_counts(places: int, media: Sequence[Tensor], indices: Sequence[Tensor | None] | None) -> None:
    """Refuse media that are more or fewer than the placeholders, or than the items of `video_indices`."""
    if len(media) != places:
        raise V2XumError(f"input_ids hold {places} placeholders ({IMAGE_TOKEN_INDEX}), but {len(media)} videos came")
    if indices is not None and len(indices) != places:
        raise V2XumError(f"{places} videos need as many items in video_indices, got {len(indices)}")


def check_length(input_ids: Tensor, attention_mask: Tensor | None, media: list[Tensor], config) -> None:
    """LLaVA cuts rows at the tokenizer's length without a word, the end of the prompt first.

    Raises:
        V2XumError: for a row [S] that is longer with its media, of which there is one item for each place.
    """
    longest = getattr(config, "tokenizer_model_max_length", None)
    sizes = iter([len(item) for item in media])
    for row, ids in enumerate(input_ids):
        text = ids if attention_mask is None else ids[attention_mask[row].bool()]
        places = int((text == IMAGE_TOKEN_INDEX).sum())
        taken = [next(sizes) for _ in range(max(places, 1))]
        length = len(text) - places + (sum(taken) if places else 0)
        if longest is not None and length > longest:
            raise V2XumError(
                f"row {row}: {len(text) - places} tokens and {places} videos or images take {length} positions, "
                f"expected at most {longest} (tokenizer_model_max_length)"
            )


def one_item_per_place(input_ids: Tensor, media: list[Tensor], empty: Tensor) -> list[Tensor]:
    """LLaVA takes one item even for a row without a placeholder: give such rows an empty one."""
    counts = (input_ids == IMAGE_TOKEN_INDEX).sum(dim=1).tolist()
    if len(media) == sum(max(count, 1) for count in counts):
        return media  # a dummy item for each text row is there already, as LLaVA's own data set does
    if len(media) != sum(counts):
        raise V2XumError(
            f"input_ids hold {sum(counts)} placeholders ({IMAGE_TOKEN_INDEX}) in {len(counts)} rows, "
            f"but {len(media)} videos or images came"
        )
    queue = iter(media)
    filled = []
    for count in counts:
        filled.extend([next(queue) for _ in range(count)] or [empty])
    return filled
