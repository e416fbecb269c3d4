"""The replay of answers: passes counted by hand, and the command from its arguments to its last line."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tiny

from llava_v2xum.drafting import drafter_for
from llava_v2xum.timeline import Timeline

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "bench_drafts.py"
REAL_ANSWERS = ROOT.parent / "shared" / "data" / "released_model_answers.jsonl"
CHECKPOINT = ROOT / "llava_v2xum" / "shapes" / "checkpoint"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("bench_drafts", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def run(*arguments):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "ignore", str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=env)


class Known:
    """Proposes what it was told to, by the length of the answer so far."""

    def __init__(self, proposals):
        self.proposals, self.learnt = proposals, []

    def propose(self, answer, limit):
        return self.proposals.get(len(answer), [])[:limit]

    def learn(self, answer):
        self.learnt.append(answer)


def test_passes_by_hand(bench):
    answer = [11, 12, 13, 14, 15, 16, 2]
    none = bench.replay(None, [answer, answer], 64)
    assert (none.tokens, none.passes, none.drafted, none.passes_ratio, none.positions_ratio) == (14, 14, 0, 1, 1)
    # 11 by the prompt's pass; 12 13 14 are right and 15 comes with them; 16 is right and the end comes with it
    drafter = Known({1: [12, 13, 14, 99, 16], 5: [16]})
    tally = bench.replay(drafter, [answer], 64)
    assert (tally.tokens, tally.passes, tally.drafted, tally.right) == (7, 3, 6, 4)
    assert tally.passes_ratio == 7 / 3 and tally.positions_ratio == 9 / 7
    assert drafter.learnt == []
    # with at most two: 12 13 and 14; 15; 16 and the end
    tally = bench.replay(drafter, [answer, answer], 2, online=True)
    assert (tally.passes, tally.drafted, tally.right) == (8, 6, 6)
    assert drafter.learnt == [answer, answer]
    # an end of sequence that is proposed counts as a token; nothing is written behind it
    tally = bench.replay(Known({1: [12, 13, 14, 15, 16, 2]}), [answer], 64)
    assert (tally.passes, tally.drafted, tally.right) == (2, 6, 6)


def test_each_half_is_measured_by_what_the_other_taught(bench):
    answers = [[1], [2], [3], [4], [5]]
    assert list(bench.halves(answers)) == [([[1], [2]], [[3], [4], [5]]), ([[3], [4], [5]], [[1], [2]])]


def test_the_command(tmp_path):
    texts = [f"A man runs [{one:02d}, {one + 1:02d}, {one + 2:02d}]. She sits [{one + 9:02d}]." for one in range(20)]
    answers = tmp_path / "answers.jsonl"
    answers.write_text("".join(json.dumps({"answer": text}) + "\n" for text in texts))
    (tmp_path / "tokenizer.model").write_bytes(tiny.sentencepiece_model())
    done = run(answers, "--tokenizer", tmp_path / "tokenizer.model", "--limit", "32")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("20 answers,")
    pattern = r"passes saved with 32 tokens drafted: indexes ([\d.]+) times, indexes and n-grams ([\d.]+) times"
    indexes, both = map(float, re.fullmatch(pattern, lines[-1]).groups())
    assert 1 < indexes < both


def test_a_tokenizer_is_a_file_or_a_folder(bench, tmp_path):
    tiny.write_tokenizer(tmp_path / "folder")
    folder = bench.load_tokenizer(tmp_path / "folder", tmp_path)
    file = bench.load_tokenizer(tmp_path / "folder" / "tokenizer.model", tmp_path)
    text = "A man is seen running down a track [08, 09, 10]. A woman brushes [42]."
    assert bench.tokenize(folder, text) == bench.tokenize(file, text)
    assert bench.tokenize(file, text)[-1] == file.eos_token_id


@pytest.mark.skipif(not REAL_ANSWERS.is_file(), reason="needs ../shared/data/released_model_answers.jsonl")
def test_real_answers(bench, tmp_path):
    """With the demo's tokenizer, whose 512 pieces cut words finer than LLaMA's."""
    tokenizer = bench.load_tokenizer(CHECKPOINT, tmp_path)
    answers = [bench.tokenize(tokenizer, text) for text in bench.read_answers(REAL_ANSWERS)[:60]]
    ways = ("indexes",), ("indexes", "ngrams")
    indexes, both = (bench.two_fold(tokenizer, Timeline(), answers, 64, kinds=kinds).passes_ratio for kinds in ways)
    assert indexes > 1.8 and both > 3
    drafter = drafter_for(tokenizer, Timeline())
    assert bench.replay(drafter, answers, 64, online=True).passes_ratio > 3


def test_without_a_tokenizer_it_says_how_to_get_one(tmp_path):
    for arguments in ([], ["--tokenizer", tmp_path / "none"]):
        done = run(tmp_path / "answers.jsonl", *arguments)
        assert done.returncode == 2 and "tokenizer.model" in done.stderr and "checkpoint" in done.stderr


def test_bad_answers_are_named(bench, tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text('{"answer": "A"}\n{"text": "B"}\n')
    with pytest.raises(SystemExit, match='answers.jsonl, line 2: expected an object with an "answer"'):
        bench.read_answers(path)
    path.write_text('{"answer": "A"}\n')
    with pytest.raises(SystemExit, match="at least two answers, got 1"):
        bench.read_answers(path)
    done = run(path, "--tokenizer", CHECKPOINT, "--limit", "0")
    assert done.returncode == 2 and "at least 1, got 0" in done.stderr
