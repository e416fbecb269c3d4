"""BERTScore of text summaries (Zhang et al. 2020), by the bert-score package and any encoder that it can load.

Figures of two encoders, layers or rescalings are not comparable, so the notes name all three. Things that the package
leaves to chance are settled here: a model that it has no tuned layer for needs a layer (a folder that bears the name of
a model it knows has that model's); a folder with "t5" in its path is not taken for a T5, with random weights, unless it
is one; texts beyond the encoder's length are cut at it, and counted; an empty text scores 0 (the package's own way of
scoring it fails on transformers 5), rescaled or not.

The model "shapes" is the encoder of the rendered world (scripts/shapes/train_shapes_encoder.py): it tells apart what
its sentences tell of, and knows nothing else.

Shapes: V videos.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import V2XumError
from ...core.extras import require
from ..metrics.measures import Measure
from ..metrics.metric import TEXT, Family, Metric

BERTSCORE = Family(
    (
        Metric("bertscore_precision", "BERTScore P", "V2T", "predicted tokens matched by their embeddings", (TEXT,)),
        Metric("bertscore_recall", "BERTScore R", "V2T", "reference tokens matched by their embeddings", (TEXT,)),
        Metric("bertscore", "BERTScore", "V2T", "F1 of matched token embeddings", (TEXT,)),
    )
)
SHAPES = "shapes"
SHAPES_FOLDER = Path(__file__).resolve().parents[2] / "shapes" / "encoder"
_SHAPES_LAYER = 2  # the last, which its training trains
_UNLIMITED = 1_000_000  # transformers writes 1e30 for a tokenizer that knows no limit
_FIRST_POSITIONS = 2  # RoBERTa's positions begin behind its padding id


@dataclass(frozen=True)
class BertScoreOptions:
    """How BERTScore is computed.

    Args:
        model: a name at Hugging Face, a folder with an encoder and its tokenizer, or "shapes". roberta-large is the
            package's choice for English.
        num_layers: the layer whose vectors are compared; None for the one that the package tuned for the model.
        rescale: rescale with a baseline, which spreads the scores and may make them negative.
        baseline: a baseline file (.tsv) for `rescale`; None for the package's own of English.
        device: None for CUDA where there is one, else the CPU.
        batch_size: texts at a time.
    """

    model: str = "roberta-large"
    num_layers: int | None = None
    rescale: bool = False
    baseline: str | None = None
    device: str | None = None
    batch_size: int = 64


def bertscore_measures(
    predictions: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    options: BertScoreOptions | None = None,
) -> tuple[list[Measure], tuple[str, ...]]:
    """BERTScore's precision, recall and F1; the figures are means over videos.

    With several references each of the three is that of the best reference, as the package has it. Empty references
    are passed over; a text scores 0 where it, or every reference, is empty.

    Args:
        predictions: [V] texts by id.
        references: by the same ids, each with at least one text; their order is the order of the videos.
        options: None for the defaults.

    Returns:
        the measures bertscore_precision, bertscore_recall and bertscore (F1), and the notes.

    Raises:
        V2XumError: if the ids differ, no layer is given for a model without a tuned one, the model does not have that
            many, or there is no baseline to rescale with.
        MissingExtra: if bert-score is not installed.
        OSError: if the model cannot be loaded.
    """
    options = options or BertScoreOptions()
    if predictions.keys() != references.keys():
        apart = sorted(predictions.keys() ^ references.keys(), key=str)
        raise V2XumError(f"predictions and references must have the same ids, {len(apart)} do not: {apart[:3]}")
    texts = [predictions[video].strip() for video in references]
    several = [[text for text in map(str.strip, some) if text] for some in references.values()]
    scored = [place for place, (text, some) in enumerate(zip(texts, several)) if text and some]
    values = np.zeros((len(texts), len(BERTSCORE.metrics)))
    notes = []
    if scored:
        scorer = load_scorer(options)
        asked = [text for place in scored for text in (texts[place], *several[place])]
        notes += [_described(scorer, options), *_cut(scorer, asked)]
        answer = scorer.score(
            [texts[place] for place in scored], [several[place] for place in scored], batch_size=options.batch_size
        )
        values[scored] = np.stack([part.double().numpy() for part in answer], axis=1)
    if len(scored) < len(texts):
        notes.append(f"BERTScore: {len(texts) - len(scored)} of {len(texts)} texts are empty and score 0")
    return [Measure(metric.name, column) for metric, column in zip(BERTSCORE.metrics, values.T)], tuple(notes)


def load_scorer(options: BertScoreOptions) -> Any:
    """The package's `BERTScorer`, with a limit of length that its tokenizer can follow.

    Raises:
        V2XumError, MissingExtra, OSError: as `bertscore_measures`.
    """
    package = require("bert_score", "bertscore")
    model, layers = _found(options, package.utils.model2layers)
    try:
        scorer = package.BERTScorer(
            model_type=model,
            num_layers=layers,
            batch_size=options.batch_size,
            device=options.device,
            lang="en" if options.rescale else None,
            rescale_with_baseline=options.rescale,
            baseline_path=options.baseline,
        )
    except AssertionError as error:  # how the package tells that the layer is not there
        raise V2XumError(f"BERTScore with {options.model!r}: {error}") from error
    if options.rescale and not Path(scorer.baseline_path).is_file():
        raise V2XumError(f"there is no baseline to rescale BERTScore of {options.model!r} with: {scorer.baseline_path}")
    tokenizer = scorer._tokenizer
    if tokenizer.model_max_length > _UNLIMITED:  # the tokenizers library does not take the number
        positions = getattr(scorer._model.config, "max_position_embeddings", 512)
        tokenizer.model_max_length = positions - _FIRST_POSITIONS
    return scorer


def _found(options: BertScoreOptions, tuned: Mapping[str, int]) -> tuple[str, int]:
    """The model's name or folder and its layer."""
    model, layers = str(options.model), options.num_layers
    if model == SHAPES:
        model, layers = str(SHAPES_FOLDER), _SHAPES_LAYER if layers is None else layers
    folder = Path(model) if Path(model).is_dir() else None
    if layers is None:
        known = [name for name in tuned if folder is not None and Path(name).name == folder.name]
        layers = tuned.get(known[0] if known else model)
    if layers is None:
        raise V2XumError(f"BERTScore has no tuned layer for the model {model!r}: give num_layers")
    if folder is not None and "t5" in model and "t5" not in _kind(folder):
        raise V2XumError(f"bert-score takes a path with 't5' in it for a T5's: give {model!r} another name, or a link")
    return model, layers


def _kind(folder: Path) -> str:
    """The model_type of a folder's configuration, such as "roberta"."""
    from ...features.checkpoint_files import read_json_object  # here, because it loads torch

    return read_json_object(folder / "config.json").get("model_type", "")


def _described(scorer: Any, options: BertScoreOptions) -> str:
    rescaled = f"rescaled with {Path(scorer.baseline_path).name}" if options.rescale else "not rescaled"
    name = Path(options.model).name if Path(options.model).is_dir() else options.model
    return f"BERTScore: {name}, layer {scorer.num_layers}, {rescaled}, without idf weights"


def _cut(scorer: Any, texts: Sequence[str]) -> list[str]:
    limit = scorer._tokenizer.model_max_length
    lengths = [len(ids) for ids in scorer._tokenizer(list(dict.fromkeys(texts)))["input_ids"]]
    long = sum(length > limit for length in lengths)
    return [f"BERTScore: {long} of {len(lengths)} texts are cut at the model's {limit} tokens"] if long else []
