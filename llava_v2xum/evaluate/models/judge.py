"""A judge of summaries: a model behind an OpenAI-compatible endpoint grades relevance and modality coherence.

LVSum (Patel et al. 2026, arXiv 2604.10024) reports both by a language model. What was released with it has neither the
judge nor its prompts, so the questions, `prompts/*.txt`, are worded here, and figures are not those of its tables:

- relevance: does the summary tell what people found worth telling;
- coherence: do the words of each segment fit its own seconds. What people said of the same seconds stands for the
  video, which the judge is not shown.

A grade is 1 to 5, and counts (grade - 1) / 4. Figures of two models or prompts are not comparable: the report names the
model and the prompts' hash. Every answer is kept by the whole question, so that the same command asks nothing twice.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from ...core.endpoint.asking import Unusable, ask
from ...core.endpoint.endpoint import Endpoint
from ...core.endpoint.store import Ledger, Store
from ...core.errors import V2XumError
from ..metrics.metric import TEXT, Family, Metric, Need

GRADES = (1, 5)
SCHEMA = {
    "type": "object",
    "properties": {
        "score": {"type": "integer", "minimum": GRADES[0], "maximum": GRADES[1]},
        "reason": {"type": "string"},
    },
    "required": ["score", "reason"],
    "additionalProperties": False,
}
PLACEHOLDERS = {"relevance": {"people", "summary"}, "coherence": {"segments"}}
ANSWER_TOKENS = 1024  # of which a short reason needs a tenth; the rest is for models that think first
_ATTEMPTS = 3
_MARKS = re.compile(r"<\s*/?\s*(people|summary)\s*>", re.IGNORECASE)
_ASKED = Need("left out without --judge", lambda predictions, settings: getattr(settings, "judge", None) is None)

JUDGED = Family(
    (
        Metric("judged_relevance", "Relevance", "V2T", "a judge's grade of what the text tells", (TEXT, _ASKED)),
        Metric("judged_coherence", "Coherence", "V2T", "a judge's grade of words and their seconds", (TEXT, _ASKED)),
    )
)


class Judge:
    """A model that grades; threads may share it.

    Args:
        endpoint: where it answers.
        store: where answers are kept.
        folder: with relevance.txt and coherence.txt in place of the packaged prompts; one that is not there stays.

    Raises:
        V2XumError: naming the file, if a prompt lacks a placeholder, has another one, or none is there.
        OSError: if one cannot be read.
    """

    def __init__(self, endpoint: Endpoint, store: Store, folder: Path | None = None) -> None:
        self.endpoint, self._store = endpoint, store
        self.prompts = load_prompts(folder)

    @property
    def name(self) -> str:
        """The model and the hash of its prompts, for reports."""
        text = "\0".join(self.prompts[name].template for name in PLACEHOLDERS)
        return f"{self.endpoint.model}, prompts {hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def grade(self, quality: str, video_id: str, values: Mapping[str, str]) -> float:
        """The grade of one video's summary, 0 to 1.

        Args:
            quality: of `PLACEHOLDERS`.
            values: of the prompt's placeholders.

        Raises:
            Unusable: if no answer can be used, with the reason.
            Failed, Stop: as `Endpoint.chat`.
        """
        question = self.prompts[quality].substitute(values)
        ledger = Ledger(self._store, f"judge {quality}", "", video_id)
        score = ask(self.endpoint, ledger, question, SCHEMA, ANSWER_TOKENS, _score_of, _ATTEMPTS)
        return (score - GRADES[0]) / (GRADES[1] - GRADES[0])


def _score_of(value: Any) -> int:
    score = value["score"]
    if type(score) is not int:  # 4.0 is an integer to JSON's schema
        if score != int(score):
            raise Unusable(f"the score must be a whole number, got {score}")
        score = int(score)
    return score


def load_prompts(folder: Path | None = None) -> dict[str, Template]:
    """The judge's prompts by quality; see `Judge`."""
    found = {}
    packaged = resources.files(__package__) / "prompts"
    if folder is not None and not any((folder / f"{quality}.txt").is_file() for quality in PLACEHOLDERS):
        names = " or ".join(f"{quality}.txt" for quality in PLACEHOLDERS)
        raise V2XumError(f"{folder}: expected a folder with {names}")
    for quality, wanted in PLACEHOLDERS.items():
        own = None if folder is None else folder / f"{quality}.txt"
        source = packaged / f"{quality}.txt" if own is None or not own.is_file() else own
        try:
            text = source.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise V2XumError(f"{source}: expected text in UTF-8 ({error})") from error
        marks = [*Template.pattern.finditer(text)]
        names_found = {one["named"] or one["braced"] for one in marks} - {None}
        if any(one["invalid"] is not None for one in marks) or names_found != wanted:
            told = ", ".join(f"${name}" for name in sorted(wanted))
            raise V2XumError(f"{source}: a prompt of {quality} has {told} and no other $ (write $$ for a dollar)")
        found[quality] = Template(text)
    return found


def one_line(text: str) -> str:
    """A text as it may stand in a prompt: on one line, and without the marks that end its part of it."""
    return " ".join(_MARKS.sub("", " ".join(text.split())).split())
