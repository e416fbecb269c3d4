"""The judged columns in the commands: the endpoint and the file of its answers, then its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path

from ...core.endpoint.endpoint import Endpoint
from ...core.endpoint.replies import EXTRA
from ...core.endpoint.store import Store
from ...core.errors import V2XumError
from ...core.extras import require
from ..formats.cases import Case
from ..groups.judged import judged_rows
from ..metrics.measures import Measure
from ..models.judge import Judge, load_prompts
from .options import Settings

JUDGE_CACHE = "judged.sqlite"


class JudgeScoring:
    """What the judged columns need; a slip in the address or a prompt is told before anything is scored.

    Args:
        settings: with `judge` and `judge_model`.
        out: the folder where answers are kept if the settings name no other file.

    Raises:
        V2XumError, OSError: naming the address, the prompt, or the model.
        MissingExtra: if a package that asks is not installed.
    """

    def __init__(self, settings: Settings, out: Path) -> None:
        if settings.judge is None or settings.judge_model is None:
            raise V2XumError("a judge needs an address and a model")
        for package in ("openai", "jsonschema"):
            require(package, EXTRA)
        self.endpoint = Endpoint(
            settings.judge,
            settings.judge_model,
            api_key_env=settings.judge_key_env,
            concurrency=settings.judge_concurrency,
        )
        load_prompts(settings.judge_prompts)
        self.prompts, self.cache = settings.judge_prompts, settings.judge_cache or out / JUDGE_CACHE

    def rows(
        self, cases: Sequence[Case], progress: Callable[[Iterable], Iterable] | None
    ) -> tuple[dict[str, list[Measure]], list[str], str]:
        """The rows and notes of `judged.judged_rows`, and the judge's name."""
        self.cache.parent.mkdir(parents=True, exist_ok=True)
        with closing(Store(self.cache)) as store:
            judge = Judge(self.endpoint, store, self.prompts)
            rows, notes = judged_rows(cases, judge, progress)
            return rows, notes, judge.name
