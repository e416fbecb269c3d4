"""A data card for people: Markdown with the YAML head that data set cards on the Hugging Face hub have.

Names of models, options and kinds come from users and endpoints: in text they are escaped, in the head they are JSON.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

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
_FORM = """The entries of one video share their `id`, one for each instruction: {}. In an answer `<fK>` is the K-th key
frame, whose second stands in `meta.token`; `vsum_onehot` marks the same seconds among the samples at 1 FPS. Training
replaces `<fK>` by the index of its second among the model's N frames.

As README.md, where the hub and `datasets.load_dataset` look for it, this card also tells the types. As `meta.token` has
other keys in every entry, that takes datasets 4.7 or later; earlier ones end with an error or add empty keys: there,
read the files by `json.load`.
"""
_COUNTED = """Tokens are words and punctuation marks, without the key frames; the paper does not say how it counts. Its
compression ratio, 16.39 %, is its mean of 30 frames over its mean of 183 s, so it stands beside the ratio of the means.
"""


def card_text(facts: CardFacts) -> str:
    """The whole of card.md."""
    parts = [
        _head(facts),
        f"# {plain(facts.name)}\n",
        _summary(facts),
        "## Contents\n",
        _table(["split", "videos"], [[name, f"{count:,}"] for name, count in facts.splits().items()]),
        _FORM.format(", ".join(task.upper() for task in facts.tasks)),
        "## Figures\n",
        _figures(facts),
        _COUNTED,
        "![How durations, summary lengths and compression ratios are spread](figure2.png)\n" if facts.rows else "",
        _notes(facts),
        "## Videos that fell out\n",
        _rejected(facts),
        "## How it was made\n",
        _made(facts),
        "## Cost\n",
        _costs(facts),
        "## Quality of the text before and after it was refined\n",
        _quality(facts.quality),
    ]
    return "\n".join(part for part in parts if part)


def plain(text: str) -> str:
    """Text that Markdown shows as it stands, in one line."""
    return html.escape(_MARKDOWN.sub(r"\\\1", " ".join(str(text).split())), quote=False)


def _head(facts: CardFacts) -> str:
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
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in head.items()]
    return "\n".join(["---", *lines, "---", ""])


def _summary(facts: CardFacts) -> str:
    rejected = sum(sum(kinds.values()) for kinds in facts.rejected.values())
    counts = [f"videos, with a video summary and a text summary each: {len(facts.rows):,}", f"fallen out: {rejected:,}"]
    if facts.failed:
        counts.append(f"left for another run, as they could not be worked on: {facts.failed:,}")
    return (
        f"{'; '.join(counts).capitalize()}. Made by `python -m llava_v2xum.curate` after Instruct-V2Xum's pipeline "
        "(Hua et al. 2024, [arXiv 2404.12353](https://arxiv.org/abs/2404.12353)), in the same JSON. All texts are "
        "written by models, none was checked by a person; the videos are not part of it, and their licenses are theirs."
        "\n"
    )


def _figures(facts: CardFacts) -> str:
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
    return _table(["of a video", "mean", "median", "least", "most", "paper's mean"], rows)


def _notes(facts: CardFacts) -> str:
    record = facts.to_record()
    key_frames, shared = record["key_frames"], record["key_frames_that_share_an_index"]
    notes = [f"Chosen captions that were taken out, being like an earlier one: {record['dropped_captions']:,}."]
    if record["unrefined_videos"]:
        notes.append(f"Videos with captions as they are, not refined: {record['unrefined_videos']:,}.")
    if shared:
        notes.append(
            f"Key frames that fall on the index of an earlier one at N = 100: {shared:,} of {key_frames:,} "
            f"({shared / key_frames:.2%}). In videos over 100 s an index there stands for more than a second."
        )
    return "\n".join(f"- {note}" for note in notes) + "\n"


def _rejected(facts: CardFacts) -> str:
    rows = [
        [plain(stage), plain(kind), f"{count:,}"]
        for stage, kinds in facts.rejected_in_order().items()
        for kind, count in kinds.items()
    ]
    if not rows:
        return "None.\n"
    return _table(["stage", "why", "videos"], rows) + "\n`rejected.jsonl` has a reason for each.\n"


def _made(facts: CardFacts) -> str:
    options = json.dumps(dict(facts.options), indent=2, ensure_ascii=False, sort_keys=True, allow_nan=False)
    parts = [
        _table(["for", "model"], [[plain(role), plain(name)] for role, name in facts.models.items()]),
        _table(["prompt", "hash"], [[plain(name), plain(text)] for name, text in facts.prompts.items()]),
        f"```json\n{options}\n```\n" if facts.options else "",
    ]
    return "\n".join(part for part in parts if part) or "Nothing was recorded.\n"


def _costs(facts: CardFacts) -> str:
    rows = []
    for stage, cost in facts.costs.items():
        seconds, videos = cost["seconds"], cost["videos"]
        rate = f"{videos / seconds * 3600:,.0f}" if seconds >= 0.05 else "-"
        counts = [f"{cost[name]:,.0f}" for name in ("videos", "calls", "prompt_tokens", "completion_tokens")]
        rows.append([plain(stage), *counts, f"{seconds:,.1f}", rate])
    if not rows:
        return "Not recorded.\n"
    heading = ["stage", "videos", "calls", "prompt tokens", "completion tokens", "seconds of work", "videos an hour"]
    note = "Seconds are added up over what went on side by side; videos an hour are those of one worker.\n"
    return _table(heading, rows) + "\n" + note


def _quality(quality: Mapping[str, Any] | None) -> str:
    if quality is None:
        return "Not measured.\n"
    rows = []
    for one in quality["scores"]:
        means = [one[when]["mean"] for when in ("before", "after")]
        rows.append([plain(one["quality"]), plain(f"{one['name']} {one['source']}"),
                     *("-" if mean is None else f"{mean:.3f}" for mean in means)])  # fmt: skip
    notes = "".join(f"- {plain(note)}\n" for note in quality["notes"])
    told = f"Mean scores, 0 to 1, of the {quality['videos']:,} videos that were refined.\n"
    return "\n".join(filter(None, [told, _table(["quality", "scorer", "before", "after"], rows), notes]))


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, or nothing where it has no rows."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    if not lines:
        return ""
    return "\n".join([f"| {' | '.join(heading)} |", f"| {' | '.join('---' for _ in heading)} |", *lines]) + "\n"
