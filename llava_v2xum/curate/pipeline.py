"""The arguments of the command -> its stages."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .endpoint.budget import Budget
from .endpoint.endpoint import Endpoint
from .options import STAGES
from .stages.caption import CaptionStage
from .stages.captioners import captioner_of
from .stages.extract import ExtractStage
from .stages.extractive import ExtractiveStage
from .stages.filtering import FilterStage
from .stages.prompts import Prompt
from .stages.refine import RefineStage
from .stages.select import AestheticOptions, SelectStage
from .store.stage import Stage


def stages_of(args: argparse.Namespace, budget: Budget) -> list[Stage]:
    """The stages up to `--until`, in their order; nothing is loaded and nobody is called yet.

    Args:
        args: of `options.parse_arguments`.
        budget: of all endpoints.

    Raises:
        V2XumError: naming the file or the option, if a prompt or a model's name cannot be used.
        OSError: if a prompt cannot be read.
    """
    makers = {"select": _select, "caption": _caption, "extract": _extract, "filter": _filter, "refine": _refine}
    wanted = STAGES[: STAGES.index(args.until or STAGES[-1]) + 1]
    return [makers[name](args, budget) for name in wanted]


def endpoint_of(args: argparse.Namespace, budget: Budget, base_url: str | None, model: str | None) -> Endpoint | None:
    """The endpoint at that address, or None where there is none."""
    if base_url is None:
        return None
    return Endpoint(
        base_url,
        model,
        api_key_env=args.api_key_env,
        timeout_seconds=args.timeout,
        tries=args.tries,
        concurrency=args.concurrency,
        budget=budget,
    )


def models_of(args: argparse.Namespace) -> dict[str, str]:
    """What each stage's model is called, for the card: of a folder or a file the name alone, as cards go to others."""
    found = {}
    if args.aesthetic_predictor is not None:
        found["select"] = f"{_name(args.aesthetic_predictor)} on {_name(args.aesthetic_clip)}"
    found["caption"] = args.captioner if args.caption_endpoint else _name(args.captioner)
    found["extract"] = args.model or (_name(args.extract_encoder) if args.extract_encoder else "similarity of words")
    if args.bertscore_threshold is not None:
        found["filter"] = _name(args.bertscore_model)
    if args.model and not args.no_refine:
        found["refine"] = args.model
    return found


def _name(model: str) -> str:
    path = Path(model).expanduser()
    return path.resolve().name if path.exists() else model


def prompts_of(args: argparse.Namespace) -> dict[str, str]:
    """The hash of each prompt that is asked, for the card."""
    asked = {"caption": True, "extract": bool(args.endpoint), "refine": bool(args.endpoint) and not args.no_refine}
    return {name: Prompt.load(name, getattr(args, f"{name}_prompt")).hash for name in asked if asked[name]}


def options_of(args: argparse.Namespace) -> dict[str, Any]:
    """What the results depend on beside models and prompts, for the card: no address, no path."""
    names = ("min_duration", "max_duration", "keep_duplicates", "caption_tokens", "fraction", "context_tokens",
             "thinking_tokens", "bertscore_threshold", "no_refine", "seed")  # fmt: skip
    if args.aesthetic_predictor is not None:
        names += ("aesthetic_threshold",)
    return {name: getattr(args, name) for name in names} | {"tasks": list(args.tasks), "splits": list(args.splits)}


def _select(args: argparse.Namespace, budget: Budget) -> Stage:
    aesthetic = None
    if args.aesthetic_predictor is not None:
        device = None if args.device == "auto" else args.device
        threshold = args.aesthetic_threshold
        aesthetic = AestheticOptions(args.aesthetic_predictor, args.aesthetic_clip, threshold, device=device)
    return SelectStage(args.min_duration, args.max_duration, aesthetic, duplicates=not args.keep_duplicates)


def _caption(args: argparse.Namespace, budget: Budget) -> Stage:
    endpoint = endpoint_of(args, budget, args.caption_endpoint, args.captioner)
    options: dict[str, Any] = {"max_new_tokens": args.caption_tokens, "batch_size": args.caption_batch}
    captioner = captioner_of(args.captioner, endpoint, device=args.device, dtype=args.dtype, **options)
    return CaptionStage(captioner, Prompt.load("caption", args.caption_prompt), features=args.features)


def _extract(args: argparse.Namespace, budget: Budget) -> Stage:
    endpoint = endpoint_of(args, budget, args.endpoint, args.model)
    if endpoint is None:
        return ExtractiveStage(args.fraction, args.extract_encoder, _device(args))
    prompt = Prompt.load("extract", args.extract_prompt)
    room = {"context_tokens": args.context_tokens, "thinking_tokens": args.thinking_tokens}
    return ExtractStage(endpoint, prompt, fraction=args.fraction, **room)


def _filter(args: argparse.Namespace, budget: Budget) -> Stage:
    return FilterStage(args.bertscore_model, args.bertscore_threshold, args.bertscore_layers, _device(args))


def _refine(args: argparse.Namespace, budget: Budget) -> Stage:
    endpoint = None if args.no_refine else endpoint_of(args, budget, args.endpoint, args.model)
    room = {"context_tokens": args.context_tokens, "thinking_tokens": args.thinking_tokens}
    return RefineStage(endpoint, Prompt.load("refine", args.refine_prompt), **room)


def _device(args: argparse.Namespace) -> str | None:
    """The device for what takes None as its own choice."""
    return None if args.device == "auto" else args.device
