"""The flags of endpoints, and the endpoint that they ask for."""

from __future__ import annotations

import argparse
import math

from ...core.command_line import at_least, in_range
from ...core.endpoint.budget import Budget
from ...core.endpoint.endpoint import Endpoint


def add_endpoint_options(parser: argparse.ArgumentParser) -> None:
    """Add the group of `--endpoint` and what goes with it."""
    group = parser.add_argument_group(
        "endpoint (extract and refine)",
        "Any server that speaks OpenAI's chat completions: a hosted model, vLLM,\nllama.cpp, Ollama. The key is read "
        "from the environment and written nowhere.",
    )
    add = group.add_argument
    add("--endpoint", metavar="URL", help="such as http://localhost:8000/v1; without one, extract is by similarity, "
        "and captions are not refined")  # fmt: skip
    add("--model", metavar="NAME", help="the model's name at the endpoint")
    add("--api-key-env", default="OPENAI_API_KEY", metavar="NAME", help="variable with the key (%(default)s)")
    seconds = in_range(float, lambda number: 0 < number < math.inf, "a number of seconds above 0")
    add("--timeout", type=seconds, default=120.0, metavar="S", help="time limit of a request, in seconds (%(default)g)")
    add("--tries", type=at_least(1), default=8, metavar="N", help="tries of a request that fails (%(default)s)")
    add("--concurrency", type=at_least(1), default=8, metavar="N", help="requests in flight (%(default)s)")
    add("--max-requests", type=at_least(1), metavar="N", help="stop cleanly before this run makes more")
    add("--max-tokens", type=at_least(1), metavar="N", help="stop cleanly when this run has used as many")
    add("--context-tokens", type=at_least(1), default=8192, metavar="N",
        help="context of the model at the endpoint, at most the server's own, which may cut longer questions without a "
        "word (Ollama: num_ctx); longer videos are read in windows (%(default)s)")  # fmt: skip
    add("--thinking-tokens", type=at_least(0), default=0, metavar="N",
        help="room for what a reasoning model writes before its answer (%(default)s)")  # fmt: skip


def endpoint_problem(args: argparse.Namespace) -> str | None:
    """What is wrong with these flags beside each other."""
    if args.endpoint and not args.model:
        return "--endpoint needs --model, the model's name there"
    if args.model and not args.endpoint:
        return "--model is a name at an endpoint: give --endpoint URL too"
    return None


def endpoint_of(args: argparse.Namespace, budget: Budget) -> Endpoint | None:
    """The endpoint that extracts and refines, or None where there is none."""
    return None if args.endpoint is None else endpoint_at(args.endpoint, args.model, args, budget)


def endpoint_at(base_url: str, model: str, args: argparse.Namespace, budget: Budget) -> Endpoint:
    """A model at an address, asked as the arguments say.

    Raises:
        V2XumError: as `Endpoint`.
    """
    return Endpoint(
        base_url,
        model,
        api_key_env=args.api_key_env,
        timeout_seconds=args.timeout,
        tries=args.tries,
        concurrency=args.concurrency,
        budget=budget,
    )
