"""Filter: of two chosen captions that say the same, by BERTScore, the later one goes (paper, section 3.1).

The paper says no more than "over 0.93". Here, in time order, a caption is compared with those kept so far, and goes if
its BERTScore F1 with any of them is over the threshold; one that went makes no other go. So of a scene that changes
little by little, a caption stays as soon as it is far enough from what is kept. Scores are not rescaled with a
baseline: 0.93 lies in the range of plain ones (English sentences without anything in common have about 0.85 with
roberta-large), and nothing says otherwise.

Shapes: M chosen captions, P = M (M - 1) / 2 pairs of them.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import logging
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from ...core.command_line import at_least, in_range
from ...core.endpoint.budget import Budget
from ...core.endpoint.outcomes import Stop
from ...core.endpoint.store import Ledger
from ...core.errors import V2XumError
from ...core.extras import MissingExtra
from ...evaluate.models.bertscores import SHAPES, SHAPES_FOLDER, BertScoreOptions, load_scorer
from ..store.stage import GPU_SHARE, Source
from .command_stage import CommandStage, device_of
from .loaded import LoadedOnce, model_identity, name_of
from .sentence_vectors import words

logger = logging.getLogger(__name__)

THRESHOLD = 0.93  # paper, section 3.1
_DECIMALS = 6  # two machines' scores agree up to here; they are rounded before they are compared
_PAIR_BATCH = 64


def keep_first(scores: np.ndarray, threshold: float) -> tuple[list[int], list[dict[str, Any]]]:
    """Which of some captions stay, in time order.

    Args:
        scores: [M, M], of which those above the diagonal are read: how alike an earlier and a later caption are.
        threshold: a caption goes if its score with one that stays is over it; the same as it is not over.

    Returns:
        the places that stay, ascending, and for each other {"frame": its place, "like": the place of the kept caption
        that it is most alike, the earliest of several, "score": theirs}.
    """
    kept: list[int] = []
    dropped: list[dict[str, Any]] = []
    for place in range(len(scores)):
        if kept:
            of_kept = scores[kept, place]
            nearest = int(np.argmax(of_kept))
            if of_kept[nearest] > threshold:
                dropped.append({"frame": place, "like": kept[nearest], "score": float(of_kept[nearest])})
                continue
        kept.append(place)
    return kept, dropped


class PairScorer(LoadedOnce):
    """BERTScore of all pairs of some captions.

    Args:
        options: the encoder, its layer and its device.
    """

    def __init__(self, options: BertScoreOptions) -> None:
        super().__init__()
        self.options = options

    def load(self) -> Any:
        try:
            return load_scorer(self.options)
        except (OSError, ValueError) as error:
            raise Stop(_cannot(self.options.model, error)) from error

    def scores(self, captions: Sequence[str]) -> np.ndarray:
        """F1 of each caption with each later one, float64 [M, M], 0 elsewhere.

        One call of the package, which encodes each different text once: for M = 154 (the most that 940 s give) with
        roberta-large, comparing the 11,781 pairs takes about a twelfth of the time of encoding on a CPU (6 and 77 s of
        one core), so pairs that the order would not ask for are not worth sparing.

        Raises:
            Stop: if the encoder cannot be loaded.
            MissingExtra: if bert-score is not installed.
        """
        found = np.zeros((len(captions), len(captions)))
        pairs = list(combinations(range(len(captions)), 2))
        if pairs:
            earlier, later = zip(*pairs)
            with self.model() as scorer:
                parts = scorer.score(
                    [captions[place] for place in later], [captions[place] for place in earlier], batch_size=_PAIR_BATCH
                )
            precision, recall, f1 = (part.double().numpy() for part in parts)
            # the mean of the two has a pole where one is negative, and tells nothing there
            found[earlier, later] = np.where((precision > 0) & (recall > 0), f1.round(_DECIMALS), 0)
        return found


class FilterStage(CommandStage):
    """Drops chosen captions that repeat an earlier one.

    Args:
        model: the encoder of BERTScore: a name at Hugging Face, a folder, or "shapes".
        threshold: of F1, 0 to 1; None keeps every caption, and loads nothing.
        num_layers: the layer whose vectors are compared; None for the one that bert-score tuned for the model.
        device: None for CUDA where there is one, else the CPU.
    """

    name = "filter"
    does = "of two captions that say the same (BERTScore) the later one goes"
    recorded = ("bertscore_threshold",)
    needs = GPU_SHARE

    @classmethod
    def add_options(cls, add: Callable[..., Any]) -> None:
        add("--bertscore-model", default="roberta-large", metavar="NAME",
            help="encoder of BERTScore: a folder, a hub name, or 'shapes' (%(default)s)")  # fmt: skip
        add("--bertscore-layers", type=at_least(1), metavar="N", help="the encoder's layer to compare (default: the "
            "one that bert-score has tuned; a model it does not know needs it)")  # fmt: skip
        add("--bertscore-threshold", type=_threshold, default=THRESHOLD, metavar="X",
            help="captions more alike than this are one; 'none' keeps all (%(default)s)")  # fmt: skip

    @classmethod
    def from_arguments(cls, args: argparse.Namespace, budget: Budget) -> FilterStage:
        return cls(args.bertscore_model, args.bertscore_threshold, args.bertscore_layers, device_of(args))

    def __init__(
        self,
        model: str = "roberta-large",
        threshold: float | None = THRESHOLD,
        num_layers: int | None = None,
        device: str | None = None,
    ) -> None:
        self.model, self.threshold, self.num_layers = model, threshold, num_layers
        self.model_name = None if threshold is None else name_of(model)
        self._scorer = PairScorer(BertScoreOptions(model, num_layers, device=device))

    def settings(self) -> dict[str, Any]:
        """All that the choice depends on.

        Raises:
            Stop: if the encoder's folder cannot be read.
            MissingExtra: if bert-score is not installed.
        """
        if self.threshold is None:
            return {"threshold": None}
        try:
            version = importlib.metadata.version("bert-score")
        except importlib.metadata.PackageNotFoundError as error:
            raise MissingExtra('bert-score is needed and not installed: pip install "llava_v2xum[curate]"') from error
        try:
            model = model_identity(str(SHAPES_FOLDER) if self.model == SHAPES else self.model)
        except (OSError, V2XumError) as error:
            raise Stop(_cannot(self.model, error)) from error
        layers = f"tuned for {Path(self.model).name}" if self.num_layers is None else self.num_layers
        return {"threshold": self.threshold, "model": model, "layers": layers, "bert_score": version}

    def work(self, source: Source, before: Mapping[str, Any], ledger: Ledger) -> dict[str, Any]:
        """Keep the first of each.

        Returns:
            `frames`: those kept, ascending; `dropped`: for each other {"frame", "like", "score"}, the kept frame whose
            caption is the most like its own, and their F1.
        """
        frames = list(before["extract"]["frames"])
        if self.threshold is None:
            return {"frames": frames, "dropped": []}
        every = before["caption"]["captions"]
        captions = [every[frame] for frame in frames]
        if self.model == SHAPES:
            _warn_of_strangers(source, captions)
        kept, dropped = keep_first(self._scorer.scores(captions), self.threshold)
        told = [{**one, "frame": frames[one["frame"]], "like": frames[one["like"]]} for one in dropped]
        return {"frames": [frames[place] for place in kept], "dropped": told}


def _threshold(text: str) -> float | None:
    if text == "none":
        return None
    try:
        return in_range(float, lambda number: 0 <= number <= 1, "from 0 to 1, or none")(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number or 'none', got {text!r}") from None


def _warn_of_strangers(source: Source, captions: Sequence[str]) -> None:
    """Tell a user who gave the rendered world's encoder other captions: it finds nearly all of them alike."""
    known = set((SHAPES_FOLDER / "vocab.txt").read_text(encoding="utf-8").split())
    said = [word for text in captions for word in words(text)]
    strange = sum(word not in known for word in said)
    if 2 * strange > len(said):
        logger.warning(
            "%s: BERTScore's encoder 'shapes' knows the sentences of rendered clips alone, and %d of %d words are "
            "others: it finds nearly all captions alike. Give --bertscore-model another",
            source.video_id, strange, len(said),
        )  # fmt: skip


def _cannot(model: str, error: Exception) -> str:
    return (
        f"BERTScore's encoder {model!r} cannot be used ({str(error).splitlines()[0]}). Give --bertscore-model the "
        "folder of one (roberta-large; with --bertscore-layers N any that transformers loads), or 'shapes' for "
        "rendered clips, or turn the filter off with --bertscore-threshold none"
    )
