"""Instruction JSON -> ids, labels and batches: labels cover exactly the answers, and errors name the entry."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import weights
from llava.constants import IGNORE_INDEX, IMAGE_TOKEN_INDEX
from transformers import AutoTokenizer

from llava_v2xum.dataset import (
    VideoCollator,
    VideoDataset,
    as_inference_asks,
    build_input_ids,
    read_entries,
    tokenize_conversation,
    with_frame_indexes,
)
from llava_v2xum.features import FeatureFolder
from llava_v2xum.tasks import INSTRUCTIONS, query_for
from llava_v2xum.timeline import Timeline

CHANNELS, FRAMES = 24, 10
DESCRIPTION = {"tower": "tiny"}


def human(value: str) -> dict:
    return {"from": "human", "value": value}


def gpt(value: str) -> dict:
    return {"from": "gpt", "value": value}


def an_entry(**changes) -> dict:
    entry = {
        "id": "v_1",
        "meta": {"duration": 20.0, "token": {"<f0>": 0.0, "<f1>": 9.2, "<f2>": 20.0}},
        "conversations": [
            human("<video>\n" + INSTRUCTIONS["both"]),
            gpt("\n[<f0>]A woman brushes her hair.\n[<f1>][<f2>]A man runs."),
        ],
    }
    return {**entry, **changes}


@pytest.fixture
def folder(tmp_path):
    features = FeatureFolder(tmp_path / "features", DESCRIPTION)
    for name in ("v_1", "v_2"):
        features.save(name, weights.numbers(FRAMES, CHANNELS, name=name).numpy())
    return features


def dataset_of(entries, folder, tmp_path, **settings) -> VideoDataset:
    file = tmp_path / "instruct.json"
    file.write_text(json.dumps(entries))
    tokenizer = settings.pop("tokenizer", weights.tokenizer())
    return VideoDataset([str(file)], tokenizer, folder, Timeline(FRAMES), (FRAMES, CHANNELS), 5, **settings)


# --- frames ----------------------------------------------------------------------------------------------------


def test_frames_become_the_indexes_of_their_seconds():
    turns = with_frame_indexes(an_entry(), Timeline(100))
    assert turns[1]["value"] == "\n[00]A woman brushes her hair.\n[46][99]A man runs."  # round(9.2 / 20 * 100) = 46
    assert with_frame_indexes(an_entry(), Timeline(10))[1]["value"].startswith("\n[00]A")
    assert "[05][09]A man" in with_frame_indexes(an_entry(), Timeline(10))[1]["value"]


def test_the_entry_itself_is_not_changed():
    entry = an_entry()
    with_frame_indexes(entry, Timeline())
    assert entry == an_entry()


def test_an_entry_without_meta_is_taken_as_it_is():
    entry = {"id": "x", "conversations": [human("<video>\nhi"), gpt("[03]A box.")]}
    assert with_frame_indexes(entry, Timeline()) == entry["conversations"]


@pytest.mark.parametrize(
    ("meta", "said"),
    [
        ({"duration": 20.0, "token": {"<f0>": 0.0}}, "entry v_1: <f1> has no second"),
        ({"duration": 20.0, "token": {"<f0>": 21.0}}, "entry v_1: <f0>: second must lie in 0..20.0 .* got 21.0"),
        ({"duration": 0, "token": {"<f0>": 0.0}}, "entry v_1: <f0>: duration_seconds must be positive, got 0"),
    ],
)
def test_bad_seconds_name_the_entry(meta, said):
    with pytest.raises(ValueError, match=said):
        with_frame_indexes(an_entry(meta=meta), Timeline())


@pytest.mark.parametrize(
    ("value", "asked"),
    [
        ("<video>\nPlease go.", "<video>\n Please go."),
        ("<video>\n Please go.", "<video>\n Please go."),
        ("Please go.\n<video>", "<video>\n Please go."),
        ("And then?", "And then?"),
        ("<video> or <video>?", "<video> or <video>?"),
    ],
)
def test_questions_take_the_form_of_inference(value, asked):
    assert as_inference_asks(value) == asked


# --- labels ----------------------------------------------------------------------------------------------------


def answers_of(input_ids, labels, tokenizer) -> list[str]:
    """The runs of labels, as text."""
    assert torch.equal(labels[labels != IGNORE_INDEX], input_ids[labels != IGNORE_INDEX])
    runs: list[list[int]] = [[]]
    for label in labels.tolist():
        if label != IGNORE_INDEX:
            runs[-1].append(label)
        elif runs[-1]:
            runs.append([])
    return [tokenizer.decode(run) for run in runs if run]


def test_labels_cover_exactly_the_answer(tokenizer):
    turns = [human("<video>\n" + INSTRUCTIONS["both"]), gpt("A woman brushes her hair [42, 43].")]
    input_ids, labels = tokenize_conversation(turns, tokenizer)
    asked = build_input_ids(tokenizer, query_for("both"))
    assert torch.equal(input_ids[: len(asked)], asked)  # trained on the very ids that inference asks with
    assert (labels[: len(asked)] == IGNORE_INDEX).all()
    assert torch.equal(labels[len(asked) :], input_ids[len(asked) :])
    assert answers_of(input_ids, labels, tokenizer) == ["A woman brushes her hair [42, 43].</s>"]
    assert labels[-1] == tokenizer.eos_token_id


def test_labels_of_several_turns(tokenizer):
    turns = [
        human("<video>\n" + INSTRUCTIONS["video"]), gpt("[12, 13, 14]."),
        human("And <video> then?"), gpt("\n[05]A hand holds a box."),
        human("Please."), gpt("A man."),
    ]  # fmt: skip
    input_ids, labels = tokenize_conversation(turns, tokenizer)
    found = [answer.strip() for answer in answers_of(input_ids, labels, tokenizer)]
    assert found == ["[12, 13, 14].</s>", "[05]A hand holds a box.</s>", "A man.</s>"]
    assert (input_ids == IMAGE_TOKEN_INDEX).sum() == 2
    assert (labels[input_ids == IMAGE_TOKEN_INDEX] == IGNORE_INDEX).all()


@pytest.mark.parametrize(
    ("turns", "said"),
    [
        ([gpt("A box.")], "turn 0: expected one from 'human', got one from 'gpt'"),
        ([human("hi"), human("hi")], "turn 1: expected one from 'gpt', got one from 'human'"),
        ([human("hi"), {"from": "system", "value": ""}], "turn 1: .* got one from 'system'"),
    ],
)
def test_turns_must_alternate(turns, said):
    with pytest.raises(ValueError, match=said):
        tokenize_conversation(turns, weights.tokenizer())


# --- data set and collator -------------------------------------------------------------------------------------


def test_a_sample(folder, tmp_path):
    dataset = dataset_of([an_entry()], folder, tmp_path)
    sample = dataset[0]
    assert len(dataset) == 1 and set(sample) == {"input_ids", "labels", "video", "video_indices"}
    stored = weights.numbers(FRAMES, CHANNELS, name="v_1").numpy().astype(np.float16)
    assert np.array_equal(sample["video"].numpy(), stored)
    assert sample["video_indices"].tolist() == list(range(FRAMES))
    assert "[05][09]A man runs." in answers_of(sample["input_ids"], sample["labels"], weights.tokenizer())[0]


def test_some_of_the_frames_keep_their_indexes(folder, tmp_path):
    sample = dataset_of([an_entry(frame_indices=[3, 4, 6])], folder, tmp_path)[0]
    assert sample["video_indices"].tolist() == [3, 4, 6]
    stored = weights.numbers(FRAMES, CHANNELS, name="v_1").half()[[3, 4, 6]]
    assert torch.equal(sample["video"], stored)


@pytest.mark.parametrize("indices", [[], [3, 3], [7, 3], [-2, 4], [3, 10]])
def test_bad_indexes_of_frames_name_the_entry(folder, tmp_path, indices):
    with pytest.raises(ValueError, match=r"entry v_1: frame_indices must be ascending indexes from 0 to 9"):
        dataset_of([an_entry(frame_indices=indices)], folder, tmp_path)[0]


def test_text_entries_bring_no_video(folder, tmp_path):
    entry = {"id": "t", "conversations": [human("Please."), gpt("A man.")]}
    assert set(dataset_of([entry], folder, tmp_path)[0]) == {"input_ids", "labels"}


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (an_entry(id="v_9"), "entry v_9: no features in "),
        (an_entry(conversations=[human("<video>\nhi")]), "entry v_1: no answer to learn from"),
        (an_entry(conversations=[gpt("hi")]), "entry v_1: turn 0: expected one from 'human'"),
        (
            an_entry(conversations=[human("<video> <video>"), gpt("hi")]),
            "entry v_1: expected at most one <video>, got 2",
        ),
        (an_entry(conversations=[human("hi"), gpt("A man. " * 400)]), "entry v_1: its [0-9]+ tokens of text"),
    ],
)
def test_errors_name_the_entry(folder, tmp_path, entry, said):
    tokenizer = AutoTokenizer.from_pretrained(weights.sources()[0], use_fast=False, model_max_length=1000)
    with pytest.raises(ValueError, match=said):
        dataset_of([entry], folder, tmp_path, tokenizer=tokenizer)[0]


def test_stored_features_of_another_shape(folder, tmp_path):
    folder.save("v_1", np.zeros((FRAMES, 7), dtype=np.float16))
    with pytest.raises(ValueError, match=r"v_1.npy: expected features of shape \[10, 24\], got \[10, 7\]"):
        dataset_of([an_entry()], folder, tmp_path)[0]


@pytest.mark.parametrize("content", ["[]", "{}"])
def test_a_file_without_entries(folder, tmp_path, content):
    file = tmp_path / "bad.json"
    file.write_text(content)
    with pytest.raises(ValueError, match=r"bad\.json: expected a non-empty JSON list"):
        VideoDataset([str(file)], weights.tokenizer(), folder, Timeline(FRAMES), (FRAMES, CHANNELS), 5)


def test_the_collator_pads_on_the_right(folder, tmp_path):
    text = {"id": "t", "conversations": [human("Please."), gpt("A man.")]}
    dataset = dataset_of([an_entry(), text, an_entry(id="v_2", frame_indices=[2, 3])], folder, tmp_path)
    samples = [dataset[position] for position in range(3)]
    batch = VideoCollator(weights.tokenizer())(samples)
    longest = max(len(sample["input_ids"]) for sample in samples)
    for row, sample in enumerate(samples):
        length = len(sample["input_ids"])
        assert batch["attention_mask"][row].tolist() == [1] * length + [0] * (longest - length)
        assert torch.equal(batch["input_ids"][row, :length], sample["input_ids"])
        assert (batch["input_ids"][row, length:] == weights.tokenizer().pad_token_id).all()
        assert torch.equal(batch["labels"][row, :length], sample["labels"])
        assert (batch["labels"][row, length:] == IGNORE_INDEX).all()
    assert [len(video) for video in batch["videos"]] == [FRAMES, 2]
    assert [indices.tolist() for indices in batch["video_indices"]] == [list(range(FRAMES)), [2, 3]]


def test_a_batch_of_text_alone_has_no_videos(folder, tmp_path):
    dataset = dataset_of([{"id": "t", "conversations": [human("Hi."), gpt("A man.")]}], folder, tmp_path)
    assert set(VideoCollator(weights.tokenizer())([dataset[0]])) == {"input_ids", "labels", "attention_mask"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[{", r"bad\.json: expected JSON"),
        ('[{"conversations": []}]', r"bad\.json: entry 0: .* wrong or missing: 'id'"),
        ('[{"id": "a", "conversations": [{"from": "human"}]}]', "entry 0: .* wrong or missing: 'value'"),
        ('[{"id": "a", "conversations": [], "meta": {"token": {"<f0>": 1}}}]', "wrong or missing: 'duration'"),
    ],
)
def test_broken_instruction_json_is_named(tmp_path, content, said):
    file = tmp_path / "bad.json"
    file.write_text(content)
    with pytest.raises(ValueError, match=said):
        read_entries(str(file))
