"""What is wrong with instruction JSON is found and told; videos are split by their contents."""

from __future__ import annotations

import copy
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from curate_world import results_of
from hypothesis import given, settings
from hypothesis import strategies as st

from llava_v2xum.curate.data_set.entries import entries_of, write_entries
from llava_v2xum.curate.data_set.entry_checks import problems_of
from llava_v2xum.curate.data_set.splits import SPLITS, counts, split
from llava_v2xum.curate.validate import check_file, check_files

SENTENCES = ["A hand holds a box.", "It is turned. A cup stands nearby."]


def an_entry(**changes) -> dict:
    return {**copy.deepcopy(entries_of("v", results_of([5, 11], SENTENCES))[0]), **changes}


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
    "positive integer": [with_meta(sampled_frames=bad) for bad in (0, 50.0, 10**400)],
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
    "holds '</s>'": [with_answer("[<f0>]A. </s>\n[<f1>]B."), with_answer("A man runs.</s>\nB.", 2)],
    "holds '<unk>'": [with_answer("[<f0>]A <unk>.\n[<f1>]B.")],
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


PUBLISHED = Path(__file__).resolve().parents[3] / "shared" / "data" / "instruct_v2xum_example.json"
OTHERS = [None, True, False, 0, -1, 1.5, math.nan, math.inf, 10**400, "", " ", "x", [], {}, [1], {"a": 1}]


def mutations(value):
    """Each single change of a JSON value, at any depth: a part left out, or another put in its place."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in list(parts):
        for other in (*OTHERS, *mutations(part)):
            if other != part or type(other) is not type(part):
                yield {**value, key: other} if isinstance(value, dict) else [*value[:key], other, *value[key + 1 :]]
        left = {name: one for name, one in value.items() if name != key} if isinstance(value, dict) else None
        yield value[:key] + value[key + 1 :] if left is None else left


@pytest.mark.parametrize("published", [False, True])
def test_every_change_that_breaks_an_entry_is_told(published):
    """What may change is the id, and a second within its sample; both are other entries, and good ones."""
    entry = an_entry()
    if published:
        if not PUBLISHED.exists():
            pytest.skip("no published example here")
        entry = json.loads(PUBLISHED.read_text())[0]
        assert check_file(PUBLISHED).problems == []
    assert problems_of(entry) == []
    changed = list(mutations(entry))
    unseen = [one for one in changed if not problems_of(one)]
    seconds = {token: math.floor(second) for token, second in entry["meta"]["token"].items()}
    for one in unseen:
        same = {token: math.floor(second) for token, second in one["meta"]["token"].items()} == seconds
        assert same and {**one, "id": 0, "meta": 0} == {**entry, "id": 0, "meta": 0}
    assert len(changed) > 1000 and len(unseen) < 5


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
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    lines = done.stdout.splitlines()
    assert done.returncode == 1 and done.stderr == ""
    assert lines[0] == f"{path}: 31 entries of 31 videos, 31 problems" and lines[-1] == "  and 26 more"
    assert len(lines) == 7 and "\x1b" not in done.stdout and max(map(len, lines)) < 500


def test_a_key_that_stands_twice_is_a_problem(tmp_path):
    path = tmp_path / "train.json"
    path.write_text(json.dumps([an_entry()]).replace('"<f1>": 11.0', '"<f1>": 11.0, "<f1>": 12.0'))
    assert "every <fK> stands once" in str(check_file(path).problems[0])


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
