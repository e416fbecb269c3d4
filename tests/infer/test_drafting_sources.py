"""Answers and tokenizers from files, the command that makes a table, and how much of proposals is checked."""

import json
import random
from itertools import product
from pathlib import Path

import pytest
import tiny

from llava_v2xum.core.timeline import Timeline
from llava_v2xum.infer.drafting import NgramTable, drafter_for, worthwhile_lengths
from llava_v2xum.infer.drafting.command import main
from llava_v2xum.infer.drafting.sources import load_tokenizer, read_answers, timeline_of, token_ids

CHECKPOINT = Path(__file__).parents[2] / "llava_v2xum" / "shapes" / "checkpoint"
ENTRY = {
    "id": "v",
    "meta": {"duration": 10.0, "token": {"<f0>": 1.0, "<f1>": 2.0}},
    "conversations": [
        {"from": "human", "value": "<video>\nPlease ..."},
        {"from": "gpt", "value": "\n[<f0>]A man.\n[<f1>]A dog."},
    ],
}


@pytest.mark.pinned
def test_a_tokenizer_is_a_file_or_a_folder(tmp_path):
    tiny.write_tokenizer(tmp_path)
    folder, file = load_tokenizer(tmp_path), load_tokenizer(tmp_path / "tokenizer.model")
    text = "A man is seen running down a track [08, 09, 10]. A woman brushes [42]."
    assert token_ids(folder, text) == token_ids(file, text)
    assert token_ids(file, text)[-1] == file.eos_token_id
    assert folder.decode(token_ids(folder, text), skip_special_tokens=True) == text


def test_without_a_tokenizer(tmp_path):
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(FileNotFoundError, match="expected the folder of the checkpoint"):
            load_tokenizer(path)
    (tmp_path / "tokenizer.model").write_bytes(b"none")
    with pytest.raises(ValueError, match="tokenizer.model: its tokenizer cannot be read"):
        load_tokenizer(tmp_path / "tokenizer.model")


def test_the_timeline_is_the_checkpoints(tmp_path):
    assert timeline_of(tmp_path) == timeline_of(tmp_path / "tokenizer.model") == timeline_of(CHECKPOINT) == Timeline()
    (tmp_path / "config.json").write_text('{"num_frames": 50, "temporal_prompt_template": "[f{:03d}]"}')
    assert timeline_of(tmp_path) == Timeline(50, "[f{:03d}]")


def test_answers_of_both_kinds_of_file(tmp_path):
    lines, instructions = tmp_path / "summaries.jsonl", tmp_path / "train.json"
    lines.write_text('{"answer": "A man [01].", "task": "both"}\n{"answer": "B"}\n')
    assert read_answers(lines, Timeline()) == ["A man [01].", "B"]
    instructions.write_text(json.dumps([ENTRY, ENTRY]))
    assert read_answers(instructions, Timeline()) == ["\n[10]A man.\n[20]A dog."] * 2
    assert read_answers(instructions, Timeline(50)) == ["\n[05]A man.\n[10]A dog."] * 2


def test_bad_answers_are_named(tmp_path):
    path = tmp_path / "answers"
    for text in ('{"answer": "A"}\n{"text": "B"}', '{"answer": "A"}\n{', '{"answer": "A"}\n3'):
        path.write_text(text)
        with pytest.raises(ValueError, match='answers, line 2: expected an object with an "answer"'):
            read_answers(path, Timeline())
    path.write_text("[3")
    with pytest.raises(ValueError, match="answers: expected instruction JSON"):
        read_answers(path, Timeline())
    for entry in ({"id": "v"}, 3, {**ENTRY, "meta": {"duration": 10.0, "token": {"<f0>": 1.0}}}):
        path.write_text(json.dumps([ENTRY, entry]))
        with pytest.raises(ValueError, match="answers, entry 1: "):
            read_answers(path, Timeline())


def test_the_command_makes_a_table(tmp_path, capsys):
    answers, table = tmp_path / "answers.jsonl", tmp_path / "table.json"
    answers.write_text('{"answer": "A red circle moves across the top [08, 09]."}\n' * 9)
    assert main([str(answers), str(answers), "--tokenizer", str(CHECKPOINT), "--out", str(table)]) == 0
    assert "table.json: 18 answers, " in capsys.readouterr().out
    tokenizer = load_tokenizer(CHECKPOINT)
    learnt = NgramTable.load(table, tokenizer, Timeline())
    ids = token_ids(tokenizer, "A red circle moves across the top [08, 09].")
    assert drafter_for(tokenizer, Timeline(), learnt, least_chance=0).propose([], 100)[0] == ids


def test_the_command_names_what_is_wrong(tmp_path, capsys):
    def error(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([*map(str, arguments)])
        assert ended.value.code == 2
        return capsys.readouterr().err

    out = ["--out", tmp_path / "table.json"]
    assert "no tokenizer there" in error(tmp_path / "answers", "--tokenizer", tmp_path, *out)
    assert "answers" in error(tmp_path / "answers", "--tokenizer", CHECKPOINT, *out)
    assert "no such folder" in error("a", "--tokenizer", CHECKPOINT, "--out", tmp_path / "none" / "table.json")
    assert not list(tmp_path.iterdir())


def test_the_lengths_that_pay_are_the_best_of_all():
    rng = random.Random(0)
    for _ in range(60):
        drawn = [[rng.random() for _ in range(rng.randrange(5))] for _ in range(rng.randrange(1, 4))]
        rows = [sorted(row, reverse=True) for row in drawn]
        free = rng.choice([0, 0.5, 2, 8, 100])

        def tokens_for_time(lengths, rows=rows, free=free):
            expected = len(rows) + sum(sum(row[:length]) for row, length in zip(rows, lengths))
            return expected / (free + len(rows) + sum(lengths))

        best = max(map(tokens_for_time, product(*(range(len(row) + 1) for row in rows))))
        assert tokens_for_time(worthwhile_lengths(rows, free)) == pytest.approx(best)


def test_lengths_by_hand():
    assert worthwhile_lengths([[0.9, 0.5, 0.1]], 0) == [0]  # no chance is above one token a position
    assert worthwhile_lengths([[0.9, 0.5, 0.1]], 1) == [1]  # 1.9 of 3; 2.4 of 4 is less
    assert worthwhile_lengths([[0.9, 0.5, 0.1], []], 1000) == [3, 0]
    assert worthwhile_lengths([], 8) == []
