"""Drafts: lists of indexes go on, phrases come again, and whatever is asked is answered by ids alone."""

import random
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llava_v2xum.core.citations import BRACKETS
from llava_v2xum.core.errors import V2XumError
from llava_v2xum.core.timeline import Timeline
from llava_v2xum.infer.drafting import (
    DRAFTERS,
    KINDS,
    AnswerDrafter,
    NgramTable,
    UndraftableTokenizer,
    Vocabulary,
    answer_drafter,
    drafter_for,
    drafter_kind,
)
from llava_v2xum.infer.drafting.indexes import next_index
from llava_v2xum.infer.drafting.ngrams import note
from llava_v2xum.infer.drafting.reader import Reader

EOS = 2


class Letters:
    """A tokenizer of one token a character; token 2 is the end of sequence."""

    eos_token_id = EOS

    def __init__(self, joined=(), without=""):
        pieces = [*joined, *(chr(code) for code in range(32, 127) if chr(code) not in without)]
        self.ids = {piece: number for number, piece in enumerate(pieces, start=3)}
        self.joined = joined

    def get_vocab(self):
        return {"</s>": EOS, **self.ids}

    def __call__(self, text, add_special_tokens=True):
        ids, place = [], 0
        while place < len(text):
            piece = next((one for one in self.joined if text.startswith(one, place)), text[place])
            ids.append(self.ids[piece])
            place += len(piece)
        return SimpleNamespace(input_ids=ids)

    def decode(self, ids):
        pieces = {number: piece for piece, number in self.get_vocab().items()}
        return "".join(pieces[one] for one in ids)


class Spaced(Letters):
    """Writes one list otherwise than all others."""

    def __call__(self, text, add_special_tokens=True):
        return super().__call__(text.replace("00, 01, 02", "00 , 01 , 02"))


LETTERS = Letters()
VOCABULARY = Vocabulary.of(LETTERS, Timeline())


def encode(text):
    return LETTERS(text).input_ids


def go_on(text, limit=12, kinds=("indexes",), learnt=(), timeline=None, **options):
    """What is proposed after a text, as a text."""
    drafter = drafter_for(LETTERS, timeline or Timeline(), kinds=kinds, **options)
    for answer in learnt:
        drafter.learn([*encode(answer), EOS])
    return LETTERS.decode(drafter.propose(encode(text), limit)[0])


# the run of indexes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A man [42", ", 43, 44, 45"),
        ("A man [42,", " 43, 44, 45,"),
        ("A man [42, ", "43, 44, 45, "),
        ("A man [42, 4", "3, 44, 45, 4"),
        ("A man [42, 43", ", 44, 45, 46"),
        ("[10, 12, 14", ", 16, 18, 20"),
        ("[10, 12", ", 13, 14, 15"),  # one step of two may be a gap
        ("[10, 12, 14, 15", ", 16, 17, 18"),
        ("[30, 29, 28", ", 27, 26, 25"),
        ("[07, 07, 07", ", 07, 07, 07"),
        ("[97", ", 98, 99"),
        ("[99", ""),
        ("[02, 01, 00", ""),
        ("[42, 5", ""),  # not 43: where it jumps to is not known
        ("[", ""),
        ("[4", ""),
        ("", ""),
        ("A man", ""),
        ("A man [42].", ""),
        ("[42,43", ",44,45,46,47"),  # as this answer writes it
        ("[42][43", ""),
        ("[03, 04]. He [42;43;", "44;45;46;47;"),
        ("[12]A man.[17", ""),  # lists of one index each: the next is none either
        ("[12]A man.[17, 18", ", 19, 20, 21"),
        ("[music", ""),
        ("[f42", ""),
        ("[142", ""),
        ("42, 43", ""),
    ],
)
def test_a_list_goes_on(text, expected):
    assert go_on(text) == expected


@pytest.mark.parametrize(
    ("timeline", "text", "expected"),
    [
        (Timeline(1000, "[{:03d}]"), "[008, 009", ", 010, 011, "),
        (Timeline(10, "[{:01d}]"), "[7", ", 8, 9"),
        (Timeline(50), "[48", ", 49"),
        (Timeline(50), "[60", ""),
        (Timeline(1, "[{:01d}]"), "[0", ""),
        (Timeline(100, "[f{:02d}]"), "[08", ", 09, 10, 11"),  # answers cite the digits alone
    ],
)
def test_other_timelines(timeline, text, expected):
    assert go_on(text, timeline=timeline) == expected


def test_at_most_the_limit_is_proposed():
    assert [go_on("[42", limit) for limit in (0, 1, 5)] == ["", ",", ", 43,"]
    assert len(go_on("[00", 64)) == 64


def test_next_index():
    assert next_index([], 100) is None
    assert [next_index(one, 100) for one in ([5], [5, 9], [5, 9, 13], [9, 5], [99], [1, 0], [2, 1, 0])] == [
        6, 10, 17, 6, None, 1, None
    ]  # fmt: skip


@pytest.mark.pinned
@pytest.mark.parametrize("fast", [False, True], ids=["slow", "fast"])
def test_every_cut_of_a_real_tokenizers_list(tokenizer, fast, tmp_path):
    if fast:
        from transformers import LlamaTokenizerFast

        tokenizer.save_pretrained(tmp_path / "saved")
        tokenizer = LlamaTokenizerFast.from_pretrained(tmp_path / "saved")
    drafter = drafter_for(tokenizer, Timeline(), kinds=("indexes",))
    digits = set(tokenizer.convert_tokens_to_ids(list("0123456789")))
    for start, stop in ((8, 14), (0, 3), (88, 100)):
        run = ", ".join(f"{index:02d}" for index in range(start, stop))
        for text in (f"A woman brushes her hair [{run}", f"[{run}", f"A man [05]. She is [77, 78]. A box [{run}"):
            ids = tokenizer(text, add_special_tokens=False).input_ids
            written = 4 * (stop - start) - 2  # tokens of the list, at two digits and two of the separator
            assert {ids[-written], ids[-1]} <= digits
            for known in range(len(ids) - written + 2, len(ids)):
                proposed = drafter.propose(ids[:known], len(ids) - known)[0]
                assert proposed == ids[known:], (text, known)


@pytest.mark.pinned
def test_what_a_real_tokenizer_tells(tokenizer):
    vocabulary = Vocabulary.of(tokenizer, Timeline())
    assert tokenizer.convert_ids_to_tokens(list(vocabulary.cited[42])) == ["4", "2"]
    assert "".join(tokenizer.convert_ids_to_tokens(list(vocabulary.separator))) == ",▁"
    assert {"▁[", "["} & set(tokenizer.convert_ids_to_tokens(sorted(vocabulary.opens)))
    assert "]" in tokenizer.convert_ids_to_tokens(sorted(vocabulary.closes))
    assert vocabulary.eos == tokenizer.eos_token_id
    assert vocabulary == Vocabulary.of(tokenizer, Timeline())


def test_lists_in_other_brackets_go_on_as_well(monkeypatch):
    monkeypatch.setitem(BRACKETS, "(", ")")
    drafter = drafter_for(LETTERS, Timeline(100, "({:02d})"), kinds=("indexes",))
    assert drafter.propose(encode("He runs (42, 43"), 8)[0] == encode(", 44, 45")
    assert not drafter.propose(encode("He runs [42, 43"), 8)[0] and not drafter.propose(encode("(42, 43)"), 8)[0]


def test_tokenizers_that_cannot_be_drafted_for():
    with pytest.raises(ValueError, match=r"token for every digit, the tokenizer has none for \[3\]"):
        Vocabulary.of(Letters(without="3"), Timeline())
    with pytest.raises(ValueError, match="one token a digit"):
        Vocabulary.of(Letters(joined=("99",)), Timeline())
    with pytest.raises(ValueError, match="one token a digit"):
        Vocabulary.of(Letters(joined=("0, ",)), Timeline())
    with pytest.raises(ValueError, match="same tokens between all indexes"):
        Vocabulary.of(Spaced(), Timeline())


# phrases


def test_a_phrase_comes_again():
    learnt = ["A man runs.", "A man runs.", "A dog sleeps."]
    assert go_on("", 11, KINDS, learnt) == "A man runs."
    assert go_on("A ma", 64, KINDS, learnt) == "n runs.</s>"
    assert go_on("A d", 64, KINDS, learnt, least_chance=0) == "og sleeps.</s>"


def test_lists_are_one_symbol_whatever_their_numbers():
    learnt = ["A man [01, 02]. She runs [11].", "A man [21, 22, 23]. She runs [41]."] * 3
    assert go_on("A man [57, 58, 59, 60, 61]. S", 8, KINDS, learnt) == "he runs "
    plain = go_on("A man [57, 58, 59, 60, 61]. S", 8, ("ngrams",), learnt)
    assert plain == "he runs "  # the last words alone say it too
    assert go_on("B q [57]", 12, KINDS, learnt, least_chance=0).startswith(". She runs [")


def test_the_end_of_a_list_is_learnt():
    learnt = [f"A man [{one:02d}, {one + 1:02d}, {one + 2:02d}]. He runs." for one in range(0, 60, 3)]
    assert go_on("A man [70", 64, KINDS, learnt, least_chance=0) == ", 71, 72]. He runs.</s>"
    assert go_on("A man [70, 71, 72", 4, KINDS, learnt) == "]. H"
    assert go_on("A man [70", 14, ("indexes",)) == ", 71, 72, 73, "


def test_where_lists_begin_is_learnt():
    learnt = [f"A man [08, 09]. He {verb} [42, 43]." for verb in ("runs", "sits", "eats")]
    assert go_on("A dog [", 6, KINDS, learnt) == "08, 09"
    assert go_on("A dog [08, 09]. It [", 6, KINDS, learnt) == "42, 43"


def test_the_answers_own_words_weigh_more():
    learnt = ["the cat.", "the cat.", "the car."]
    assert go_on("the ca", 1, KINDS, learnt) == "t"
    assert go_on("the cab, the cab, the ca", 1, KINDS, learnt) == "b"


def test_nothing_follows_the_end_of_sequence():
    drafter = drafter_for(LETTERS, Timeline(), least_chance=0)
    for _ in range(5):
        drafter.learn([*encode("A man."), EOS])
        drafter.learn([*encode("A man."), EOS])
    ids = drafter.propose(encode("A m"), 64)[0]
    assert ids == [*encode("an."), EOS]


def test_chances_by_hand():
    """`a` was followed by b three times and by c once, `xa` by c alone. The discount is 0.5."""
    drafter = drafter_for(LETTERS, Timeline(), kinds=("ngrams",), least_chance=0)
    for text in ("wab", "vab", "uab", "xac"):
        drafter.learn(encode(text))
    ids, chances = drafter.propose(encode("xa"), 1)
    assert LETTERS.decode(ids) == "c" and chances == [0.5]  # what is left cannot overtake it
    ids, chances = drafter.propose(encode("ya"), 1)
    assert LETTERS.decode(ids) == "b" and chances == [2.5 / 4]
    # In `adya` a was followed by d as well, which counts 3: b and d have 2.5 of 7 each. Three tokens gave 0.5 of 7 to
    # the empty context, where b has 3 of 12 and of the 3 * 4 of the answer's own.
    ids, chances = drafter.propose(encode("adya"), 1)
    assert LETTERS.decode(ids) == "b" and chances == [pytest.approx(2.5 / 7 + 1.5 / 7 * 2.5 / 24)]


def plain_guess(counts, own, contexts):
    """Interpolated absolute discounting over all contexts, with exact shares."""
    scores, share = {}, 1.0
    for context in contexts:
        merged = dict(counts.get(context, {}))
        for token, count in own.get(context, {}).items():
            merged[token] = merged.get(token, 0) + 3 * count
        if merged:
            total = sum(merged.values())
            for token, count in merged.items():
                scores[token] = scores.get(token, 0) + share * (count - 0.5) / total
            share *= 0.5 * len(merged) / total
    return scores


def test_stopping_early_finds_the_same_token_as_all_contexts():
    rng = random.Random(0)
    for _ in range(60):
        table, own = NgramTable(VOCABULARY), {}
        for _ in range(rng.randrange(6)):
            table.learn([rng.randrange(3, 7) for _ in range(20)])
        reader = Reader(VOCABULARY)
        for _ in range(rng.randrange(12)):
            token = rng.randrange(3, 7)
            note(own, reader, token)
            reader.read(token)
        scores = plain_guess(table._counts, own, list(reader.contexts()))
        token, chance = table.guess(reader.contexts(), own)
        if not scores:
            assert (token, chance) == (None, 0.0)
            continue
        assert scores[token] == pytest.approx(max(scores.values()))
        assert 0 < chance <= scores[token] + 1e-12


def test_without_a_list_there_is_nothing_to_go_on_by():
    with pytest.raises(RuntimeError, match="no list goes on here"):
        Reader(VOCABULARY).go_on()


# what is promised of proposals


ANSWERS = [
    "A man runs [08, 09, 10]. He sits [42, 43, 44, 45].",
    "A dog [08, 09]. The dog [37, 38, 39].",
    "[05]A man.[17]B.",
]
TOKENS = st.lists(st.one_of(st.sampled_from(encode("[]0123456789, .Aman")), st.integers(-3, 40000)), max_size=40)


@settings(max_examples=80, deadline=None)
@given(
    answer=TOKENS,
    learnt=st.lists(TOKENS, max_size=3),
    limit=st.integers(-1, 20),
    kinds=st.sampled_from([("indexes",), ("ngrams",), KINDS]),
)
def test_any_ids_are_answered(answer, learnt, limit, kinds):
    drafter = drafter_for(LETTERS, Timeline(), kinds=kinds, least_chance=0)
    for one in learnt:
        drafter.learn(one)
    ids, chances = drafter.propose(answer, limit)
    assert len(ids) == len(chances) <= max(limit, 0)
    assert EOS not in ids[:-1]
    assert all(1 >= first >= second > 0 for first, second in zip([1.0, *chances], chances))
    assert drafter.propose(answer, limit)[0] == ids == drafter.propose(tuple(answer), limit)[0]
    for token in ids:  # what was proposed is read as what was proposed
        answer.append(token)
    drafter.propose(answer, limit)


def test_growing_lists_rows_in_turn_and_copies_give_the_same():
    drafter = drafter_for(LETTERS, Timeline())
    for text in ANSWERS:
        drafter.learn([*encode(text), EOS])
    written = "A man sits [11, 12, 13]. He runs [50, 51].", "A dog [66, 67]. The man [70, 71]."
    texts = [encode(text) for text in written]
    rows = [[] for _ in texts]
    for place in range(40):
        for row, ids in zip(rows, texts):
            row += ids[place : place + 1]
            expected = AnswerDrafter(drafter.vocabulary, drafter.table).propose(list(row), 20)[0]
            assert drafter.propose(row, 20)[0] == expected


def test_an_answer_that_was_rewritten_is_read_anew():
    drafter = drafter_for(LETTERS, Timeline(), kinds=("indexes",))
    answer = encode("A man [42, 43")
    assert LETTERS.decode(drafter.propose(answer, 4)[0]) == ", 44"
    answer[:] = encode("A man [07")
    assert LETTERS.decode(drafter.propose(answer, 4)[0]) == ", 08"


def test_the_same_is_learnt_from_the_same():
    def learnt():
        drafter = drafter_for(LETTERS, Timeline(), least_chance=0)
        for text in ANSWERS:
            drafter.learn([*encode(text), EOS])
        return drafter

    for text in ("", "A", "A man runs [", "[05]A dog"):
        assert learnt().propose(encode(text), 30) == learnt().propose(encode(text), 30)


def test_only_so_many_answers_are_remembered(monkeypatch):
    monkeypatch.setattr(answer_drafter, "_KEPT_ANSWERS", 3)
    drafter = drafter_for(LETTERS, Timeline())
    answers = [encode(f"A man [{index:02d}") for index in range(10, 16)]
    proposals = [drafter.propose(answer, 4)[0] for answer in answers]
    assert len(drafter._progress) == 3
    assert [drafter.propose(answer, 4)[0] for answer in answers] == proposals
    drafter.learn(answers[-1])
    assert len(drafter._progress) == 2  # a finished answer is let go


def test_a_proposal_ends_before_it_is_unlikely():
    drafters = [drafter_for(LETTERS, Timeline(), kinds=("indexes",), least_chance=least) for least in (0, 0.3, 0.9)]
    long, short, none = (drafter.propose(encode("[10, 11"), 400)[0] for drafter in drafters)
    assert len(long) == 4 * 88 and none == []
    assert short == long[: len(short)] and len(short) == 4 * 8  # (0.9 * 0.97)^8 = 0.34, and the ninth is below 0.3


def test_bad_requests():
    timeline = Timeline()
    with pytest.raises(ValueError, match="indexes, ngrams, got \\['words'\\]"):
        drafter_for(LETTERS, timeline, kinds=("words",))
    with pytest.raises(ValueError, match="kinds must be one or both"):
        drafter_for(LETTERS, timeline, kinds=())
    table = NgramTable(VOCABULARY)
    with pytest.raises(ValueError, match="no use to the kinds"):
        drafter_for(LETTERS, timeline, table, kinds=("indexes",))
    for tokenizer, other, kinds in (
        (LETTERS, timeline, ("ngrams",)),
        (LETTERS, Timeline(50), KINDS),
        (Letters(joined=("the",)), timeline, KINDS),
    ):
        with pytest.raises(ValueError, match="another tokenizer, timeline or kinds"):
            drafter_for(tokenizer, other, table, kinds)
    with pytest.raises(ValueError, match="max_contexts must be at least 1, got 0"):
        NgramTable(VOCABULARY, max_contexts=0)


# what the command line has


@pytest.mark.parametrize("name", DRAFTERS)
def test_every_drafter_has_its_help_and_does_what_is_asked_of_one(name):
    kind = drafter_kind(name)
    assert kind.help
    drafter = kind.load(LETTERS, Timeline(), None)
    for _ in range(3):
        drafter.learn([*encode(ANSWERS[0]), EOS])
    ids, chances = drafter.propose(encode("A man runs [08, 09"), 12)
    assert len(ids) <= 12 and (chances is None or len(chances) == len(ids))


@pytest.mark.parametrize("name", ["answers", "indexes", "phrases"])
def test_a_tokenizer_that_cannot_be_drafted_for_is_told_apart_from_a_bad_file(name, tmp_path):
    with pytest.raises(UndraftableTokenizer):
        drafter_kind(name).load(Letters(without="3"), Timeline(), None)
    (tmp_path / "table.json").write_text("{}")
    with pytest.raises(V2XumError, match=r"table\.json") as raised:
        drafter_kind(name).load(LETTERS, Timeline(), tmp_path / "table.json")
    assert not isinstance(raised.value, UndraftableTokenizer)


def test_a_drafter_that_learns_goes_on_from_its_file_and_another_refuses_it(tmp_path):
    path = tmp_path / "table.json"
    drafter = drafter_kind("answers").load(LETTERS, Timeline(), path)  # is not there yet
    for _ in range(3):
        drafter.learn([*encode("A dog sleeps."), EOS])
    drafter.save(path)
    again = drafter_kind("answers").load(LETTERS, Timeline(), path)
    assert LETTERS.decode(again.propose(encode("A d"), 64)[0]) == "og sleeps.</s>"
    with pytest.raises(V2XumError, match=r"table\.json: a draft table is of no use where lists alone"):
        drafter_kind("indexes").load(LETTERS, Timeline(), path)
    with pytest.raises(V2XumError, match="no draft table to save"):
        drafter_kind("indexes").load(LETTERS, Timeline(), None).save(path)


def test_a_drafter_that_is_not_there_is_named():
    with pytest.raises(V2XumError, match=f"drafter must be one of {', '.join(DRAFTERS)}, got 'words'"):
        drafter_kind("words")
