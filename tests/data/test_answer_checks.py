"""Answers are checked where training reads them, by the parser that reads a model's."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from instruct import FRAMES, a_text_entry, checker_of, feature_folder, gpt, human, source_of, write_json

from llava_v2xum.core.answers import parse_answer
from llava_v2xum.core.tasks import INSTRUCTIONS, TASKS, query_for
from llava_v2xum.data.answer_checks import KINDS, REFUSE, WARN, findings_in, kind_of_problem, task_asked
from llava_v2xum.data.entries import EntryChecker, EntryError
from llava_v2xum.data.mixing import load_entries

pytestmark = pytest.mark.pinned

ROUND = "She runs on and on. "
ANSWERS = [  # task, answer, kind of what is found first (None: nothing)
    ("both", "A woman brushes her hair [02, 03]. She smiles [07].", None),
    ("both", "\n[02]A woman brushes her hair.\n[03][07]She smiles.", None),
    ("video", "[02, 03, 07].", None),
    ("text", "A woman brushes her hair [music].", None),
    ("both", "A woman brushes her hair [02, 10].", "outside"),
    ("both", "A woman brushes her hair [02, 03. She", "open bracket"),
    ("both", "A woman brushes her hair 02, 03].", "open bracket"),
    ("both", "A woman brushes her hair [5].", "digits"),
    ("both", "A woman brushes her hair [005].", "digits"),
    ("both", "A woman brushes her hair [50.5]. She smiles [05].", "digits"),
    ("both", "A woman brushes her hair [2 of 3 women]. She smiles [05].", "brackets"),
    ("both", "A woman brushes her hair [07, 03].", "descending"),
    ("both", "A woman brushes her hair [03, 03].", "repeated index"),
    ("both", "A woman brushes her hair [03 04].", "separator"),
    ("both", "A woman brushes her hair [03].\n[05]She smiles.", "mixed forms"),
    ("both", "A woman brushes her hair.", "no citation"),
    ("video", "There is nothing.", "video prose"),
    ("video", "A woman [02, 03].", "video prose"),
    ("both", "[02, 03].", "no prose"),
    ("text", "A woman brushes her hair [02].", "text cites"),
    ("text", "A woman brushes her hair. USER: And then?", "template"),
    ("text", "A woman brushes her hair.<|im_end|>", "template"),
    ("text", "A woman\x00 brushes her hair.", "control characters"),
    ("text", ROUND * 12, "loop"),
    ("text", "A woman brushes her hair 02, 03, 04, 05, 06.", "numbers"),
]


@pytest.fixture
def checker(tmp_path) -> EntryChecker:
    return checker_of(source_of(feature_folder(tmp_path / "features", "v_1", "v_2")))


def entry_of(task: str, answer: str, name: str = "v_1") -> dict:
    return {"id": name, "num_frames": FRAMES, "conversations": [human(query_for(task, "\n")), gpt(answer)]}


@pytest.mark.parametrize(("task", "answer", "kind"), ANSWERS)
def test_each_kind_is_found_and_has_its_default(checker, task, answer, kind):
    if kind is None:
        assert checker.check(entry_of(task, answer)).warnings == ()
    elif KINDS[kind].default == WARN:
        assert checker.check(entry_of(task, answer)).warnings[0].kind == kind
    else:
        with pytest.raises(EntryError) as error:
            checker.check(entry_of(task, answer))
        assert (error.value.kind, error.value.task) in ((kind, task), ("control characters", None))
        assert str(error.value).startswith("turn 1: ")


def test_all_kinds_are_tried_but_for_two_that_are_not_of_one_answer():
    assert set(KINDS) - {kind for _, _, kind in ANSWERS} == {"no video", "duplicate"}
    assert {kind.default for kind in KINDS.values()} == {REFUSE, WARN}


def test_the_guide_has_each_kind_with_its_reason():
    guide = (Path(__file__).resolve().parents[2] / "scripts" / "guides" / "train.md").read_text()
    for name, kind in KINDS.items():
        done = "refused" if kind.default == REFUSE else "warned of"
        assert f"| {name} | {done} | {kind.reason} |" in guide, name


def test_a_question_without_its_video_is_refused(checker):
    with pytest.raises(EntryError, match="turn 0: asks for a summary without <video>"):
        checker.check(a_text_entry(conversations=[human(INSTRUCTIONS["text"]), gpt("A man.")]))
    assert checker.check(a_text_entry()).warnings == ()
    assert [task_asked(INSTRUCTIONS[task]) for task in TASKS] == list(TASKS) and task_asked("Who is it?") is None


def test_whatever_the_parser_says_has_a_kind():
    """Random answers; a problem that the parser learns to tell has to be given a kind."""
    draw, seen = random.Random(3), set()
    pieces = ["[", "]", "0", "5", "07", "99", ", ", " ", ". ", "A man", "\n", "music", "-", "[03]", "[05, 06]"]
    for _ in range(4000):
        answer = "".join(draw.choices(pieces, k=draw.randint(0, 9)))
        for problem in parse_answer(answer, FRAMES, draw.choice(TASKS)).problems:
            seen.add(kind_of_problem(problem))
    assert len(seen) >= 9
    with pytest.raises(LookupError):
        kind_of_problem("something new")


def test_a_conversation_of_several_rounds_is_checked_round_by_round(checker):
    turns = [human(query_for("text", "\n")), gpt("A man."), human(INSTRUCTIONS["video"]), gpt("[01, 02]. A man.")]
    (found,) = findings_in(turns, 1, checker.timeline)
    assert (found.kind, found.task) == ("video prose", "video") and found.reason.startswith("turn 3: ")


def test_each_finding_is_counted_and_named(checker, tmp_path, caplog):
    first = write_json(tmp_path / "a.json", [
        entry_of("both", "A man [02]."), entry_of("video", "[12]."), entry_of("both", "A man [04, 03]."),
        entry_of("both", "A man [02].", "v_2"),
    ])  # fmt: skip
    second = write_json(tmp_path / "b.json", [entry_of("text", "A man."), entry_of("both", "A man [02].")])
    kept = load_entries([first, second], checker, output_dir=tmp_path)
    assert len(kept) == 5
    (bad,) = map(json.loads, (tmp_path / "rejected.jsonl").read_text().splitlines())
    assert (bad["place"], bad["id"], bad["kind"], bad["task"]) == (1, "v_1", "outside", "video")
    doubtful = [json.loads(line) for line in (tmp_path / "warned.jsonl").read_text().splitlines()]
    assert [(one["file"], one["place"], one["kind"], one["task"]) for one in doubtful] == [
        (first, 2, "descending", "both"), (second, 1, "duplicate", "both"),
    ]  # fmt: skip
    assert f"says the same as {first}, place 0" in doubtful[1]["reason"]
    assert "1 entries are left out (outside: 1)" in caplog.text and "descending: 1, duplicate: 1" in caplog.text


def test_strict_stops_at_what_is_warned_of_too_and_kinds_can_be_let_pass(tmp_path):
    from dataclasses import replace

    checker = checker_of(source_of(feature_folder(tmp_path / "features", "v_1")))
    file = write_json(tmp_path / "a.json", [entry_of("both", "A man [04, 03]."), entry_of("both", "A man.")])
    with pytest.raises(ValueError, match=r"v_1 \(BOTH, place 0\): turn 1: .* --warn_only 'descending' lets it pass"):
        load_entries([file], checker, strict=True)
    with pytest.raises(ValueError, match=r"v_1 \(BOTH, place 1\): turn 1: a BOTH answer cites no frame \(--strict\)"):
        load_entries([file], replace(checker, warn_only=("descending",)), strict=True)
    assert len(load_entries([file], replace(checker, warn_only=("descending", "no citation")), strict=True)) == 2
    with pytest.raises(ValueError, match="--warn_only: expected kinds of findings .* got nonsense"):
        replace(checker, warn_only=("nonsense",))
