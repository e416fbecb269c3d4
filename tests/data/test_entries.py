"""Instruction JSON is checked before training: every bad entry is named, counted and left out, none is replaced."""

from __future__ import annotations

import json
import logging
from collections import Counter
from dataclasses import replace

import pytest
import weights
from instruct import (
    FRAMES,
    a_text_entry,
    an_entry,
    checker_of,
    feature_folder,
    gpt,
    human,
    source_of,
    write_json,
)
from llava.constants import IGNORE_INDEX
from tail_rule import add_tail
from transformers import AutoTokenizer

from llava_v2xum.core.citations import BRACKETS
from llava_v2xum.core.timeline import Timeline
from llava_v2xum.data.damage import find_damaged
from llava_v2xum.data.entries import EntryError, with_frame_indexes
from llava_v2xum.data.mixing import load_entries, read_instructions, weigh
from llava_v2xum.features import FeatureFolder
from llava_v2xum.model.tokens import tokenize_conversation

pytestmark = pytest.mark.pinned

TWO_VIDEOS = [human("<video> or <video>?"), gpt("[05].")]


@pytest.fixture
def source(tmp_path):
    return source_of(feature_folder(tmp_path / "features", "v_1", "v_2"))


# --- frames of seconds -------------------------------------------------------------------------------------------


def test_frames_become_the_indexes_of_their_seconds():
    turns = with_frame_indexes(an_entry(), Timeline(100))
    assert turns[1]["value"] == "\n[00]A woman brushes her hair.\n[46][99]A man runs."  # round(9.2 / 20 * 100) = 46
    assert with_frame_indexes(an_entry(), Timeline(10))[1]["value"].startswith("\n[00]A")
    assert "[05][09]A man" in with_frame_indexes(an_entry(), Timeline(10))[1]["value"]


def test_frames_are_cited_in_the_brackets_of_the_timeline(monkeypatch):
    monkeypatch.setitem(BRACKETS, "(", ")")
    turns = with_frame_indexes(an_entry(), Timeline(100, "({:02d})"))
    assert turns[1]["value"] == "\n(00)A woman brushes her hair.\n(46)(99)A man runs."


def test_the_entry_itself_is_not_changed():
    entry = an_entry()
    with_frame_indexes(entry, Timeline())
    assert entry == an_entry()


def test_another_rule_of_sampling_gives_other_indexes_to_seconds_and_takes_its_own_alone(source, monkeypatch):
    tail = add_tail(monkeypatch)
    checker = replace(checker_of(source), timeline=Timeline(FRAMES, rule="tail"))
    assert checker.check(an_entry(videos=["v_2"])).turns[1]["value"].endswith("[00][09]A man runs.")
    assert set(tail.asked) == {"v_2"}
    assert checker.check(an_entry(num_frames=FRAMES, frame_sampling="tail")).videos == ("v_1",)
    with pytest.raises(EntryError, match="written for frame_sampling 'linspace', the model has 'tail'"):
        checker.check(an_entry(num_frames=FRAMES))  # as before rules had names


def test_an_entry_without_meta_is_taken_as_it_is():
    entry = {"id": "x", "conversations": [human("<video>\nhi"), gpt("[03]A box.")]}
    assert with_frame_indexes(entry, Timeline()) == entry["conversations"]


def test_a_rounding_error_is_not_past_the_end():
    meta = {"duration": 161.07999999999998, "token": {"<f0>": 0.0, "<f1>": 80.0, "<f2>": 161.08}}
    assert "[99]A man" in with_frame_indexes(an_entry(meta=meta), Timeline(100))[1]["value"]


def test_an_answer_that_cites_nothing_needs_no_seconds():
    entry = a_text_entry(meta={"duration": 20.0, "sampled_frames": 20, "token": None})
    assert with_frame_indexes(entry, Timeline()) == entry["conversations"]


# --- one entry ---------------------------------------------------------------------------------------------------


def test_a_good_entry(source):
    entry = checker_of(source).check(an_entry(num_frames=FRAMES))
    assert (entry.id, entry.videos, entry.frame_indices) == ("v_1", ("v_1",), (None,))
    assert entry.turns == with_frame_indexes(an_entry(), Timeline(FRAMES))


@pytest.mark.parametrize(
    ("entry", "videos", "shown", "frames"),
    [
        (a_text_entry(), (), (), 0),
        (an_entry(), ("v_1",), (None,), FRAMES),
        (an_entry(id=17, videos=["v_2"]), ("v_2",), (None,), FRAMES),
        (an_entry(frame_indices=[3, 4, 6]), ("v_1",), ((3, 4, 6),), 3),
        (an_entry(conversations=TWO_VIDEOS, videos=["v_1", "v_2"]), ("v_1", "v_2"), (None, None), 2 * FRAMES),
        (
            an_entry(conversations=TWO_VIDEOS, videos=["v_2", "v_2"], frame_indices=[[0, 9], None]),
            ("v_2", "v_2"),
            ((0, 9), None),
            2 + FRAMES,
        ),
    ],
    ids=["text", "video", "another id", "some frames", "two videos", "some frames of one of two"],
)
def test_videos_and_exact_lengths(source, entry, videos, shown, frames):
    """Positions: each placeholder gives way to its frames, each of them four tokens and a feature."""
    checked = checker_of(source).check(entry)
    assert (checked.videos, checked.frame_indices) == (videos, shown)
    input_ids, _ = tokenize_conversation(checked.turns, weights.tokenizer())
    assert checked.length == len(input_ids) - len(videos) + 5 * frames


REJECTED = {
    "no object": ("hi", "form", "expected an object with an id"),
    "no id": ({"conversations": []}, "form", "expected an object with an id"),
    "no conversations": ({"id": "v_1"}, "form", "expected conversations, a list of turns"),
    "no value": (an_entry(conversations=[{"from": "human"}]), "form", "expected conversations, a list of turns"),
    "image without a folder": (
        an_entry(image="a.jpg", conversations=[human("<image>\nhi"), gpt("A.")]),
        "missing image",
        "no --image_folder came for 'a.jpg'",
    ),
    "image not named": (
        a_text_entry(conversations=[human("<image>\nhi"), gpt("A.")]), "image", "for one <image>, got None for 1",
    ),
    "image without a place": (a_text_entry(image="a.jpg"), "image", "for one <image>, got 'a.jpg' for 0"),
    "several images": (
        a_text_entry(image=["a.jpg", "b.jpg"], conversations=[human("<image><image>"), gpt("A.")]),
        "image",
        "got ['a.jpg', 'b.jpg'] for 2",
    ),
    "image and video": (
        an_entry(image="a.jpg", conversations=[human("<image>\nhi"), gpt("A."), human("<video>"), gpt("A.")]),
        "image",
        "expected an image or a video, got <image> and <video>",
    ),
    "other N": (an_entry(num_frames=100), "num_frames", "written for num_frames 100, the model has 10"),
    "other rule": (
        an_entry(num_frames=10, frame_sampling="tail"),
        "frame_sampling",
        "written for frame_sampling 'tail', the model has 'linspace'",
    ),
    "no such second": (
        an_entry(meta={"duration": 20.0, "token": {"<f0>": 0.0}}), "timestamps", "<f1> has no second in meta.token",
    ),
    "past the end": (
        an_entry(meta={"duration": 20.0, "token": {"<f0>": 21.0}}),
        "timestamps",
        "<f0>: second must lie in 0..20.0 (the duration), got 21.0",
    ),
    "no length": (
        an_entry(meta={"duration": 0, "token": {"<f0>": 0.0}}), "timestamps", "<f0>: duration_seconds must be positive",
    ),
    "no duration": (an_entry(meta={"token": {"<f0>": 0.0}}), "timestamps", "finite numbers, got None"),
    "second in words": (
        an_entry(meta={"duration": 20.0, "token": {"<f0>": "zero"}}), "timestamps", "finite numbers, got 'zero'",
    ),
    "meta of another form": (an_entry(meta={"token": [0.0]}), "timestamps", "expected meta with token"),
    "blank answer": (an_entry(conversations=[human("<video>\nhi"), gpt(" \n ")]), "conversation", "answer is empty"),
    "stop token": (
        a_text_entry(conversations=[human("hi"), gpt("A man runs [05]. </s> He sits.")]),
        "conversation",
        "turn 1: the text holds </s>, which would be read as a special token",
    ),
    "stop token at the end": (a_text_entry(conversations=[human("hi"), gpt("A.</s>")]), "conversation", "holds </s>"),
    "stop token in a question": (
        an_entry(conversations=[human("<video>\nhi</s>"), gpt("A.")]), "conversation", "turn 0: the text holds </s>",
    ),
    "unknown token": (a_text_entry(conversations=[human("hi"), gpt("<unk> A.")]), "conversation", "holds <unk>"),
    "image marks": (a_text_entry(conversations=[human("<im_start>"), gpt("A.")]), "conversation", "holds <im_start>"),
    "no answer": (an_entry(conversations=[human("<video>\nhi")]), "conversation", "no answer to learn from"),
    "out of turn": (an_entry(conversations=[gpt("hi")]), "conversation", "turn 0: expected one from 'human'"),
    "no features": (an_entry(id="v_9"), "missing video", "no features of 'v_9' in "),
    "no features of one": (
        an_entry(conversations=TWO_VIDEOS, videos=["v_1", "v_9"]), "missing video", "no features of 'v_9' in ",
    ),
    "videos not named": (an_entry(conversations=TWO_VIDEOS), "videos", "got 1 (key 'videos') for 2"),
    "videos too few": (an_entry(conversations=TWO_VIDEOS, videos=["v_1"]), "videos", "got 1 (key 'videos') for 2"),
    "videos of text": (a_text_entry(videos=["v_1"]), "videos", "got 1 (key 'videos') for 0"),
    "videos no list": (an_entry(videos="v_1"), "videos", "videos must be a list of ids, got 'v_1'"),
    "frames of text": (a_text_entry(frame_indices=[1]), "frame_indices", "are for 1 videos, the entry has 0"),
    "too long": (
        a_text_entry(conversations=[human("hi"), gpt("A man. " * 400)]), "too long", "and 0 frames take ",
    ),
    **{
        f"frames {indices}": (an_entry(frame_indices=indices), "frame_indices", "must be ascending indexes from 0 to 9")
        for indices in ([], [3, 3], [7, 3], [-2, 4], [3, 10], [0.5], ["1"], [True], 3, "1")
    },
}  # fmt: skip


@pytest.mark.parametrize("name", REJECTED)
def test_each_bad_entry_has_its_reason(source, tmp_path, caplog, name):
    entry, kind, reason = REJECTED[name]
    file = write_json(tmp_path / "instruct.json", [entry, a_text_entry(id="good")])
    with caplog.at_level(logging.WARNING):
        kept = load_entries([file], checker_of(source, max_length=1000), output_dir=tmp_path / "out")
    assert [entry.id for entry in kept] == ["good"]  # nothing in the place of the bad one
    (line,) = (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()
    found = json.loads(line)
    entry_id = entry.get("id") if isinstance(entry, dict) else None
    assert (found["file"], found["place"], found["id"], found["kind"]) == (file, 0, entry_id, kind)
    assert reason in found["reason"]
    assert f"left out: {file}: entry {entry_id or 0}: {found['reason']}" in caplog.messages
    with pytest.raises(EntryError):
        checker_of(source, max_length=1000).check(entry)


@pytest.mark.parametrize("conversation", ["v1", "v2xum", "vicuna_v1", "llava_llama_2"])
def test_a_template_ends_an_answer_where_a_text_must_not(source, conversation):
    """Whatever the template, its own end stays: one for each answer."""
    turns = [human("<video>\nhi"), gpt("A man runs [05]."), human("And then?"), gpt("He sits.")]
    checker = replace(checker_of(source), conversation=conversation)
    entry = checker.check(an_entry(conversations=turns, num_frames=FRAMES))
    _, labels = tokenize_conversation(entry.turns, weights.tokenizer(), conversation)
    assert (labels == weights.tokenizer().eos_token_id).sum() == 2
    for place in range(4):
        leaked = [{**turn, "value": turn["value"] + " </s> No."} if turn is turns[place] else turn for turn in turns]
        with pytest.raises(EntryError, match=f"turn {place}: the text holds </s>"):
            checker.check(an_entry(conversations=leaked, num_frames=FRAMES))
        with pytest.raises(ValueError, match=f"turn {place}: the text holds </s>"):
            tokenize_conversation(leaked, weights.tokenizer(), conversation)


def test_the_tokenizers_own_special_tokens_are_refused_and_role_words_are_not(source):
    tokenizer = AutoTokenizer.from_pretrained(weights.sources()[0], use_fast=False)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|end|>"]})
    tokenizer.add_tokens(["plainword"])
    said = a_text_entry(conversations=[human("hi"), gpt("He <|end|> sits.")])
    assert checker_of(source).check(said).id == "t"
    with pytest.raises(EntryError, match=r"turn 1: the text holds <\|end\|>"):
        checker_of(source, tokenizer).check(said)
    for text in ("ASSISTANT: a plainword USER: x", "an <f and a </b>"):
        assert checker_of(source, tokenizer).check(a_text_entry(conversations=[human("hi"), gpt(text)])).id == "t"


def test_a_sample_fits_to_the_last_position(source):
    length = checker_of(source).check(an_entry()).length
    assert checker_of(source, max_length=length).check(an_entry()).length == length
    with pytest.raises(EntryError, match=f"and 10 frames take {length} positions, expected at most {length - 1}"):
        checker_of(source, max_length=length - 1).check(an_entry())


# --- files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[{", r"bad\.json: expected JSON"),
        ("[]", r"bad\.json: expected a non-empty JSON list"),
        ("{}", r"bad\.json: expected a non-empty JSON list"),
    ],
)
def test_broken_files_are_named(tmp_path, content, said):
    (tmp_path / "bad.json").write_text(content)
    with pytest.raises(ValueError, match=said):
        read_instructions(tmp_path / "bad.json")


def test_a_missing_file_is_named(source, tmp_path):
    with pytest.raises(ValueError, match=r"--data_path: .*none\.json: cannot be read: No such file"):
        load_entries([str(tmp_path / "none.json")], checker_of(source))


def test_strict_stops_at_the_first(source, tmp_path):
    file = write_json(tmp_path / "a.json", [an_entry(), an_entry(id="v_8"), an_entry(id="v_9")])
    with pytest.raises(ValueError, match=r"a\.json: entry v_8: no features of 'v_8' in .* \(--strict\)"):
        load_entries([file], checker_of(source), strict=True, output_dir=tmp_path)


def test_nothing_left_is_an_error(source, tmp_path):
    file = write_json(tmp_path / "a.json", [an_entry(id="v_8"), an_entry(id="v_9")])
    with pytest.raises(ValueError, match=r"no entry is left to learn from: 2 are bad; the first: .*a\.json: entry v_8"):
        load_entries([file], checker_of(source), output_dir=tmp_path)
    assert len((tmp_path / "rejected.jsonl").read_text().splitlines()) == 2


def test_counts_by_kind_and_the_first_few(source, tmp_path, caplog):
    entries = [an_entry(id=f"x_{number}") for number in range(7)] + [an_entry(num_frames=3), an_entry()]
    with caplog.at_level(logging.INFO):
        load_entries([write_json(tmp_path / "a.json", entries)], checker_of(source), output_dir=tmp_path)
    assert sum(message.startswith("left out: ") for message in caplog.messages) == 5
    file = tmp_path / "rejected.jsonl"
    assert f"8 entries are left out (missing video: 7, num_frames: 1); all of them: {file}" in caplog.messages
    assert f"{tmp_path / 'a.json'}: 9 entries, 8 left out, 1 seen in an epoch" in caplog.messages
    assert len(file.read_text().splitlines()) == 8


def test_only_the_first_process_writes(source, tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    file = write_json(tmp_path / "a.json", [an_entry(), an_entry(id="v_9")])
    assert len(load_entries([file], checker_of(source), output_dir=tmp_path)) == 1
    assert not (tmp_path / "rejected.jsonl").exists()


def test_a_former_run_leaves_no_list_behind(source, tmp_path):
    (tmp_path / "rejected.jsonl").write_text("{}\n")
    load_entries([write_json(tmp_path / "a.json", [an_entry()])], checker_of(source), output_dir=tmp_path)
    assert not (tmp_path / "rejected.jsonl").exists()


# --- weights -----------------------------------------------------------------------------------------------------


def named(count: int) -> list[str]:
    return [f"e{number}" for number in range(count)]


@pytest.mark.parametrize(
    ("weight", "counts"), [(0, {}), (1, {1: 20}), (3, {3: 20}), (0.25, {1: 5}), (2.5, {2: 10, 3: 10})]
)
def test_weights_repeat_and_sample(weight, counts):
    seen = Counter(weigh(named(20), weight, seed=7))
    assert Counter(seen.values()) == counts


def test_the_sample_is_the_seeds():
    assert weigh(named(100), 0.5, seed=7) == weigh(named(100), 0.5, seed=7)
    assert weigh(named(100), 0.5, seed=7) != weigh(named(100), 0.5, seed=8)
    assert weigh(named(100), 0.5, seed=7) != named(100)[:50]


def test_files_are_mixed_by_their_weights(source, tmp_path):
    def texts(name: str) -> str:
        return write_json(tmp_path / f"{name}.json", [a_text_entry(id=f"{name}{number}") for number in range(8)])

    files = [texts("a"), texts("b"), texts("c")]
    mixed = [entry.id for entry in load_entries(files, checker_of(source), [1, 0.5, 2], seed=3)]
    assert Counter(name[0] for name in mixed) == {"a": 8, "b": 4, "c": 16}
    assert mixed == [entry.id for entry in load_entries(files, checker_of(source), [1, 0.5, 2], seed=3)]
    halves = [entry.id[1:] for entry in load_entries(files, checker_of(source), [0.5, 0.5, 0.5], seed=3)]
    assert len({tuple(halves[start : start + 4]) for start in (0, 4, 8)}) > 1  # each file has a draw of its own


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([1.0], "expected one for each of 2 files, got 1"),
        ([1.0, -1.0], "got -1.0 for "),
        ([float("nan"), 1], "got nan"),
    ],
)
def test_weights_that_do_not_fit(source, tmp_path, given, said):
    file = write_json(tmp_path / "a.json", [a_text_entry()])
    with pytest.raises(ValueError, match=f"--data_weights: .*{said}"):
        load_entries([file, file], checker_of(source), given)


def test_every_kept_entry_has_something_to_learn(source, tmp_path):
    entries = [an_entry(conversations=[human("Please."), gpt(answer)]) for answer in ("x", " ", "", "[05]")]
    kept = load_entries([write_json(tmp_path / "a.json", entries)], checker_of(source))
    assert len(kept) == 2
    for entry in kept:
        _, labels = tokenize_conversation(entry.turns, weights.tokenizer())
        assert (labels != IGNORE_INDEX).any()


# --- damaged videos ----------------------------------------------------------------------------------------------


def test_damaged_features_are_found_before_the_run(tmp_path):
    import numpy as np

    names = ["whole", "empty", "short", "nan", "hidden", "wide", "words"]
    folder = feature_folder(tmp_path / "features", *names)
    file = {name: folder.path / f"{name}.npy" for name in names}
    file["empty"].write_bytes(b"")
    file["short"].write_bytes(file["short"].read_bytes()[:-2])
    for name, frame in (("nan", 8), ("hidden", 3)):  # every eighth frame is looked at
        features = np.load(file[name])
        features[frame, 5] = np.nan
        np.save(file[name], features)
    np.save(file["wide"], np.zeros((FRAMES, 3), np.float16))
    np.save(file["words"], np.full((FRAMES, weights.CHANNELS), "a"))
    path = write_json(tmp_path / "a.json", [an_entry(id=name) for name in names] + [a_text_entry()])

    def left(check: str) -> list[str]:
        source = source_of(FeatureFolder(tmp_path / "features", {"tower": "tiny"}))
        return [one.id for one in load_entries([path], checker_of(source), output_dir=tmp_path / check, check=check)]

    assert left("sample") == ["whole", "hidden", "t"] and left("full") == ["whole", "t"]
    told = {one["id"]: one for one in map(json.loads, (tmp_path / "full" / "rejected.jsonl").read_text().splitlines())}
    assert {one["kind"] for one in told.values()} == {"damaged video"}
    for name, reason in {
        "empty": "not a readable NumPy array", "short": "not a readable NumPy array", "words": "a floating dtype",
        "nan": "expected finite features, got 1 of", "wide": f"expected features of shape [{FRAMES}, ",
    }.items():  # fmt: skip
        assert reason in told[name]["reason"] and f"{name}.npy" in told[name]["reason"]
    with pytest.raises(ValueError, match="--check: expected one of sample, full, none, got 'all'"):
        left("all")


def test_damaged_video_files_are_found_before_the_run(tmp_path):
    import shutil
    from pathlib import Path

    from llava_v2xum.data.frame_sources import VideoFiles

    clip = Path(__file__).resolve().parents[2] / "llava_v2xum" / "shapes" / "clips" / "demo.mp4"
    shutil.copy(clip, tmp_path / "whole.mp4")
    content = clip.read_bytes()
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "head.mp4").write_bytes(content[:2000])
    inside = bytearray(content)
    inside[3000:-3000] = bytes(len(inside) - 6000)  # the index and the head are whole
    (tmp_path / "inside.mp4").write_bytes(bytes(inside))
    source = VideoFiles(tmp_path, Timeline(FRAMES), None, None)
    names = ["whole", "empty", "head", "inside", "absent"]
    found = find_damaged(names, source)
    assert set(found) - {"inside"} == {"empty", "head"} and "empty.mp4: the file is empty" in found["empty"]
    assert set(find_damaged(names, source, "full")) == {"empty", "head", "inside"}


def test_too_many_bad_entries_stop_the_run(source, tmp_path):
    file = write_json(tmp_path / "a.json", [a_text_entry(id=f"t{i}") for i in range(97)] + [an_entry(id="v_8")] * 3)
    for limit in ("3%", "3", None, "100%"):
        assert len(load_entries([file], checker_of(source), output_dir=tmp_path, max_rejected=limit)) == 97
    for limit in ("2.9%", "2", "0"):
        with pytest.raises(ValueError, match=rf"3 of 100 .*3\.0%.*--max_rejected {limit} .*video: 3.*v_8.*jsonl"):
            load_entries([file], checker_of(source), output_dir=tmp_path, max_rejected=limit)
        assert len((tmp_path / "rejected.jsonl").read_text().splitlines()) == 3
    for limit in ("1/3", "101%", "-1", "few"):
        with pytest.raises(ValueError, match="--max_rejected: expected a share such as 1%"):
            load_entries([file], checker_of(source), max_rejected=limit)
