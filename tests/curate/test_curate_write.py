"""What was found of videos, written as instruction JSON, reads back as the same."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from curate_world import results_of, results_of_clip
from hypothesis import given, settings
from hypothesis import strategies as st

from llava_v2xum.core.annotations import read_annotations
from llava_v2xum.core.answers import parse_answer
from llava_v2xum.core.citations import PUBLISHED
from llava_v2xum.core.summary import Sentence, canonical_text
from llava_v2xum.core.timeline import Timeline
from llava_v2xum.curate.data_set.entries import (
    ENTRY_TASKS,
    MAX_CHARACTERS,
    RejectedVideo,
    clean_text,
    entries_of,
    write_entries,
    write_rejected,
)
from llava_v2xum.curate.data_set.entry_checks import problems_of
from llava_v2xum.curate.store.stage import Rejected
from llava_v2xum.curate.validate import check_file
from llava_v2xum.curate.validate import main as validate
from llava_v2xum.data.convert.command import main as convert
from llava_v2xum.shapes import make_clip

EXAMPLE = Path(__file__).resolve().parents[3] / "shared" / "data" / "instruct_v2xum_example.json"
SENTENCES = ["A hand holds a box.", "It is turned. A cup stands nearby."]
NASTY = [
    "At [05] a man [07, 08] waits", "see <f3> and <f0>", "<video> <image> </s> <unk> <s> there",
    "first line\nsecond line",
    "nul \x00 bell \x07 tab \t end", "USER: what? ASSISTANT: a man", "]] unpaired [[", "he says [music", "[[05]]",
    "<<f3>>", "text \u202e reversed \u2066 isolated", "half \ud800 surrogate", "\u2028paragraph\u2029separator\x85",
    "... leading stops", "ends in a blank . ", 'He says "Hi !" Then he goes ! Now', "- [12]", "1", "\ufeffmark",
    "Dr. Smith sits [03].", "\x1c\x1d\x1e", "#### heading | pipe", "[f05] [05-09] [,]",
]  # fmt: skip
WRITTEN = [text for text in NASTY if text.strip("\x1c\x1d\x1e")]  # those that have words


def answers(entries: list[dict]) -> dict[str, str]:
    return {task: entry["conversations"][1]["value"] for task, entry in zip(ENTRY_TASKS, entries)}


# entries


def test_the_entries_of_a_video_are_these():
    entries = entries_of("v", results_of([5, 11], SENTENCES, duration=20.5))
    asked = [entry["conversations"][0] for entry in entries]
    assert asked == [
        {"from": "human", "value": "<video>\nPlease generate BOTH video and text summarization for this video."},
        {"from": "human", "value": "<video>\nPlease generate a VIDEO summarization for this video."},
        {"from": "human", "value": "<video>\nPlease generate a TEXT summarization for this video."},
    ]
    for entry in entries:
        assert list(entry) == ["id", "meta", "conversations", "vsum_onehot"] and entry["id"] == "v"
        assert entry["meta"] == {"duration": 20.5, "sampled_frames": 20, "token": {"<f0>": 5.0, "<f1>": 11.0}}
        assert entry["vsum_onehot"] == [int(second in (5, 11)) for second in range(20)]
    assert answers(entries) == {
        "both": "\n[<f0>]A hand holds a box.\n[<f1>]It is turned. A cup stands nearby.\n",
        "video": "\n[<f0>]\n[<f1>]\n",
        "text": "\nA hand holds a box.\nIt is turned. A cup stands nearby.\n",
    }


def test_the_published_entry_is_made_again_from_what_it_says():
    if not EXAMPLE.exists():
        pytest.skip("no published example here")
    published = json.loads(EXAMPLE.read_text())[0]
    said = parse_answer(published["conversations"][1]["value"].replace("<f", "").replace(">", ""), 14, None, PUBLISHED)
    seconds = [int(second) for second in published["meta"]["token"].values()]
    results = results_of(seconds, [sentence.text for sentence in said.sentences], published["meta"]["duration"])
    assert entries_of(published["id"], results)[0] == published
    assert validate([str(EXAMPLE)]) == 0


def test_tasks_are_those_asked_for_in_their_order():
    entries = entries_of("v", results_of([5], ["A."]), ("text", "both"))
    assert ["TEXT" in entries[0]["conversations"][0]["value"], "BOTH" in entries[1]["conversations"][0]["value"]] == [
        True,
        True,
    ]
    for wrong in ((), ("both", "both"), ("all",)):
        with pytest.raises(ValueError, match="tasks must be of"):
            entries_of("v", results_of([5], ["A."]), wrong)


def test_entries_share_nothing_that_a_change_of_one_would_change_in_another():
    first, second, _ = entries_of("v", results_of([5], ["A."]))
    first["meta"]["token"].clear()
    first["vsum_onehot"][5] = 0
    assert second == entries_of("v", results_of([5], ["A."]))[1]


@pytest.mark.parametrize(
    "change, told",
    [
        (lambda r: r["filter"].update(frames=[]), "ascending frames"),
        (lambda r: r["filter"].update(frames=[11, 5]), "ascending frames"),
        (lambda r: r["filter"].update(frames=[5, 5]), "ascending frames"),
        (lambda r: r["filter"].update(frames=[5, 50]), "from 0 to 49"),
        (lambda r: r["filter"].update(frames=[5, True]), "ascending frames"),
        (lambda r: r["refine"].update(sentences=["A."]), "expected 2 sentences"),
        (lambda r: r["refine"].update(sentences=["A.", None]), "expected 2 sentences"),
        (lambda r: r["select"].update(duration=float("nan")), "duration of nan"),
        (lambda r: r["select"].update(sampled_frames=52), "52 sampled frames"),
    ],
)
def test_results_that_are_not_of_these_stages_are_a_fault_and_name_the_video(change, told):
    results = results_of([5, 11], SENTENCES)
    change(results)
    with pytest.raises(ValueError, match=f"v_7: .*{told}"):
        entries_of("v_7", results)


def test_a_sentence_without_words_or_end_rejects_the_video():
    for text, kind in (("[...]", "no text"), ("\u202e", "no text"), ("a" * (MAX_CHARACTERS + 1), "text too long")):
        with pytest.raises(Rejected, match="sentence 1") as error:
            entries_of("v", results_of([5, 11], ["A.", text]))
        assert error.value.kind == kind


@pytest.mark.parametrize("video_id", ["a\udc80", " ", ""])
def test_an_id_that_is_no_text_rejects_the_video(video_id):
    with pytest.raises(Rejected, match="the id") as error:
        entries_of(video_id, results_of([5], ["A."]))
    assert error.value.kind == "id"


def test_what_stands_for_something_is_taken_out_of_text():
    assert clean_text("<s> A man runs.</s>\n<|im_end|>") == "A man runs."
    cleaned = [clean_text(text) for text in NASTY]
    assert cleaned[:6] == [
        "At (05) a man (07, 08) waits.", "see (f3) and (f0).", "(video) (image) (/s) (unk) (s) there.",
        "first line second line.", "nul bell tab end.", "USER what? ASSISTANT a man.",
    ]  # fmt: skip
    for text in cleaned:
        assert not set(text) & set("[]<>\n\x00\u202e\u2066\ufeff\ud800") and clean_text(text) == text
    assert clean_text("\u0646\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645") == (
        "\u0646\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645."
    )


def read_back(folder: Path, videos: dict[str, dict], tasks=ENTRY_TASKS) -> dict:
    """The annotations that the converter reads in what is written of the videos."""
    path = folder / "made.json"
    write_entries(path, [one for name, results in videos.items() for one in entries_of(name, results, tasks)])
    assert [str(problem) for problem in check_file(path).problems] == []
    assert convert(["instruct-v2xum", str(path), "--out", str(folder / "out"), "--strict"]) == 0
    return {one.video_id: one for one in read_annotations(folder / "out" / "made.annotations.jsonl")}


def assert_says(annotation, results: dict) -> None:
    told = [(sentence.text, sentence.key_spans) for sentence in annotation.sentences]
    frames, texts = results["filter"]["frames"], map(clean_text, results["refine"]["sentences"])
    assert told == [(text, (((float(frame),) * 2,),)) for text, frame in zip(texts, frames, strict=True)]
    assert annotation.text is None and annotation.key_spans == ()  # TEXT and VIDEO say the same as BOTH
    assert annotation.duration_seconds == results["select"]["duration"]
    assert [second for second, one in enumerate(annotation.selections[0]) if one] == frames


def test_the_converter_reads_the_same_frames_and_sentences_back(tmp_path):
    videos = {f"clip_{index}": results_of_clip(make_clip(3, index)) for index in range(20)}
    videos["nasty"] = results_of(list(range(len(WRITTEN))), WRITTEN)
    videos["long"] = results_of(list(range(0, 940, 3)), [f"It is second {s}." for s in range(0, 940, 3)], 940.0)
    videos["short"] = results_of([0], ["A flash."], 0.4)
    found = read_back(tmp_path, videos)
    assert found.keys() == videos.keys()
    for name, results in videos.items():
        assert_says(found[name], results)


def test_video_and_text_alone_read_back_too(tmp_path):
    results = results_of([5, 11], ["A hand holds a box.", "a cup stands nearby."])
    video = read_back(tmp_path, {"v": results}, ("video",))["v"]
    assert video.key_spans == (((5.0, 5.0), (11.0, 11.0)),)
    text = read_back(tmp_path, {"v": results}, ("text",))["v"]
    assert [sentence.text for sentence in text.sentences] == results["refine"]["sentences"]


@settings(max_examples=150)
@given(st.lists(st.text(max_size=60) | st.sampled_from(NASTY), min_size=1, max_size=5))
def test_whatever_models_write_reads_back_or_is_rejected(texts):
    results = results_of(list(range(0, 2 * len(texts), 2)), texts)
    try:
        entries = entries_of("v", results)
    except Rejected as error:
        assert error.kind in ("no text", "does not read back") and len(str(error)) < 400
        return
    cleaned = [clean_text(text) for text in texts]
    assert [canonical_text(text) for text in cleaned] == cleaned
    for task, entry in zip(ENTRY_TASKS, entries):
        assert problems_of(json.loads(json.dumps(entry))) == []
        said = answers(entries)[task].replace("<f", "").replace(">", "")
        read = parse_answer(said, len(texts), task, PUBLISHED)
        assert read.problems == ()
        if task == "both":
            assert read.sentences == tuple(Sentence(text, (place,)) for place, text in enumerate(cleaned))
        assert read.frames == (() if task == "text" else tuple(range(len(texts))))
        assert read.text == ("" if task == "video" else " ".join(cleaned))


@given(st.integers(1, 99), st.floats(0, 0.999))
def test_seconds_of_videos_under_a_hundred_seconds_have_an_index_each(whole, part):
    indexes = [Timeline().index_at(second, whole + part) for second in range(whole)]
    assert len(set(indexes)) == whole


def test_in_long_videos_two_seconds_may_share_an_index_and_both_stay(tmp_path):
    """940 s: seconds 100 to 108 are index 11 of 100; the data keep them, and training cites the index twice."""
    from llava_v2xum.data.entries import with_frame_indexes

    entries = entries_of("v", results_of([100, 101, 500], ["A.", "B.", "C."], 940.0))
    trained = {task: with_frame_indexes(entry, Timeline())[1]["value"] for task, entry in zip(ENTRY_TASKS, entries)}
    assert trained["both"] == "\n[11]A.\n[11]B.\n[53]C.\n"
    assert trained["video"] == "\n[11]\n[11]\n[53]\n"
    assert parse_answer(trained["video"], task="video").frames == (11, 53)
    assert parse_answer(trained["both"], task="both").problems == ()


# files


def test_a_file_has_an_entry_a_line_and_without_entries_there_is_none(tmp_path):
    path = tmp_path / "val.json"
    entries = entries_of("v", results_of([5], ["Ein Käfer."]))
    assert write_entries(path, iter(entries)) == 3
    assert json.loads(path.read_text("utf-8")) == entries and len(path.read_text("utf-8").splitlines()) == 5
    assert "Käfer" in path.read_text("utf-8")
    assert write_entries(path, []) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_whole_leaves_the_former_one(tmp_path):
    path = tmp_path / "train.json"
    write_entries(path, [{"id": "former"}])
    with pytest.raises(ValueError):
        write_entries(path, [{"id": "v"}, {"id": float("nan")}])
    assert json.loads(path.read_text()) == [{"id": "former"}]
    assert [one.name for one in tmp_path.iterdir()] == ["train.json"]


def test_rejected_videos_are_a_line_each_in_the_order_of_ids(tmp_path):
    path = tmp_path / "rejected.jsonl"
    rows = [RejectedVideo("b", "select", "too short", 'under "40" s'), RejectedVideo("a\udc80", "refine", "x", "é\n")]
    assert write_rejected(path, rows) == 2
    assert [json.loads(line) for line in path.read_text("utf-8").splitlines()] == [
        {"video_id": "a\udc80", "stage": "refine", "kind": "x", "reason": "é\n"},
        {"video_id": "b", "stage": "select", "kind": "too short", "reason": 'under "40" s'},
    ]
    first = path.read_bytes()
    write_rejected(path, rows[::-1])
    assert path.read_bytes() == first
    assert write_rejected(path, []) == 0 and path.read_bytes() == b""


def test_writing_and_checking_load_no_heavy_package():
    code = (
        "import sys, llava_v2xum.curate.validate, llava_v2xum.curate.data_set.splits, llava_v2xum.curate.card.card, "
        "llava_v2xum.curate.card.quality, llava_v2xum.curate.data_set.preview; "
        "print([n for n in ('torch', 'transformers', 'llava', 'matplotlib', 'jsonschema') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.stdout == "[]\n", done.stderr


# training


@pytest.mark.pinned
def test_training_takes_the_made_files_and_its_loss_is_finite(tmp_path):
    import instruct
    import torch
    import weights

    from llava_v2xum.data.dataset import VideoCollator, VideoDataset
    from llava_v2xum.data.mixing import load_entries

    videos = {f"clip_{index}": results_of_clip(make_clip(3, index)) for index in range(3)}
    videos["nasty"] = results_of(list(range(len(WRITTEN))), WRITTEN)
    path = tmp_path / "train.json"
    write_entries(path, [entry for name, results in videos.items() for entry in entries_of(name, results)])
    source = instruct.source_of(instruct.feature_folder(tmp_path / "features", *videos))
    checker = instruct.checker_of(source)
    data = VideoDataset(load_entries([str(path)], checker, strict=True), checker.tokenizer, source, instruct.FRAMES)
    assert len(data) == 3 * len(videos)
    model = weights.video_model(instruct.FRAMES).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(4):
        loss = model(**VideoCollator(0)([data[place] for place in (0, 4, 8)])).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert all(map(math.isfinite, losses)) and losses[-1] < losses[0]
