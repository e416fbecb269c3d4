"""A data card for people: Markdown with the YAML head that data set cards on the Hugging Face hub have.

Its words are in card.md, a template of Jinja. Names of models, options and kinds come from users and endpoints: in text
they are escaped, in the head they are JSON.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from importlib import resources
from typing import Any

from ...core.extras import require
from ..data_set.splits import SPLITS
from .facts import PAPER, CardFacts

_HUB_SPLITS = {"train": "train", "val": "validation", "test": "test"}
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_MARKDOWN = re.compile(r"([\\`*_\[\]|#~$])")
_ROWS = {  # quantity: what the table calls it, its format
    "duration_seconds": ("source duration, s", "{:,.1f}"),
    "text_tokens": ("text summary, tokens", "{:,.1f}"),
    "key_frames": ("video summary, key frames", "{:,.1f}"),
    "compression": ("compression ratio", "{:.2%}"),
}

# `meta.token` has other keys in every entry: without a word on it the loader guesses a type from some of them.
_FEATURES = [
    {"name": "id", "dtype": "string"},
    {
        "name": "meta",
        "struct": [
            {"name": "duration", "dtype": "float64"},
            {"name": "sampled_frames", "dtype": "int64"},
            {"name": "token", "dtype": "json"},
        ],
    },
    {"name": "conversations", "list": [{"name": "from", "dtype": "string"}, {"name": "value", "dtype": "string"}]},
    {"name": "vsum_onehot", "list": "int64"},
]


def card_text(facts: CardFacts) -> str:
    """The whole of card.md.

    Raises:
        MissingExtra: if Jinja is not installed.
    """
    world = require("jinja2", "curate").Environment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    world.filters |= {
        "plain": plain,
        "number": "{:,}".format,
        "json": lambda value: json.dumps(value, ensure_ascii=False),
    }
    rejected = facts.rejected_in_order()
    return world.from_string((resources.files(__package__) / "card.md").read_text("utf-8")).render(
        facts=facts,
        record=facts.to_record(),
        head=_head(facts),
        models=[[plain(role), plain(name)] for role, name in facts.models.items()],
        prompts=[[plain(name), plain(text)] for name, text in facts.prompts.items()],
        fallen_out=sum(sum(kinds.values()) for kinds in rejected.values()),
        splits=[[name, f"{count:,}"] for name, count in facts.splits().items()],
        figures=_figures(facts),
        rejected=[
            [plain(stage), plain(kind), f"{count:,}"]
            for stage, kinds in rejected.items()
            for kind, count in kinds.items()
        ],
        options=json.dumps(dict(facts.options), indent=2, ensure_ascii=False, sort_keys=True, allow_nan=False),
        costs=[_cost(stage, cost) for stage, cost in facts.costs.items()],
        quality=[_quality(one) for one in facts.quality["scores"]] if facts.quality else [],
    )


def plain(text: str) -> str:
    """Text that Markdown shows as it stands, in one line."""
    return html.escape(_MARKDOWN.sub(r"\\\1", " ".join(str(text).split())), quote=False)


def _head(facts: CardFacts) -> dict[str, Any]:
    """The YAML head; JSON is YAML, so no value can be taken for more than it is."""
    entries = len(facts.rows) * len(facts.tasks)
    size = next((name for limit, name in _SIZES if entries < limit), "n>1M")
    there = [name for name in SPLITS if facts.splits()[name]]
    files = [{"split": _HUB_SPLITS[name], "path": f"{name}.json"} for name in there]
    head: dict[str, Any] = {
        "pretty_name": facts.name,
        "task_categories": ["video-text-to-text", "summarization"],
        "tags": ["video-summarization", "instruction-tuning", "llava"],
        "annotations_creators": ["machine-generated"],
        "size_categories": [size],
    }
    if files:
        head["dataset_info"] = {"features": _FEATURES}
        head["configs"] = [{"config_name": "default", "data_files": files}]
    return head


def _figures(facts: CardFacts) -> list[list[str]]:
    rows = []
    for name, figures in facts.figures().items():
        label, form = _ROWS[name]
        keys = ("mean", "median", "min", "max")
        cells = ["-" if figures is None else form.format(figures[key]) for key in keys]
        paper = "" if name == "compression" else form.format(PAPER[name])
        rows.append([label, *cells, paper])
    whole = facts.compression_of_means()
    rows.append(["compression ratio of the means", "-" if whole is None else f"{whole:.2%}", "", "", "",
                 f"{PAPER['compression']:.2%}"])  # fmt: skip
    return rows


def _cost(stage: str, cost: Mapping[str, float]) -> list[str]:
    seconds = cost["seconds"]
    rate = f"{cost['videos'] / seconds * 3600:,.0f}" if seconds >= 0.05 else "-"
    counts = [f"{cost[name]:,.0f}" for name in ("videos", "calls", "prompt_tokens", "completion_tokens")]
    return [plain(stage), *counts, f"{seconds:,.1f}", rate]


def _quality(score: Mapping[str, Any]) -> list[str]:
    means = [score[when]["mean"] for when in ("before", "after")]
    scorer = plain(f"{score['name']} {score['source']}")
    return [plain(score["quality"]), scorer, *("-" if mean is None else f"{mean:.3f}" for mean in means)]
