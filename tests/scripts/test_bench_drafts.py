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

from llava_v2xum.core.timeline import Timeline
from llava_v2xum.infer.drafting import drafter_for
from llava_v2xum.infer.drafting.sources import load_tokenizer, read_answers, token_ids

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "bench" / "bench_drafts.py"
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
        draft = self.proposals.get(len(answer), [])[:limit]
        return draft, [0.5**place for place in range(len(draft))]

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
    # chances of 1, 0.5, 0.25: with 3 positions for free two are worth it (2.5 tokens at 6 positions)
    tally = bench.replay(Known({1: [12, 13, 14, 99, 16], 4: [15, 16, 2]}), [answer], 64, free=3)
    assert (tally.tokens, tally.passes, tally.drafted, tally.right) == (7, 3, 4, 4)
    assert tally.times_faster(3) == 7 * 4 / (3 * 4 + 4)


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


@pytest.mark.skipif(not REAL_ANSWERS.is_file(), reason="needs ../shared/data/released_model_answers.jsonl")
def test_real_answers(bench):
    """With the demo's tokenizer, whose 512 pieces cut words finer than LLaMA's."""
    tokenizer = load_tokenizer(CHECKPOINT)
    answers = [token_ids(tokenizer, text) for text in read_answers(REAL_ANSWERS, Timeline())[:60]]
    ways = ("indexes",), ("indexes", "ngrams")
    indexes, both = (bench.two_fold(tokenizer, Timeline(), answers, 64, kinds=kinds).passes_ratio for kinds in ways)
    assert indexes > 1.8 and both > 3
    drafter = drafter_for(tokenizer, Timeline())
    assert bench.replay(drafter, answers, 64, online=True).passes_ratio > 3


def test_without_a_tokenizer_it_says_how_to_get_one(tmp_path):
    done = run(tmp_path / "answers.jsonl")
    assert done.returncode == 2 and "any LLaMA-type tokenizer.model" in done.stderr and "checkpoint" in done.stderr


def test_bad_arguments_are_named(bench, tmp_path, monkeypatch, capsys):
    path = tmp_path / "answers.jsonl"

    def end(*arguments):
        monkeypatch.setattr(sys, "argv", ["bench_drafts.py", str(path), *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            bench.main()
        return f"{ended.value.code} {capsys.readouterr().err}"

    assert "at least 1, got 0" in end("--tokenizer", CHECKPOINT, "--limit", "0")
    assert "no tokenizer there; expected the folder" in end("--tokenizer", tmp_path)
    assert "answers.jsonl" in end("--tokenizer", CHECKPOINT)  # is not there
    path.write_text('{"answer": "A"}\n{"text": "B"}\n')
    assert 'answers.jsonl, line 2: expected an object with an "answer"' in end("--tokenizer", CHECKPOINT)
    path.write_text('{"answer": "A"}\n')
    assert "at least two answers, got 1" in end("--tokenizer", CHECKPOINT)
