"""Merge a LoRA adapter into its base: `python -m llava_v2xum.merge --model-path LORA --out DIR`.

The folder it writes needs nothing outside of itself: decoder, projector, tokenizer and vision tower.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from ..core.command_line import Parser
from ..core.errors import V2XumError

EXAMPLES = """\
example:
  python -m llava_v2xum.merge --model-path checkpoints/v2xum-lora --model-base lmsys/vicuna-7b-v1.5 \\
      --out checkpoints/v2xum-merged --dtype bfloat16
  python -m llava_v2xum.infer video.mp4 --model-path checkpoints/v2xum-merged
"""


def merge(
    model_path: str | Path, out: str | Path, model_base: str | Path | None = None, dtype: str = "float16"
) -> Path:
    """Write the merged checkpoint. An older checkpoint at `out` is replaced once the new one is whole.

    Args:
        model_path: the folder of a LoRA checkpoint, of this plugin or of the released V2Xum-LLM.
        out: the folder to write.
        model_base: the decoder that the adapter belongs to; the one that its adapter_config.json names if None.
        dtype: of the stored weights. The merge itself is done in float32.

    Returns:
        The folder.

    Raises:
        FileNotFoundError, V2XumError: as `load_pretrained`, or if `out` is the adapter's or the base's own folder.
        FileExistsError: if `out` holds something other than a checkpoint.
    """
    from ..features.checkpoint_files import check_replaceable, named_dtype
    from .checkpoint import load_pretrained, save_checkpoint

    named_dtype(dtype)  # a slip is told at once, not after a decoder has been read
    check_replaceable(Path(out))
    for name, source in (("model_path", model_path), ("model_base", model_base)):
        if source is not None and Path(source).exists() and Path(source).resolve() == Path(out).resolve():
            raise V2XumError(f"{out}: expected another folder than {name}, which is read")
    tokenizer, model, _ = load_pretrained(model_path, model_base, device="cpu", dtype="float32")
    return save_checkpoint(model, tokenizer, out, dtype=dtype)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status, 2 for what cannot be merged."""
    parser = Parser(
        prog="python -m llava_v2xum.merge",
        description=__doc__,
        epilog=EXAMPLES,
    )
    parser.add_argument("--model-path", required=True, help="folder or hub name of the LoRA checkpoint")
    parser.add_argument("--model-base", help="its decoder; the one that adapter_config.json names if left out")
    parser.add_argument("--out", required=True, type=Path, help="folder to write")
    parser.add_argument("--dtype", default="float16", help="of the stored weights: float16, bfloat16 or float32")
    asked = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        folder = merge(asked.model_path, asked.out, asked.model_base, asked.dtype)
    except (OSError, V2XumError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    size_mb = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
    print(f"{folder}: merged, {size_mb:.1f} MB")
    return 0
