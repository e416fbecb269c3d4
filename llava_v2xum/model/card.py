"""The model card of an uploaded checkpoint: what it was made of, how well it does, and what it may be used for."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import V2XumError
from ..features.hub import is_hub_name

REPORT = "report.md"  # what `python -m llava_v2xum.evaluate` writes
_PICTURE, _HEADING = re.compile(r"^!\[.*\]\(.*\)\s*$", re.MULTILINE), re.compile(r"^#", re.MULTILINE)


@dataclass(frozen=True)
class Card:
    """What a card states, besides what the checkpoint says of itself.

    Args:
        name: of the repository, `OWNER/NAME`.
        base: the hub name of the decoder that it was trained from.
        data: what it was trained on: names on the hub, or words.
        license: the hub's word for it, such as `llama2`.
        reports: folders with a `report.md` of its figures.

    Raises:
        V2XumError: naming what is missing, or not of that kind.
    """

    name: str
    base: str | None
    data: tuple[str, ...]
    license: str | None
    reports: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        if not is_hub_name(self.name, of_an_owner=True):
            raise V2XumError(f"--push-to-hub: expected a repository's name, OWNER/NAME, got {self.name!r}")
        if self.base is None or not is_hub_name(self.base, of_an_owner=True):
            raise V2XumError(
                "--base: the card states the decoder that it was trained from: expected its name on the hub, "
                f"such as lmsys/vicuna-7b-v1.5, got {self.base!r}"
            )
        if not self.data or not self.license:
            missing = "--data, what it was trained on" if not self.data else "--license, such as llama2"
            raise V2XumError(f"--push-to-hub: the card states data and licence: give {missing}")
        for report in self.reports:
            if not (report / REPORT).is_file():
                raise V2XumError(f"--report: expected a report's folder, {report} has no {REPORT}")

    def text(self, config: dict, command: str) -> str:
        """The card, Markdown under the hub's own fields.

        Args:
            config: the checkpoint's config.json.
            command: how it is used.
        """
        about = {
            "license": self.license,
            "base_model": self.base,
            "datasets": [name for name in self.data if is_hub_name(name, of_an_owner=True)],
            "pipeline_tag": "video-text-to-text",
            "tags": ["video-summarization", "llava", "llava_v2xum"],
        }
        fields = "\n".join(f"{key}: {json.dumps(value)}" for key, value in about.items() if value)  # YAML takes JSON
        prompts = f"`{config['temporal_prompt_template'].format(0)}`" if config["temporal_prompts"] else "none"
        rows = {
            "base": self.base,
            "data": ", ".join(self.data),
            "licence": self.license,
            "frames of a video": f"{config['num_frames']}, chosen by `{config['frame_sampling']}`",
            "temporal prompts": prompts,
            "visual tokens of a frame": f"{config['frame_tokens']} (`{config['frame_feature']}`)",
            "weights": config["torch_dtype"],
        }
        table = "\n".join(["| | |", "| --- | --- |", *(f"| {key} | {value} |" for key, value in rows.items())])
        return f"""---
{fields}
---
# {self.name.partition("/")[2]}

Reads a video and writes its key frames, a text summary, or both, in one answer: a
[V2Xum-LLM](https://arxiv.org/abs/2404.12353) by the package `llava_v2xum`.

{table}

## Use

```bash
{command}
```

## Figures

{self._figures()}
"""

    def _figures(self) -> str:
        if not self.reports:
            return "None were given with the upload."
        pages = [(report / REPORT).read_text(encoding="utf-8") for report in self.reports]
        return "\n\n".join(_HEADING.sub("###", _PICTURE.sub("", page)).strip() for page in pages)


def named_base(model_path: Path, model_base: str | None) -> str | None:
    """The hub name of the decoder that a checkpoint was trained from, as far as its files and the caller tell."""
    from ..features.checkpoint_files import ADAPTER_CONFIG, read_json_object
    from ..features.hf_llava import config_in

    adapter = model_path / ADAPTER_CONFIG
    told = read_json_object(adapter).get("base_model_name_or_path") if adapter.is_file() else None
    candidates = (model_base, told, config_in(model_path).get("_name_or_path"))
    return next((name for name in candidates if name and is_hub_name(name, of_an_owner=True)), None)
