"""The table of n-grams on disk, and its bounds."""

import json

import pytest
from test_drafting import ANSWERS, EOS, LETTERS, VOCABULARY, Letters, encode

from llava_v2xum.core.timeline import Timeline
from llava_v2xum.infer.drafting import KINDS, NgramTable, Vocabulary, drafter_for, ngrams

TIMELINE = Timeline()


def table_of(answers=ANSWERS, **options):
    table = NgramTable(VOCABULARY, **options)
    for text in answers:
        table.learn([*encode(text), EOS])
    return table


def test_what_is_saved_is_loaded(tmp_path):
    table = table_of(max_contexts=5000)
    table.save(tmp_path / "table.json")
    assert [one.name for one in tmp_path.iterdir()] == ["table.json"]
    loaded = NgramTable.load(tmp_path / "table.json", LETTERS, TIMELINE)
    assert (len(loaded), loaded.max_contexts, loaded.lists) == (len(table), 5000, True)
    for text in ("", "A m", "A man [", "A man runs [08, 09, 10]", "A dog [08]."):
        first, second = (drafter_for(LETTERS, TIMELINE, one, least_chance=0) for one in (table, loaded))
        assert first.propose(encode(text), 30) == second.propose(encode(text), 30)
    loaded.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "table.json").read_bytes()


def test_a_table_without_lists_is_loaded_as_such(tmp_path):
    table_of(lists=False).save(tmp_path / "table.json")
    loaded = NgramTable.load(tmp_path / "table.json", LETTERS, TIMELINE)
    assert not loaded.lists
    with pytest.raises(ValueError, match="kinds"):
        drafter_for(LETTERS, TIMELINE, loaded, KINDS)


def test_another_tokenizers_or_timelines_table_is_refused(tmp_path):
    path = tmp_path / "table.json"
    table_of().save(path)
    with pytest.raises(ValueError, match="table.json: the table is of another vocabulary"):
        NgramTable.load(path, Letters(joined=("the",)), TIMELINE)
    with pytest.raises(ValueError, match=r"another timeline: expected \[50, "):
        NgramTable.load(path, LETTERS, Timeline(50))


@pytest.mark.pinned
def test_a_real_tokenizers_table(tokenizer, tmp_path):
    path = tmp_path / "table.json"
    drafter = drafter_for(tokenizer, TIMELINE, least_chance=0)
    ids = [*tokenizer(ANSWERS[0], add_special_tokens=False).input_ids, tokenizer.eos_token_id]
    for _ in range(3):
        drafter.learn(ids)
    drafter.table.save(path)
    loaded = drafter_for(tokenizer, TIMELINE, NgramTable.load(path, tokenizer, TIMELINE), least_chance=0)
    assert loaded.propose([], 200)[0] == drafter.propose([], 200)[0] == ids
    with pytest.raises(ValueError, match="another vocabulary"):
        NgramTable.load(path, LETTERS, TIMELINE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "expected a file of the format"),
        ({"version": 2}, "another version: expected 1, got 2"),
        ({"order": 3}, "another order"),
        ({"lists": None}, "the table has no 'lists'"),
        ({"contexts": None}, "the table has no 'contexts'"),
        ({"contexts": [[1, 2, 3]]}, "table.json: "),
        ({"max_contexts": 0}, "max_contexts must be at least 1"),
    ],
)
def test_damaged_files_are_refused(tmp_path, change, message):
    path = tmp_path / "table.json"
    table_of().save(path)
    stored = {**json.loads(path.read_text()), **change}
    path.write_text(json.dumps({name: value for name, value in stored.items() if value is not None}))
    with pytest.raises(ValueError, match=message):
        NgramTable.load(path, LETTERS, TIMELINE)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]"])
def test_what_is_no_table_is_refused(tmp_path, content):
    path = tmp_path / "table.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="table.json: expected"):
        NgramTable.load(path, LETTERS, TIMELINE)


def test_the_rarest_contexts_are_forgotten():
    table = NgramTable(VOCABULARY, max_contexts=120)
    for _ in range(9):
        table.learn(encode("A man runs."))
    for number in range(40):
        table.learn(encode(f"qx{chr(97 + number % 26)}{chr(65 + number % 23)}"))
        assert len(table) <= 120
    ids = drafter_for(LETTERS, TIMELINE, table).propose(encode("A man"), 6)[0]
    assert LETTERS.decode(ids) == " runs."


def test_a_context_keeps_its_commonest_tokens():
    table = NgramTable(VOCABULARY, lists=False)
    most = ngrams._MOST_TOKENS
    for _ in range(3):
        table.learn(encode("ab"))
    for number in range(most):
        table.learn([LETTERS.ids["a"], 1000 + number])
    followed = table._counts[(LETTERS.ids["a"],)]
    assert most // 2 <= len(followed) <= most and followed[LETTERS.ids["b"]] == 3
    assert all(len(counts) <= most for counts in table._counts.values())


def test_no_change_of_a_vocabulary_goes_unnoticed():
    digests = {Vocabulary.of(Letters(joined), TIMELINE).digest for joined in ((), ("the",), ("man",), ("the", "man"))}
    assert len(digests) == 4
