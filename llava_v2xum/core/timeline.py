"""The N-frame clock of a video: frame index <-> second <-> temporal prompt.

Every video is normalised to N frames (`sampling.py`), and frame i is named by its temporal prompt, `[00]` to `[99]`
for the paper's N = 100. How answers cite those names is `citations.py`'s.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .citations import CitationGrammar
from .errors import V2XumError
from .sampling import DEFAULT_NUM_FRAMES, LINSPACE, SAMPLING_KEY, FrameSampling

DEFAULT_TEMPLATE = "[{:02d}]"  # released code; the paper's text also prints `00` and `[f00]`


@dataclass(frozen=True)
class Timeline(FrameSampling):
    """N sampled frames and the temporal prompt that names each.

    Args:
        num_frames: N, how many frames stand for a video.
        template: a format string with one zero-padded integer field, such as `[{:02d}]`.
        rule: by which they are chosen, see `FrameSampling`.

    Raises:
        V2XumError: if the template has no such field, N needs more digits than it has, or there is no such rule.
    """

    template: str = DEFAULT_TEMPLATE

    def __post_init__(self) -> None:
        digits = self.digits
        if not 1 <= self.num_frames <= 10**digits:
            raise V2XumError(
                f"num_frames must be 1 to {10**digits} with the temporal prompt template {self.template!r} "
                f"({digits} digits), got {self.num_frames}"
            )
        super().__post_init__()

    @classmethod
    def of_fields(cls, fields: Mapping[str, Any]) -> Timeline:
        """That of a checkpoint's config.json."""
        template = fields.get("temporal_prompt_template", DEFAULT_TEMPLATE)
        return cls(fields.get("num_frames", DEFAULT_NUM_FRAMES), template, rule=fields.get(SAMPLING_KEY, LINSPACE))

    @classmethod
    def of(cls, num_frames: int) -> Timeline:
        """N frames and the default template, with more digits if N needs them."""
        digits = max(CitationGrammar.of(DEFAULT_TEMPLATE).digits, len(str(num_frames - 1)))
        return cls(num_frames, f"[{{:0{digits}d}}]")

    @cached_property
    def citations(self) -> CitationGrammar:
        """How answers cite the frames."""
        return CitationGrammar.of(self.template)

    @property
    def digits(self) -> int:
        """How many digits a temporal prompt has."""
        return self.citations.digits

    def cite(self, index: int) -> str:
        """The digits that cite frame `index` inside an answer: 7 -> `07`."""
        return self.citations.index(index)

    def prompt(self, index: int) -> str:
        """The temporal prompt of frame `index`: 7 -> `[07]`."""
        return self.template.format(index)

    def prompts(self) -> list[str]:
        """The N temporal prompts, in order."""
        return [self.prompt(index) for index in range(self.num_frames)]


def as_template(prompt: str) -> str:
    """A temporal prompt template, given as such or as the prompt of frame 0: `[f00]` -> `[f{:02d}]`.

    Raises:
        V2XumError: if it is neither.
    """
    if "{" in prompt:
        return prompt
    template, runs = re.subn("0+", lambda zeros: f"{{:0{len(zeros[0])}d}}", prompt)
    if runs != 1:
        raise V2XumError(f"expected a temporal prompt template or the prompt of frame 0, as '[00]', got {prompt!r}")
    return template


def temporal_prompt_ids(tokenizer, timeline: Timeline) -> list[list[int]]:
    """The token ids of every temporal prompt, each tokenized alone and without special tokens.

    Args:
        tokenizer: a transformers tokenizer.

    Returns:
        N lists of k ids (k = 4 for `[00]` under the Vicuna tokenizer).

    Raises:
        V2XumError: if the prompts do not all give the same number of ids: the model places the k ids and the
            visual token of every frame in a fixed block.
    """
    ids = [tokenizer(prompt, add_special_tokens=False).input_ids for prompt in timeline.prompts()]
    for prompt, prompt_ids in zip(timeline.prompts(), ids):
        if len(prompt_ids) != len(ids[0]):
            raise V2XumError(
                f"every temporal prompt must give the same number of token ids: {timeline.prompt(0)!r} gives "
                f"{len(ids[0])}, {prompt!r} gives {len(prompt_ids)} ({prompt_ids})"
            )
    return ids
