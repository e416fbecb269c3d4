"""The scorers of summaries' quality: grammar and commonsense plausibility of single sentences.

A scorer has a `name`, the `quality` that it measures, and the `source` of its weights; `score(texts)` gives each text
0 (bad) to 1 (good). Heavy packages are imported when a scorer is made.

| spec | scorer | score of a text |
| --- | --- | --- |
| `cola:MODEL` | a sequence classifier trained on acceptability (CoLA, Warstadt et al. 2019), by name or folder | the softmax probability of its acceptable label |
| `cola:MODEL@LABEL` | the same, where the labels' names do not say which is the acceptable one | the probability of LABEL (name or number) |
| `languagetool` | LanguageTool by language-tool-python; `languagetool:en-GB` for another language than `en-US` | 1 - min(1, matches / words): every match counts, of grammar, spelling, punctuation and style |
| `vera:MODEL` | Vera (Liu et al. 2023, arXiv 2305.03695), by name or folder | sigmoid(logit / t), its calibrated plausibility |

Shapes: B texts of a batch, L tokens, D hidden size.
"""  # noqa: E501 (a row of a table is one line)

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.errors import V2XumError
from ...core.extras import check_device, require
from .quality_scorers import LanguageToolScorer, Scorer, check_words

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

MAX_TOKENS = 128  # as Vera's demo cuts statements, and GLUE's example fine-tunes on CoLA; a sentence has far fewer
BATCH_SIZE = 32
VERA_WEIGHT_ROW, VERA_BIAS_ROW, VERA_TEMPERATURE_ROW = 32099, 32098, 32097
_ACCEPTABLE = ("acceptable", "grammatical", "correct", "fluent")  # what models call CoLA's label 1


class _ModelScorer:
    """What the transformers models share: texts in batches of like length, and the count of those cut."""

    name: str
    quality: str

    def __init__(self, source: str, tokenizer: Any, model: Any, max_tokens: int, batch_size: int, device: str | None):
        torch = require("torch", "quality")
        self.source, self.truncated = source, 0
        self._tokenizer, self._max_tokens, self._batch_size = tokenizer, max_tokens, batch_size
        self._device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self._model = model.to(self._device).eval()

    def score(self, texts: Sequence[str]) -> np.ndarray:
        """Score texts; the order and the company of a text do not matter.

        Args:
            texts: of at least one word each; what is beyond the model's limit of tokens is not read, and counted.

        Returns:
            float [n] in 0..1.

        Raises:
            V2XumError: naming the number of a text without words.
        """
        torch = require("torch", "quality")
        check_words(texts)
        scores = np.zeros(len(texts))
        if not len(texts):
            return scores
        lengths = np.array([len(ids) for ids in self._tokenizer(list(texts), verbose=False)["input_ids"]])
        self.truncated += int((lengths > self._max_tokens).sum())
        order = np.argsort(lengths, kind="stable")  # like lengths together: little padding
        for first in range(0, len(order), self._batch_size):
            places = order[first : first + self._batch_size]
            batch = self._tokenizer(
                [texts[place] for place in places],
                padding=True,
                truncation=True,
                max_length=self._max_tokens,
                return_tensors="pt",
            ).to(self._device)
            with torch.inference_mode():
                scores[places] = self._probabilities(batch).double().cpu().numpy()
        return scores

    def _probabilities(self, batch: Any) -> Tensor:
        """The scores [B] of a tokenized batch."""
        raise NotImplementedError


class ColaScorer(_ModelScorer):
    """Grammar: the probability that a classifier gives to "acceptable".

    Args:
        source: a transformers sequence classifier, by name or folder.
        label: the acceptable one, by its name or number; needed where the labels are called LABEL_0 and LABEL_1 only,
            because published models do not agree on which it is (GLUE's CoLA has 1).
        device: default: a GPU where there is one.

    Raises:
        V2XumError: if the folder is no sequence classifier with trained weights, or none of its labels is meant.
        OSError: if transformers cannot load it.
    """

    name = "cola"
    quality = "grammar"

    def __init__(
        self, source: str, label: str | None = None, batch_size: int = BATCH_SIZE, device: str | None = None
    ) -> None:
        transformers = require("transformers", "quality")
        model = _loaded(transformers.AutoModelForSequenceClassification, source, "a trained sequence classifier")
        tokenizer = transformers.AutoTokenizer.from_pretrained(source)
        limits = [MAX_TOKENS, tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", MAX_TOKENS)]
        super().__init__(source, tokenizer, model, min(limits), batch_size, device)
        self.label = acceptable_label(model.config.id2label, label, source)

    def _probabilities(self, batch: Any) -> Tensor:
        return self._model(**batch).logits.float().softmax(dim=-1)[:, self.label]


class VeraScorer(_ModelScorer):
    """Plausibility: Vera, a T5 encoder with a linear head on the end token.

    The released checkpoint has its head in rows of the word embedding that no text uses (its model card): row 32099 is
    the head's weight, the first value of row 32098 its bias, the first of row 32097 the temperature t of its
    calibration.

    Args:
        source: `liujch1998/vera` or a folder of the same layout.
        device: default: a GPU where there is one (the released model has 4.8 billion weights).

    Raises:
        V2XumError: if it is no T5 encoder with these rows.
        OSError: if transformers cannot load it.
    """

    name = "vera"
    quality = "plausibility"

    def __init__(self, source: str, batch_size: int = BATCH_SIZE, device: str | None = None) -> None:
        transformers = require("transformers", "quality")
        kind = transformers.AutoConfig.from_pretrained(source).model_type
        if kind != "t5":
            raise V2XumError(f"{source}: Vera is a T5 encoder, this is a model of type {kind!r}")
        model = _loaded(transformers.T5EncoderModel, source, "a T5 encoder")
        rows = model.shared.weight.detach().float()
        if len(rows) <= VERA_WEIGHT_ROW:
            raise V2XumError(
                f"{source}: Vera has its head in row {VERA_WEIGHT_ROW} of the embedding, this one has {len(rows)} rows"
            )
        temperature = rows[VERA_TEMPERATURE_ROW, 0].item()
        if not temperature > 0:
            raise V2XumError(
                f"{source}: Vera has its temperature, above 0, in row {VERA_TEMPERATURE_ROW} of the "
                f"embedding, got {temperature}"
            )
        tokenizer = transformers.AutoTokenizer.from_pretrained(source)
        super().__init__(source, tokenizer, model, MAX_TOKENS, batch_size, device)
        self._temperature = temperature
        self._weight = rows[VERA_WEIGHT_ROW].to(self._device)
        self._bias = rows[VERA_BIAS_ROW, 0].to(self._device)

    def _probabilities(self, batch: Any) -> Tensor:
        torch = require("torch", "quality")
        mask = batch["attention_mask"]  # [B, L]
        hidden = self._model(input_ids=batch["input_ids"], attention_mask=mask).last_hidden_state  # [B, L, D]
        end = (mask * torch.arange(mask.shape[1], device=mask.device)).argmax(dim=1)
        logits = hidden[torch.arange(len(end), device=end.device), end].float() @ self._weight + self._bias
        return (logits / self._temperature).sigmoid()


def parse_scorer(spec: str, quality: str | None = None, device: str | None = None) -> Scorer:
    """Make the scorer that a spec names; the module's table has the forms.

    Args:
        quality: "grammar" or "plausibility", where the scorer must measure that.
        device: for the transformers models.

    Raises:
        V2XumError: if the spec is of no such form, the scorer measures another quality, or there is no such device.
        OSError: naming the model, if it is a path that is not there, or transformers cannot load it.
    """
    kind, _, source = spec.partition(":")
    kinds = {scorer.name: scorer for scorer in (ColaScorer, LanguageToolScorer, VeraScorer)}
    if kind not in kinds or (not source and kind != "languagetool"):
        raise V2XumError(f"expected cola:MODEL, cola:MODEL@LABEL, languagetool or vera:MODEL, got {spec!r}")
    if quality is not None and kinds[kind].quality != quality:
        fitting = ", ".join(name for name, scorer in kinds.items() if scorer.quality == quality)
        raise V2XumError(f"{kind} measures {kinds[kind].quality}, not {quality}; for that there is: {fitting}")
    if kind == "languagetool":
        return LanguageToolScorer(source or "en-US")
    model, label = source, None
    if kind == "cola" and "@" in source:
        model, _, label = source.rpartition("@")
    _check_there(model)
    check_device(device, "quality")
    try:
        return VeraScorer(model, device=device) if kind == "vera" else ColaScorer(model, label, device=device)
    except OSError as error:  # of transformers and the hub, in several lines that need not name it
        raise OSError(f"{model}: transformers cannot load it: {' '.join(str(error).split())}") from error


def acceptable_label(id2label: dict[int, str], label: str | None, source: str) -> int:
    """The number of the label that stands for "acceptable".

    Args:
        id2label: a model's labels.
        label: a name or number; None looks for a label that is called so.

    Raises:
        V2XumError: naming the source and its labels, if none is meant.
    """
    names = {name.lower(): number for number, name in id2label.items()}
    wanted = _ACCEPTABLE if label is None else (label.lower(),)
    found = [names[name] for name in wanted if name in names]
    if not found and label is not None and label.isdigit() and int(label) in id2label:
        found = [int(label)]
    if len(found) != 1:
        shown = ", ".join(f"{number} {name}" for number, name in sorted(id2label.items()))
        raise V2XumError(
            f"{source}: which of its labels ({shown}) is the acceptable one? "
            + ("Say it as cola:MODEL@LABEL (GLUE's CoLA has 1)" if label is None else f"It has none called {label!r}")
        )
    return found[0]


def _check_there(source: str) -> None:
    """Check that a path is there: transformers would ask the hub for it, and without network go on trying."""
    if not Path(source).exists() and (source.startswith((".", "/", "~")) or source.count("/") > 1):
        raise FileNotFoundError(f"{source}: no such folder")


def _loaded(kind: Any, source: str, what: str) -> Any:
    """Load a model, and refuse one whose weights are not all in its files: those would be random."""
    model, info = kind.from_pretrained(source, output_loading_info=True)
    missing = sorted(name for name in info["missing_keys"] if not name.endswith("embed_tokens.weight"))  # tied in T5
    if missing:
        raise V2XumError(f"{source}: expected {what}, its files have no weights for {', '.join(missing[:3])}")
    log.info("%s: %s", source, kind.__name__)
    return model
