"""Where answers to learn from, and the tokenizer that writes them, come from."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from ...core.errors import V2XumError
from ...core.timeline import Timeline

TOKENIZER_NEEDED = (
    "the folder of the checkpoint that writes the answers, or any LLaMA-type tokenizer.model (one comes with Vicuna, "
    "LLaVA-1.5 and every LLaMA 1 and 2)"
)
_TOKENIZER_FILES = ("tokenizer.model", "tokenizer.json")
_MODEL_ALONE = {
    "tokenizer_class": "LlamaTokenizer", "legacy": True, "add_bos_token": True, "add_eos_token": False,
    "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<unk>",
}  # fmt: skip


def load_tokenizer(path: Path):
    """A LLaMA tokenizer from a checkpoint's folder, or from a sentencepiece model alone.

    Raises:
        FileNotFoundError: if there is neither, saying what would do.
        V2XumError: if it cannot be read.
    """
    from ...features.upstream import LlamaTokenizer

    if not path.exists() or (path.is_dir() and not any((path / name).exists() for name in _TOKENIZER_FILES)):
        raise FileNotFoundError(f"{path}: no tokenizer there; expected {TOKENIZER_NEEDED}")
    with tempfile.TemporaryDirectory() as folder:
        if path.is_file():
            (Path(folder) / "tokenizer.model").write_bytes(path.read_bytes())
            (Path(folder) / "tokenizer_config.json").write_text(json.dumps(_MODEL_ALONE))
        try:
            return LlamaTokenizer.from_pretrained(folder if path.is_file() else path)
        except Exception as error:  # sentencepiece and tokenizers raise types of their own, some bare
            raise V2XumError(f"{path}: its tokenizer cannot be read ({error})") from error


def timeline_of(path: Path) -> Timeline:
    """The timeline in a checkpoint's config, or the default one where there is no config or none in it."""
    from ...features.checkpoint_files import read_json_object  # here, because it loads torch

    file = path / "config.json"
    return Timeline.of_fields(read_json_object(file) if file.is_file() else {})


def read_answers(path: Path, timeline: Timeline) -> list[str]:
    """The answers of a file.

    Args:
        path: lines of objects with an "answer" (`summaries.jsonl` of `llava_v2xum.infer`), or instruction JSON, a list
            of entries with conversations.
        timeline: that turns the seconds of such entries into indexes.

    Raises:
        V2XumError: naming the line or the entry that is neither.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise V2XumError(f"{path}: expected answers in UTF-8 ({error})") from error
    if text.lstrip().startswith("["):
        return _instruction_answers(path, text, timeline)
    answers = []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            answers.append(str(json.loads(line)["answer"]))
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            found = f"got {line[:80]!r}"
            raise V2XumError(f'{path}, line {number}: expected an object with an "answer", {found}') from error
    return answers


def token_ids(tokenizer, answer: str) -> list[int]:
    """An answer as a model writes it: its ids, and the end of sequence."""
    return [*tokenizer(answer, add_special_tokens=False).input_ids, tokenizer.eos_token_id]


def _instruction_answers(path: Path, text: str, timeline: Timeline) -> list[str]:
    from ...data.entries import with_frame_indexes

    try:
        entries = json.loads(text)
    except json.JSONDecodeError as error:
        raise V2XumError(f"{path}: expected instruction JSON, got {error}") from error
    answers = []
    for place, entry in enumerate(entries):
        try:
            turns = with_frame_indexes(entry, timeline)
            answers += [turn["value"] for turn in turns if turn["from"] == "gpt"]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise V2XumError(f"{path}, entry {place}: {error!r}") from error
    return answers
