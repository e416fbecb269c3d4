"""Grammar and plausibility of a data set's text before and after it was refined (paper, appendix B)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


def quality_before_after(
    videos: Iterable[tuple[str, Mapping[str, Any]]],
    grammar: Sequence[str] = (),
    plausibility: Sequence[str] = (),
    device: str | None = None,
) -> dict[str, Any] | None:
    """Score the captions of the kept frames, and the sentences that they were refined to.

    Args:
        videos: each video's id and the results of its stages; those that were not refined say nothing of it and are
            left out.
        grammar: scorers as `evaluate.models.quality_models` names them: `cola:MODEL`, `cola:MODEL@LABEL`,
            `languagetool`.
        plausibility: the same: `vera:MODEL`.
        device: for the models; default: a GPU where there is one.

    Returns:
        `QualityReport.to_record()`, a model in a folder named by the folder alone; None where no scorer is named or no
        video was refined: not measured.

    Raises:
        V2XumError: if a scorer is none of these, or its model not what it should be.
        OSError: if a model or LanguageTool cannot be loaded.
        MissingExtra: if a package is missing; it gives the pip command.
    """
    if not grammar and not plausibility:
        return None
    from ...evaluate.models.quality_models import parse_scorer
    from ...evaluate.reports.quality import quality_rows

    before, after = {}, {}
    for video_id, results in videos:
        if results["refine"]["refined"]:
            captions = results["caption"]["captions"]
            before[video_id] = "\n".join(captions[frame] for frame in results["filter"]["frames"])
            after[video_id] = "\n".join(results["refine"]["sentences"])
    if not before:
        return None
    scorers = [parse_scorer(spec, "grammar", device) for spec in grammar]
    scorers += [parse_scorer(spec, "plausibility", device) for spec in plausibility]
    record = quality_rows(before, after, scorers).to_record()
    for one in record["scores"]:
        if Path(one["source"]).is_dir():  # a card goes to other people, and says nothing of this machine
            one["source"] = Path(one["source"]).resolve().name
    return record
