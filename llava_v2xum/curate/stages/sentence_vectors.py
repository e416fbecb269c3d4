"""How alike captions are: by their words (TF-IDF), or by a text encoder of the user's.

Shapes: M texts, L tokens, D width of the encoder.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...core.endpoint.outcomes import Stop
from ...core.extras import require
from ...evaluate.models.bertscores import SHAPES, SHAPES_FOLDER
from .loaded import LoadedOnce, model_identity

BATCH_SIZE = 32  # texts in one pass; our choice
_RESERVED_POSITIONS = 2  # RoBERTa's positions begin behind its padding id
# Thai and Lao, Burmese, Khmer, kana, Chinese characters: written without blanks between words.
_UNSPACED = re.compile("([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff]+)")


class _WordCharacters(dict):
    """For `str.translate`: letters, digits and the marks that belong to them stay, anything else is a blank.

    scikit-learn's own pattern loses words of one character and cuts words of Arabic or Hindi at their vowel marks.
    """

    def __missing__(self, code: int) -> int:
        self[code] = code if unicodedata.category(chr(code))[0] in "LMN" else ord(" ")
        return self[code]


_WORD_CHARACTERS = _WordCharacters()


def words(text: str) -> list[str]:
    """The words of a text, without case; runs of a script that has no blanks give each pair of neighbours in them.

    Pairs of characters are what Lucene's CJK analyzer takes for words. A text without a word (`!?`) gives its
    characters, and a blank one "", so that every text has something to be compared by.
    """
    found = []
    for run in unicodedata.normalize("NFKC", text).casefold().translate(_WORD_CHARACTERS).split():
        for piece in filter(None, _UNSPACED.split(run)):
            pairs = len(piece) > 1 and _UNSPACED.match(piece)
            found += [piece[start : start + 2] for start in range(len(piece) - 1)] if pairs else [piece]
    return found or list("".join(text.split())) or [""]


def likeness_of_words(texts: Sequence[str], times: Sequence[int]) -> np.ndarray:
    """Cosines of the texts' TF-IDF vectors, float64 [M, M].

    Args:
        texts: [M] different ones.
        times: [M] how often each of them stands in the document that the weights of words are from.

    Raises:
        MissingExtra: if scikit-learn is not installed.
    """
    vectorizer = require("sklearn.feature_extraction.text", "curate").TfidfVectorizer(analyzer=words)
    vectorizer.fit([text for text, often in zip(texts, times) for _ in range(often)])
    vectors = vectorizer.transform(texts)
    return (vectors @ vectors.T).toarray()  # sparse: in one order, so the same on every machine


class SentenceEncoder(LoadedOnce):
    """Texts -> unit vectors: the mean over the tokens of an encoder's last layer.

    Args:
        model: a name at Hugging Face or a folder, with its tokenizer; "shapes" is the encoder of the rendered world.
        device: None for CUDA where there is one, else the CPU.
    """

    def __init__(self, model: str, device: str | None = None) -> None:
        super().__init__()
        self.name, self.device = model, device
        self._place = str(SHAPES_FOLDER) if model == SHAPES else model

    def identity(self) -> str:
        """As `loaded.model_identity`."""
        return model_identity(self._place)

    def load(self) -> tuple[Any, Any]:
        import torch

        from ...features.upstream import AutoModel, AutoTokenizer

        try:
            tokenizer, model = AutoTokenizer.from_pretrained(self._place), AutoModel.from_pretrained(self._place)
        except (OSError, ValueError) as error:
            raise Stop(
                f"the encoder {self.name!r} of --extract-encoder cannot be loaded: give a folder that has it, or "
                f"leave the option out to compare captions by their words ({str(error).splitlines()[0]})"
            ) from error
        positions = getattr(model.config, "max_position_embeddings", None)
        if positions is not None:
            tokenizer.model_max_length = min(tokenizer.model_max_length, positions - _RESERVED_POSITIONS)
        return tokenizer, model.to(self.device or ("cuda" if torch.cuda.is_available() else "cpu")).float().eval()

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        """Texts [M] -> unit vectors, float64 [M, D]; a text is cut at the encoder's length.

        Raises:
            Stop: if the encoder cannot be loaded.
        """
        import torch

        rows = []
        with self.model() as (tokenizer, model), torch.no_grad():
            for start in range(0, len(texts), BATCH_SIZE):
                tokens = tokenizer(
                    list(texts[start : start + BATCH_SIZE]), padding=True, truncation=True, return_tensors="pt"
                ).to(model.device)
                states = model(**tokens).last_hidden_state.double()  # [M, L, D]
                mask = tokens["attention_mask"].double()[..., None]
                rows.append(((states * mask).sum(1) / mask.sum(1)).cpu().numpy())
        found = np.concatenate(rows)
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)

    def likeness(self, texts: Sequence[str]) -> np.ndarray:
        """Cosines of the texts' vectors, float64 [M, M]."""
        vectors = self.vectors(texts)
        return vectors @ vectors.T
