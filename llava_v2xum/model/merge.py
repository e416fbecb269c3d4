"""Write a checkpoint as one folder, a LoRA adapter merged: `python -m llava_v2xum.merge --model-path LORA --out DIR`.

The folder needs nothing outside of itself: decoder, projector, tokenizer and vision tower.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from ..core.command_line import Parser
from ..core.errors import V2XumError
from ..core.extras import end_without
from ..features.hub import is_hub_name, push
from .card import Card, named_base

EXAMPLES = """\
example:
  python -m llava_v2xum.merge --model-path checkpoints/v2xum-lora --model-base lmsys/vicuna-7b-v1.5 \\
      --out checkpoints/v2xum-merged --dtype bfloat16
  python -m llava_v2xum.infer video.mp4 --model-path checkpoints/v2xum-merged
  python -m llava_v2xum.merge --model-path checkpoints/v2xum-lora --out checkpoints/v2xum-merged \\
      --push-to-hub me/v2xum-7b --data hhua2/Instruct-V2Xum --license llama2 --report report_videoxum/

--push-to-hub uploads the folder with a model card, for which it needs --data and --license; the card's figures are
those of --report, and none without it. Log in before (hf auth login, or HF_TOKEN).

--form hf writes what transformers' LlavaForConditionalGeneration reads, such as llava-hf/llava-1.5-7b-hf, of any
LLaVA-1.5 or model of this package. That class answers about images; of temporal prompts it knows nothing. What videos
need is kept in config.json, so this package summarizes them from either form.
"""
FORMS = {"own": "this package's, and close to LLaVA's", "hf": "transformers' own"}
LOST = (
    "in transformers' form: LlavaForConditionalGeneration answers about images, and knows no temporal prompts; videos "
    "are summarized by this package, which finds their settings in config.json"
)


def merge(
    model_path: str | Path,
    out: str | Path,
    model_base: str | Path | None = None,
    dtype: str = "float16",
    form: str = "own",
) -> Path:
    """Write the merged checkpoint. An older checkpoint at `out` is replaced once the new one is whole.

    Args:
        model_path: a LoRA checkpoint, of this plugin or of the released V2Xum-LLM, or any other that
            `load_pretrained` takes.
        out: the folder to write.
        model_base: the decoder that the adapter belongs to; the one that its adapter_config.json names if None.
        dtype: of the stored weights. The merge itself is done in float32.
        form: "own", or "hf" (`save_hf_llava`).

    Returns:
        The folder.

    Raises:
        FileNotFoundError, V2XumError: as `load_pretrained`; if `out` is the adapter's or the base's own folder; if the
            model is more than the form can hold; if a weight is no finite number.
        FileExistsError: if `out` holds something other than a checkpoint.
    """
    from ..features.checkpoint_files import check_replaceable, named_dtype
    from .checkpoint import load_pretrained, save_checkpoint, save_hf_llava

    stored = named_dtype(dtype)  # a slip is told at once, not after a decoder has been read
    check_replaceable(Path(out))
    for name, source in (("model_path", model_path), ("model_base", model_base)):
        if source is not None and Path(source).exists() and Path(source).resolve() == Path(out).resolve():
            raise V2XumError(f"{out}: expected another folder than {name}, which is read")
    tokenizer, model, _ = load_pretrained(model_path, model_base, device="cpu", dtype="float32")
    for weight_name, weight in model.state_dict().items():
        if not weight.to(stored).isfinite().all():  # as trained, or beyond what float16 can hold
            raise V2XumError(f"{model_path}: {weight_name}: expected finite numbers in {dtype}, got NaN or infinity")
    return (save_hf_llava if form == "hf" else save_checkpoint)(model, tokenizer, out, dtype=dtype)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status: 2 for what cannot be merged, 1 for what could not be uploaded."""
    parser = Parser(
        prog="python -m llava_v2xum.merge",
        description=__doc__,
        epilog=EXAMPLES,
    )
    parser.add_argument("--model-path", required=True, help="folder or hub name of the checkpoint")
    parser.add_argument("--model-base", help="an adapter's decoder; the one that adapter_config.json names if left out")
    parser.add_argument("--out", required=True, type=Path, help="folder to write")
    parser.add_argument("--dtype", default="float16", help="of the stored weights: float16, bfloat16 or float32")
    parser.add_argument("--form", choices=FORMS, default="own",
        help="; ".join(f"{form}: {what}" for form, what in FORMS.items()) + " (%(default)s)")  # fmt: skip
    _add_upload(parser)
    asked = parser.parse_args(arguments)
    end_without("torch", "transformers")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        card = _card_of(asked)
        folder = merge(asked.model_path, asked.out, asked.model_base, asked.dtype, asked.form)
    except (OSError, V2XumError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    size_mb = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
    print(f"{folder}: {_what_was_done(asked)}, {size_mb:.1f} MB")
    if asked.form == "hf":
        print(LOST)
    if card is not None:
        try:
            print(_upload(card, folder, asked.private))
        except OSError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    return 0


def _what_was_done(asked: argparse.Namespace) -> str:
    from ..features.checkpoint_layouts import find_layout

    if find_layout(asked.model_path, asked.model_base, None, None).adapter is not None:
        return "merged"
    return f"written as it is, for {asked.model_path} has no LoRA adapter to merge"


def _add_upload(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("upload").add_argument
    add("--push-to-hub", metavar="OWNER/NAME", help="put the folder into this repository of the Hugging Face hub; made "
        "if it is not there")  # fmt: skip
    add("--private", action="store_true", help="make it one that only its owner sees")
    add("--data", nargs="+", default=[], metavar="NAME", help="for the card: what it was trained on, on the hub or in "
        "words")  # fmt: skip
    add("--license", metavar="NAME", help="for the card: the weights' licence, in the hub's word (llama2, other, ...)")
    add("--base", metavar="NAME", help="for the card: the hub name of the decoder that it was trained from; what "
        "--model-base or adapter_config.json name if left out")  # fmt: skip
    add("--report", nargs="+", default=[], type=Path, metavar="DIR", help="for the card: folders of python -m "
        "llava_v2xum.evaluate, whose figures it shows")  # fmt: skip


def _card_of(asked: argparse.Namespace) -> Card | None:
    """The card that an upload needs, before anything is loaded; None where none is asked for."""
    if asked.push_to_hub is None:
        return None
    folder = Path(asked.model_path)
    base = asked.base or named_base(folder, asked.model_base)
    if base is None and not folder.exists() and is_hub_name(asked.model_path, of_an_owner=True):
        base = asked.model_path
    return Card(asked.push_to_hub, base, tuple(asked.data), asked.license, tuple(asked.report))


def _upload(card: Card, folder: Path, private: bool) -> str:
    """Write the card, and put the folder on the hub; returns its address."""
    from ..features.hf_llava import config_in

    command = f"python -m llava_v2xum.infer video.mp4 --model-path {card.name}"
    (folder / "README.md").write_text(card.text(config_in(folder), command), encoding="utf-8")
    return push(folder, card.name, private, "A checkpoint of llava_v2xum")
