"""What was found of videos, written as instruction JSON, reads back as the same; what is wrong is found; splits."""

from __future__ import annotations

import copy
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from curate_world import results_of, results_of_clip
from hypothesis import given, settings
from hypothesis import strategies as st

from llava_v2xum.annotations import read_annotations
from llava_v2xum.convert.__main__ import main as convert
from llava_v2xum.curate.entries import (
    ENTRY_TASKS,
    MAX_CHARACTERS,
    RejectedVideo,
    clean_text,
    entries_of,
    write_entries,
    write_rejected,
)
from llava_v2xum.curate.entry_checks import problems_of
from llava_v2xum.curate.splits import SPLITS, counts, split
from llava_v2xum.curate.stages import Rejected
from llava_v2xum.curate.validate import check_file, check_files
from llava_v2xum.curate.validate import main as validate
from llava_v2xum.shapes import make_clip
from llava_v2xum.summary import Sentence, canonical_text, parse_answer
from llava_v2xum.timeline import Timeline

EXAMPLE = Path(__file__).resolve().parents[2] / "shared" / "data" / "instruct_v2xum_example.json"
SENTENCES = ["A hand holds a box.", "It is turned. A cup stands nearby."]
NASTY = [
    "At [05] a man [07, 08] waits", "see <f3> and <f0>", "<video> <image> </s> <unk> <s>", "first line\nsecond line",
    "nul \x00 bell \x07 tab \t end", "USER: what? ASSISTANT: a man", "]] unpaired [[", "he says [music", "[[05]]",
    "<<f3>>", "text \u202e reversed \u2066 isolated", "half \ud800 surrogate", "\u2028paragraph\u2029separator\x85",
    "... leading stops", "ends in a blank . ", 'He says "Hi !" Then he goes ! Now', "- [12]", "1", "\ufeffmark",
    "Dr. Smith sits [03].", "\x1c\x1d\x1e", "#### heading | pipe", "[f05] [05-09] [,]",
]  # fmt: skip
WRITTEN = [text for text in NASTY if text.strip("\x1c\x1d\x1e")]  # those that have words


def answers(entries: list[dict]) -> dict[str, str]:
    return {task: entry["conversations"][1]["value"] for task, entry in zip(ENTRY_TASKS, entries)}


def an_entry(**changes) -> dict:
    return {**copy.deepcopy(entries_of("v", results_of([5, 11], SENTENCES))[0]), **changes}


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
    said = parse_answer(published["conversations"][1]["value"].replace("<f", "").replace(">", ""), 14, digits=1)
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


def test_what_stands_for_something_is_taken_out_of_text():
    cleaned = [clean_text(text) for text in NASTY]
    assert cleaned[:6] == [
        "At (05) a man (07, 08) waits.", "see (f3) and (f0).", "(video) (image) (/s) (unk) (s).",
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
        assert error.kind in ("no text", "text") and len(str(error)) < 400
        return
    cleaned = [clean_text(text) for text in texts]
    assert [canonical_text(text) for text in cleaned] == cleaned
    for task, entry in zip(ENTRY_TASKS, entries):
        assert problems_of(json.loads(json.dumps(entry))) == []
        said = answers(entries)[task].replace("<f", "").replace(">", "")
        read = parse_answer(said, len(texts), task, digits=1)
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
    from llava_v2xum.entries import with_frame_indexes

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


# the validator


def with_answer(answer: str, task: int = 0) -> dict:
    entry = copy.deepcopy(entries_of("v", results_of([5, 11], SENTENCES))[task])
    entry["conversations"][1]["value"] = answer
    return entry


def with_meta(**changes) -> dict:
    entry = an_entry()
    entry["meta"].update(changes)
    return entry


BAD = {
    "expected a JSON object": ["an entry"],
    "missing: vsum_onehot": [{key: value for key, value in an_entry().items() if key != "vsum_onehot"}],
    "unknown keys frames": [an_entry(frames=[1])],
    "id must be text": [an_entry(id=""), an_entry(id=7)],
    "missing: duration": [an_entry(meta={"sampled_frames": 50, "token": {}})],
    "positive number of seconds": [with_meta(duration=0), with_meta(duration=True), with_meta(duration="50")],
    "expected one a second": [with_meta(duration=52.0)],
    "positive integer": [with_meta(sampled_frames=0), with_meta(sampled_frames=50.0)],
    "list of 50 times 0 or 1": [
        an_entry(vsum_onehot=[0] * 49),
        an_entry(vsum_onehot=[2] * 50),
        an_entry(vsum_onehot=None),
        an_entry(vsum_onehot=[True] * 50),
    ],
    "meta.token must be an object": [with_meta(token=[])],
    "expected <fK>": [with_meta(token={"<f0>": 5.0, "<f1>": 11.0, "f2": 1.0})],
    "must be a second of the video": [
        with_meta(token={"<f0>": 5.0, "<f1>": 50.1}),
        with_meta(token={"<f0>": -1, "<f1>": 11.0}),
        with_meta(token={"<f0>": None, "<f1>": 11.0}),
    ],
    "none of the three instructions": [
        an_entry(conversations=[{"from": "human", "value": "<video>\nTell."}, {"from": "gpt", "value": "[<f0>]A."}])
    ],
    "expected one <video>": [
        an_entry(conversations=[{"from": "human", "value": "Tell."}, {"from": "gpt", "value": "[<f0>]A."}])
    ],
    "must be from 'human'": [an_entry(conversations=[{"from": "gpt", "value": "A."}])],
    "has no answer": [an_entry(conversations=an_entry()["conversations"][:1])],
    "turn 1 must be text": [with_answer(" "), with_answer(None)],
    "cites '<f2>', which has no second": [with_answer("[<f0>]A.\n[<f2>]B.\n[<f1>]C.")],
    "cites '\\[05\\]'": [with_answer("[<f0>]A.\n[<f1>]B.\n[05]C.")],
    "holds '<image>'": [with_answer("[<f0>]A <image>.\n[<f1>]B.")],
    "outside of brackets": [with_answer("[<f0>]A.\n[<f1>]B <f1>.\n(<f0>)")],
    "an open bracket": [with_answer("[<f0>]A.\n[<f1>]B [half.")],
    "VIDEO answer holds prose": [with_answer("[<f0>]A.\n[<f1>]", 1)],
    "TEXT answer cites frames": [with_answer("[<f0>]A.", 2)],
    "BOTH answer cites no frame": [with_answer("A man runs.")],
    "does not select the seconds \\[5\\]": [an_entry(vsum_onehot=[int(second == 11) for second in range(50)])],
    "selects the seconds \\[3\\], which no answer cites": [
        an_entry(vsum_onehot=[int(second in (3, 5, 11)) for second in range(50)])
    ],
    "selects the seconds \\[11\\], which no answer cites": [with_answer("[<f0>]A.")],
}


@pytest.mark.parametrize("told", BAD)
def test_what_is_wrong_with_an_entry_is_told(told, tmp_path):
    for number, entry in enumerate(BAD[told]):
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps([an_entry(id="good"), entry]))
        problems = check_file(path).problems
        assert problems and all(problem.place == 1 for problem in problems)
        with pytest.raises(ValueError, match=told):
            raise ValueError("\n".join(map(str, problems)))


def test_the_second_of_a_duration_that_was_rounded_is_in_the_video():
    entry = with_meta(duration=49.99999999, token={"<f0>": 5.0, "<f1>": 50.0})
    entry["vsum_onehot"] = [int(second in (5, 49)) for second in range(50)]
    assert problems_of(entry) == []


def test_entries_are_checked_with_the_others_of_their_file(tmp_path):
    path = tmp_path / "train.json"
    both, video, text = entries_of("v", results_of([5, 11], SENTENCES))
    other = copy.deepcopy(video)
    other["meta"]["duration"] = 50.5
    twice = {**text, "conversations": both["conversations"] + copy.deepcopy(text["conversations"])}
    twice["conversations"][2]["value"] = twice["conversations"][2]["value"].removeprefix("<video>\n")
    path.write_text(json.dumps([both, other, video, twice, an_entry(id="w")]))
    told = [str(problem) for problem in check_file(path).problems]
    assert len(told) == 3
    assert told[0].startswith("entry 1 ('v'): contradicts item 0 of the same id in its duration_seconds")
    assert told[1] == "entry 2 ('v'): entry 1 answers VIDEO for the same id"
    assert told[2] == "entry 3 ('v'): entry 0 answers BOTH for the same id"


def test_a_video_belongs_to_one_split(tmp_path):
    for name, ids in (("train", "ab"), ("val", "c"), ("test", "bd")):
        write_entries(tmp_path / f"{name}.json", [e for i in ids for e in entries_of(i, results_of([5], ["A."]))])
    files = check_files([tmp_path / f"{name}.json" for name in ("train", "val", "test")])
    assert [len(file.problems) for file in files] == [0, 0, 1]
    assert str(files[2].problems[0]) == (
        f"entry 0 ('b'): its video is in {tmp_path / 'train.json'} too: a video belongs to one split"
    )


@pytest.mark.parametrize("content", [None, b"", b"[]", b"{}", b"[1", b"\xff", b'[{"id": "v"' + b"[" * 100_000])
def test_a_file_that_is_no_such_json_is_a_problem(tmp_path, content):
    path = tmp_path / "train.json"
    if content is not None:
        path.write_bytes(content)
    file = check_file(path)
    assert [problem.place for problem in file.problems] == [None] and str(path) not in str(file.problems[0])


def test_the_command_tells_so_much_and_ends_with_1(tmp_path):
    path = tmp_path / "train.json"
    wild = an_entry(id="\x1b[31m" + "x" * 500, **{"\x1b]0;title\x07" * 100: 1})
    path.write_text(json.dumps([wild, *(an_entry(id=f"v{number}", vsum_onehot=[]) for number in range(30))]))
    command = [sys.executable, "-m", "llava_v2xum.curate.validate", str(path), "--most", "5"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    lines = done.stdout.splitlines()
    assert done.returncode == 1 and done.stderr == ""
    assert lines[0] == f"{path}: 31 entries of 31 videos, 31 problems" and lines[-1] == "  and 26 more"
    assert len(lines) == 7 and "\x1b" not in done.stdout and max(map(len, lines)) < 500


def test_a_key_that_stands_twice_is_a_problem(tmp_path):
    path = tmp_path / "train.json"
    path.write_text(json.dumps([an_entry()]).replace('"<f1>": 11.0', '"<f1>": 11.0, "<f1>": 12.0'))
    assert "every <fK> stands once" in str(check_file(path).problems[0])


def test_writing_and_checking_load_no_heavy_package():
    code = (
        "import sys, llava_v2xum.curate.validate, llava_v2xum.curate.splits, llava_v2xum.curate.card, "
        "llava_v2xum.curate.card_quality, llava_v2xum.curate.preview; "
        "print([n for n in ('torch', 'transformers', 'llava', 'matplotlib', 'jsonschema') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert done.stdout == "[]\n", done.stderr


# splits


@pytest.mark.parametrize(
    "total, expected",
    [(0, (0, 0, 0)), (1, (1, 0, 0)), (2, (2, 0, 0)), (3, (3, 0, 0)), (4, (3, 0, 1)), (10, (8, 1, 1)), (16, (13, 1, 2)),
     (30, (25, 1, 4)), (50, (41, 2, 7)), (30_000, (25_000, 1_000, 4_000))],
)  # fmt: skip
def test_how_many_videos_each_split_gets(total, expected):
    assert counts(total) == expected


@settings(max_examples=60)
@given(st.integers(0, 300), st.lists(st.integers(0, 50), min_size=3, max_size=3).filter(any))
def test_counts_are_within_one_of_the_proportions(total, proportions):
    found = counts(total, proportions)
    assert sum(found) == total
    for count, part in zip(found, proportions):
        assert abs(count - total * part / sum(proportions)) < 1


def test_splits_do_not_depend_on_order_and_ids_and_keep_contents_together():
    digests = {f"v{number}": f"{number:064x}" for number in range(300)}
    found = split(digests)
    assert found == split(dict(reversed(digests.items()))) and list(found) == sorted(digests)
    assert [list(found.values()).count(name) for name in SPLITS] == [250, 10, 40]
    renamed = split({f"w{name}": digest for name, digest in digests.items()})
    assert {name[1:]: one for name, one in renamed.items()} == found
    copies = split({**digests, **{f"copy of {name}": digest for name, digest in digests.items()}})
    assert all(copies[f"copy of {name}"] == copies[name] == found[name] for name in digests)
    assert split(digests, seed=1) != found


def test_one_video_more_moves_hardly_another():
    digests = {f"v{number}": f"{number:064x}" for number in range(300)}
    found, more = split(digests), split({**digests, "new": "f" * 64})
    assert sum(found[name] != more[name] for name in digests) <= 2


@pytest.mark.parametrize("proportions", [(1, 1), (0, 0, 0), (1, -1, 1), (0.8, 0.1, 0.1)])
def test_proportions_are_three_whole_numbers(proportions):
    with pytest.raises(ValueError, match="expected three proportions"):
        counts(10, proportions)


# training


@pytest.mark.pinned
def test_training_takes_the_made_files_and_its_loss_is_finite(tmp_path):
    import instruct
    import torch
    import weights

    from llava_v2xum.dataset import VideoCollator, VideoDataset
    from llava_v2xum.mixing import load_entries

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
