"""Instruction JSON -> token ids and labels -> batches, for LLaVA's trainer.

Shapes: B batch, S text positions, T frames of one video, C feature width.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from llava.constants import DEFAULT_IMAGE_TOKEN, IGNORE_INDEX, IMAGE_TOKEN_INDEX
from llava.conversation import Conversation, conv_templates
from llava.mm_utils import tokenizer_image_token
from torch import LongTensor, Tensor
from torch.utils.data import Dataset

from .compat import mend_tokenizer
from .features import FeatureFolder
from .tasks import VIDEO_TOKEN
from .timeline import Timeline

_FRAME_TOKEN = re.compile(r"<f\d+>")


def _token_ids(prompt: str, tokenizer) -> LongTensor:
    """LLaVA's tokenization around placeholders, with `<video>` as one of them."""
    mend_tokenizer(tokenizer)
    return tokenizer_image_token(
        prompt.replace(VIDEO_TOKEN, DEFAULT_IMAGE_TOKEN), tokenizer, IMAGE_TOKEN_INDEX, return_tensors="pt"
    )


def _template(name: str) -> Conversation:
    if name not in conv_templates:
        raise ValueError(f"conversation must be one of {', '.join(sorted(conv_templates))}, got {name!r}")
    return conv_templates[name].copy()


def build_input_ids(tokenizer, query: str, conversation: str = "v1") -> LongTensor:
    """The decoder's input for one human turn, up to and with `ASSISTANT:`.

    Args:
        query: the whole human turn with its `<video>` (`tasks.query_for`).
        conversation: a name in LLaVA's `conv_templates`.

    Returns:
        int64 [S], with -200 where the video stands; as the released code's for the released form of the query.

    Raises:
        ValueError: if LLaVA has no conversation of that name.
    """
    template = _template(conversation)
    template.append_message(template.roles[0], query)
    template.append_message(template.roles[1], None)
    return _token_ids(template.get_prompt(), tokenizer)


def with_frame_indexes(entry: dict, timeline: Timeline) -> list[dict]:
    """The entry's conversation with each `<fK>` replaced by the index of its second.

    Args:
        entry: an entry of Instruct-V2Xum's JSON; one without `meta` is taken as it is.

    Raises:
        ValueError: naming the entry, if a `<fK>` has no second or the second lies outside the video.
    """
    meta = entry.get("meta", {})
    citations = {}
    for token, second in meta.get("token", {}).items():
        try:
            citations[token] = timeline.cite(timeline.index_at(second, meta["duration"]))
        except ValueError as error:
            raise ValueError(f"entry {entry['id']}: {token}: {error}") from error

    def cite(match: re.Match) -> str:
        if match.group() not in citations:
            raise ValueError(f"entry {entry['id']}: {match.group()} has no second in meta.token")
        return citations[match.group()]

    return [dict(turn, value=_FRAME_TOKEN.sub(cite, turn["value"])) for turn in entry["conversations"]]


def as_inference_asks(value: str) -> str:
    """A human turn in the form that inference writes: `<video>`, line break, blank, instruction.

    Instruct-V2Xum's data has no blank there; trained as it stands, a model would be asked in other ids than it
    learnt from.
    """
    if value.count(VIDEO_TOKEN) != 1:
        return value
    return f"{VIDEO_TOKEN}\n {value.replace(VIDEO_TOKEN, '').strip()}"


def tokenize_conversation(turns: Sequence[dict], tokenizer, conversation: str = "v1") -> tuple[LongTensor, LongTensor]:
    """A conversation of one or more rounds -> ids and labels.

    Every answer is found by the length of the ids before it, whatever the tokenizer's legacy flag: LLaVA's
    `preprocess_v1` counts rounds apart, and with one such setting masks every label of several rounds.

    Args:
        turns: `{"from": "human" | "gpt", "value": ...}`, in turn, human first.

    Returns:
        input_ids and labels, int64 [S] each; labels are -100 but for the answers with their end of sequence.

    Raises:
        ValueError: if the turns do not alternate, or the tokenizer joins an answer with what stands before it.
    """
    template = _template(conversation)
    roles = {"human": template.roles[0], "gpt": template.roles[1]}
    answers = []
    for position, turn in enumerate(turns):
        expected = ("human", "gpt")[position % 2]
        if turn["from"] != expected:
            raise ValueError(f"turn {position}: expected one from {expected!r}, got one from {turn['from']!r}")
        if expected == "gpt":
            template.append_message(roles["gpt"], None)
            before = _token_ids(template.get_prompt(), tokenizer)
            template.messages[-1][1] = turn["value"]
            after = _token_ids(template.get_prompt(), tokenizer)
            if not torch.equal(after[: len(before)], before):
                raise ValueError(f"turn {position}: the tokenizer joins the answer with what stands before it")
            answers.append((len(before), len(after)))
        else:
            template.append_message(roles["human"], as_inference_asks(turn["value"]))
    input_ids = _token_ids(template.get_prompt(), tokenizer)
    labels = torch.full_like(input_ids, IGNORE_INDEX)
    for start, stop in answers:
        labels[start:stop] = input_ids[start:stop]
    return input_ids, labels


def read_entries(data_path: str) -> list[dict]:
    """The entries of an instruction JSON, each with the keys that are read later.

    Raises:
        ValueError: naming the file and the entry's place, for what is no such entry.
    """
    try:
        entries = json.loads(Path(data_path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{data_path}: expected JSON ({error})") from error
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"{data_path}: expected a non-empty JSON list of entries")
    for place, entry in enumerate(entries):
        try:
            entry["id"]
            for turn in entry["conversations"]:
                turn["from"], turn["value"]
            if entry.get("meta", {}).get("token"):
                entry["meta"]["duration"]
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{data_path}: entry {place}: expected id, conversations of from and value, and with meta.token its "
                f"duration; wrong or missing: {error}"
            ) from error
    return entries


class VideoDataset(Dataset):
    """Instruction JSON over stored frame features.

    Args:
        data_path: files, each a JSON list in Instruct-V2Xum's form. An entry may have `frame_indices`, ascending
            indexes of the timeline: then only those frames of its video are shown, each under its own temporal prompt.
        folder: the features, by the entries' ids.
        feature_shape: of a whole video's features (`LlavaV2XumConfig.feature_shape`).
        frame_positions: k + m, the positions that one frame takes.

    Raises:
        ValueError: naming the entry, for one that cannot be learnt from.
    """

    def __init__(
        self,
        data_path: Sequence[str],
        tokenizer,
        folder: FeatureFolder,
        timeline: Timeline,
        feature_shape: tuple[int, ...],
        frame_positions: int,
        conversation: str = "v1",
    ) -> None:
        self.entries = [entry for path in data_path for entry in read_entries(path)]
        self.tokenizer = tokenizer
        self.folder = folder
        self.timeline = timeline
        self.feature_shape = feature_shape
        self.conversation = conversation
        self.frame_positions = frame_positions

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def lengths(self) -> list[int]:
        """Rough lengths in words and frame positions, for LLaVA's length-grouped sampler."""
        return [
            sum(len(turn["value"].split()) for turn in entry["conversations"])
            + self.frame_positions * len(self._indices_of(entry))
            for entry in self.entries
        ]

    modality_lengths = lengths

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        entry = self.entries[position]
        turns = with_frame_indexes(entry, self.timeline)
        try:
            input_ids, labels = tokenize_conversation(turns, self.tokenizer, self.conversation)
        except ValueError as error:
            raise ValueError(f"entry {entry['id']}: {error}") from error
        sample = {"input_ids": input_ids, "labels": labels}
        places = int((input_ids == IMAGE_TOKEN_INDEX).sum())
        if places > 1:
            raise ValueError(f"entry {entry['id']}: expected at most one {VIDEO_TOKEN}, got {places}")
        if places:
            sample["video"], sample["video_indices"] = self._frames_of(entry)
        self._check(entry, sample)
        return sample

    def _indices_of(self, entry: dict) -> list[int]:
        """The indexes of the frames that the entry shows: all N unless it says otherwise."""
        indices = entry.get("frame_indices")
        if indices is None:
            return list(range(self.timeline.num_frames))
        last = self.timeline.num_frames - 1
        if not indices or indices != sorted(set(indices)) or indices[0] < 0 or indices[-1] > last:
            raise ValueError(
                f"entry {entry['id']}: frame_indices must be ascending indexes from 0 to {last}, got {indices}"
            )
        return indices

    def _frames_of(self, entry: dict) -> tuple[Tensor, Tensor]:
        indices = self._indices_of(entry)
        features = self.folder.load(entry["id"], self.feature_shape)
        if features is None:
            raise ValueError(f"entry {entry['id']}: no features in {self.folder.path}")
        return torch.from_numpy(features[indices]), torch.tensor(indices)

    def _check(self, entry: dict, sample: dict[str, Tensor]) -> None:
        if (sample["labels"] == IGNORE_INDEX).all():
            raise ValueError(f"entry {entry['id']}: no answer to learn from")
        text, frames = len(sample["input_ids"]), len(sample.get("video", ()))
        length, longest = text + max(frames * self.frame_positions - 1, 0), self.tokenizer.model_max_length
        if length > longest:  # LLaVA would cut the end of the answer without a word
            raise ValueError(
                f"entry {entry['id']}: its {text} tokens of text and {frames} frames take {length} positions, "
                f"model_max_length is {longest}"
            )


class VideoCollator:
    """Pads samples on the right into a batch.

    Returns:
        input_ids, labels [B, S], attention_mask [B, S], and lists videos and video_indices, one for each video.
    """

    def __init__(self, tokenizer) -> None:
        self.pad_token_id = tokenizer.pad_token_id

    def __call__(self, samples: Sequence[dict[str, Tensor]]) -> dict:
        def pad(rows: list[Tensor], value: int) -> Tensor:
            return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value)

        batch = {
            "input_ids": pad([sample["input_ids"] for sample in samples], self.pad_token_id),
            "labels": pad([sample["labels"] for sample in samples], IGNORE_INDEX),
            "attention_mask": pad([torch.ones_like(sample["input_ids"]) for sample in samples], 0),
        }
        watched = [sample for sample in samples if "video" in sample]
        if watched:
            batch["videos"] = [sample["video"] for sample in watched]
            batch["video_indices"] = [sample["video_indices"] for sample in watched]
        return batch
