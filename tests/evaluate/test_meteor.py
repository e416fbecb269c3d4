"""METEOR: the jar's own figures, by a driver that closes what it opens and tells what went wrong."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from caption_sets import PREDICTIONS, REFERENCES, needs_java

from llava_v2xum.evaluate.formats.predictions import Prediction
from llava_v2xum.evaluate.metric_registry import METRICS
from llava_v2xum.evaluate.metrics import meteor
from llava_v2xum.evaluate.metrics.captions import caption_measures
from llava_v2xum.evaluate.metrics.dense import dense_measures
from llava_v2xum.evaluate.metrics.events import Event
from llava_v2xum.evaluate.metrics.java import JavaEnded, JavaError, has_java, run_lines
from llava_v2xum.evaluate.metrics.meteor import (
    STATISTICS,
    choose_meteor,
    meteor_measure,
    meteor_scores,
    meteor_statistics,
)
from llava_v2xum.evaluate.metrics.tokenizers import choose_tokenizer, tokenize

pytest.importorskip("pycocoevalcap.meteor.meteor")


def fake_java(folder: Path, monkeypatch, script: str) -> None:
    java = folder / "java"
    java.write_text(f"#!/bin/sh\n{script}\n")
    java.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


@needs_java
def test_the_figures_are_those_of_pycocoevalcap(monkeypatch):
    from pycocoevalcap.meteor.meteor import Meteor
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Dfile.encoding=UTF-8")  # pycocoevalcap leaves it to the machine
    theirs = Meteor()  # reads its table of paraphrases while ours reads it too
    try:
        measures, notes = caption_measures(PREDICTIONS, REFERENCES, tokenizer="ptb", meteor=True)
        tokens = PTBTokenizer().tokenize({v: [{"caption": text} for text in some] for v, some in REFERENCES.items()})
        hypotheses = PTBTokenizer().tokenize({video: [{"caption": text}] for video, text in PREDICTIONS.items()})
        figure, values = theirs.compute_score(tokens, hypotheses)
    finally:
        theirs.meteor_p.kill()
        theirs.meteor_p.communicate()  # its __del__ closes no pipe
    [measure] = [measure for measure in measures if measure.name == "meteor"]
    assert measure.value == pytest.approx(figure, abs=1e-12)
    assert measure.values == pytest.approx(values, abs=1e-12)
    assert measure.values[[2, 6]].tolist() == [0, 0]  # empty predictions
    assert measure.values[5] == 1  # the reference, word for word
    assert 0 < measure.value < 1
    assert not any("METEOR" in note for note in notes)
    # EVAL of sums needs no paraphrases: it is asked without them, and gives what the full jar gave
    assert meteor_scores(measure.statistics.sum(0, keepdims=True)) == pytest.approx([figure], abs=1e-12)


@needs_java
def test_a_case_worked_by_hand(quick_meteor):
    # Two content words of two match, of three in the reference, in one chunk. Denkowski and Lavie 2014, English:
    # alpha 0.85, beta 0.2, gamma 0.6.
    precision, recall, fragments = 1, 2 / 3, 1 / 2
    f_mean = precision * recall / (0.85 * precision + 0.15 * recall)
    measure = meteor_measure(["zorp quax"], [["zorp quax flib"]])
    assert measure.value == pytest.approx(f_mean * (1 - 0.6 * fragments**0.2), abs=1e-12)
    assert measure.values == pytest.approx([measure.value])


@needs_java
def test_sums_score_as_the_same_lines_repeated(quick_meteor):
    hypotheses = ["a man runs fast", "", "the dog barks at dogs", "zorp", "whole and in one piece", "in pieces whole"]
    references = [["a man is running", "he runs"], ["two cats"], ["the dogs bark"], ["quax"]]
    references += [["whole and in one piece"], ["whole in pieces"]]
    measure = meteor_measure(hypotheses, references)
    counts = np.random.default_rng(0).multinomial(6, [1 / 6] * 6, size=6)
    counts = np.concatenate([counts, 3 * np.eye(6, dtype=int)[[4, 5]]])
    table = meteor._paraphrases()
    raw = meteor._run([" ||| ".join(["SCORE", *r, h]) for h, r in zip(hypotheses, references)], 6, table)
    # The jar itself adds up what one EVAL line holds, and gives the sum's score behind those of its parts.
    parts = [[raw[video] for video, times in enumerate(row) for _ in range(times)] for row in counts]
    answer = iter(meteor._run([" ||| ".join(["EVAL", *some]) for some in parts], counts.sum() + len(counts), table))
    expected = [[float(next(answer)) for _ in range(len(some) + 1)][-1] for some in parts]
    assert measure.under(counts) == pytest.approx(expected, abs=1e-12)
    assert expected[-2] == 1 > expected[-1] > 0


@needs_java
def test_nothing_in_a_text_passes_for_a_separator(quick_meteor):
    clean = meteor_statistics(["a man x runs", "a b"], [["a man runs x"], ["a c"]])
    odd = meteor_statistics(["a man ||| x\nruns", "a\u2028b"], [["a man\rruns ||| x"], ["a |||c"]])
    assert odd.tolist() == clean.tolist()
    assert clean.shape == (2, STATISTICS)


@needs_java
def test_nothing_to_score():
    assert meteor_statistics([], []).shape == (0, STATISTICS)
    assert meteor_scores(np.zeros((0, STATISTICS))).tolist() == []
    assert np.isnan(meteor_scores(np.zeros((2, STATISTICS)))).all()  # no reference has words


@needs_java
def test_the_machine_s_language_does_not_matter(quick_meteor, monkeypatch):
    asked = (["élève plays", "one two three"], [["élève played"], ["one two four"]])
    expected = meteor_measure(*asked)
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Duser.language=de -Duser.country=DE -Dfile.encoding=ISO-8859-1")
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setenv("_JAVA_OPTIONS", "-Duser.language=de -Duser.country=DE -Dfile.encoding=ISO-8859-1")
    measure = meteor_measure(*asked)
    assert measure.values.tolist() == expected.values.tolist()
    assert tokenize(["Élève, 3.5 fois"], "ptb") == ["élève 3.5 fois"]


@needs_java
def test_a_folder_s_name_does_not_matter(quick_meteor, monkeypatch, tmp_path):
    folder = tmp_path / "temporäre files%20"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("LC_ALL", "C")  # in which Java cannot name the folder
    assert meteor_measure(["a dog"], [["a dog"]]).value == 1
    assert list(folder.iterdir()) == []


@needs_java
def test_java_s_own_warnings_are_no_answer(monkeypatch):
    # as where two containers share /tmp or a cgroup is odd: Java warns on standard output
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Xlog:gc+init")
    assert tokenize(["A dog [0.1s][b]."], "ptb") == ["a dog -lsb- 0.1 s -rsb- -lsb- b -rsb-"]


def ends_on_long_lines(monkeypatch, longest=1000):
    """METEOR's program as it is with little memory: one long line costs the answers to all."""
    real, runs = meteor._run, []

    def run(lines, expected, paraphrases):
        runs.append(len(lines))
        if any(line.startswith("SCORE") and len(line) > longest for line in lines):
            raise JavaEnded("METEOR ended with exit status 1: Java heap space")
        return real(lines, expected, paraphrases)

    monkeypatch.setattr(meteor, "_run", run)
    return runs


@needs_java
def test_a_text_that_ends_the_program_costs_its_own_score_alone(quick_meteor, monkeypatch):
    texts = {"a": "A man runs.", "b": "A man runs. " * 200, "c": "A dog barks. " * 20, "d": "He stops."}
    references = {"a": ["A man runs."], "b": ["A man runs."], "c": ["A dog barks."], "d": ["He stops."]}
    others, of_others = ({one: some[one] for one in "acd"} for some in (texts, references))
    how = dict(tokenizer="plain", families=[meteor.METEOR])
    [expected], _ = caption_measures(others, of_others, **how)
    ends_on_long_lines(monkeypatch)
    [measure], notes = caption_measures(texts, references, **how)
    assert measure.value == pytest.approx(expected.value, abs=1e-12)
    assert np.isnan(measure.values).tolist() == [False, True, False, False]
    assert measure.values[[0, 2, 3]].tolist() == expected.values.tolist()
    assert "METEOR is absent for 1 of 4 videos, whose texts end its program: 'b'" in notes


@needs_java
def test_the_program_really_ends_for_want_of_memory(quick_meteor, monkeypatch):
    monkeypatch.setattr(meteor, "_MEMORY", "-Xmx64m")
    texts = ["a man runs", "the man walks out of the house " * 3000]
    statistics = meteor_statistics(texts, [["a man runs"], ["the man"]])
    assert np.isnan(statistics).all(axis=1).tolist() == [False, True]


@needs_java
def test_a_sentence_that_ends_the_program_costs_its_video_s_dense_scores(quick_meteor, monkeypatch):
    short, long = Event(0, 5, "A man runs."), Event(0, 5, "A man runs. " * 200)
    ends_on_long_lines(monkeypatch)
    measures, notes = dense_measures([[short], [long]], [[short], [short]], tokenizer="plain", names=["a", "b"])
    found = {measure.name: measure.values.tolist() for measure in measures}
    for key in ("dense_meteor", "soda_c", "soda_c_script"):
        assert found[key][0] == pytest.approx(1) and np.isnan(found[key][1])
    assert not np.isnan(found["dense_rouge_l"]).any()
    assert "dense captions and SODA: METEOR is absent for 1 of 2 videos, whose texts end its program: 'b'" in notes


@needs_java
def test_a_program_that_takes_nothing_leaves_all_else(quick_meteor, monkeypatch):
    runs = ends_on_long_lines(monkeypatch, 0)
    texts = {str(number): "A man runs." for number in range(100)}
    references = {video: [text] for video, text in texts.items()}
    measures, notes = caption_measures(texts, references, tokenizer="plain")
    assert runs == [100, 99, 97, 93, 85, 69]  # the longest are set aside, more each time, and then it is given up
    assert [one.name for one in measures] == ["bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider"]
    assert "METEOR is absent: METEOR ended with exit status 1: Java heap space" in notes
    _, notes = dense_measures([[Event(0, 5, "A.")]], [[Event(0, 5, "A.")]], tokenizer="plain")
    assert any("Java heap space, so dense_meteor and SODA are absent too" in note for note in notes)
    with pytest.raises(JavaError, match="Java heap space"):
        caption_measures(texts, references, tokenizer="plain", meteor=True)


def test_without_java(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(JavaError, match="METEOR needs Java.*install a Java runtime"):
        meteor_statistics(["a"], [["a"]])


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo out of memory >&2; exit 3", "exit status 3: out of memory"),
        ("exit 1", "it gave no reason"),
        ("cat > /dev/null; echo 1 2 3", "gave '1 2 3' where 23 numbers were expected"),
        ("cat > /dev/null; echo Error: no such thing", "'Error: no such thing'"),
        ("cat > /dev/null; echo 1; echo 2; echo odd >&2", "gave 2 lines where 1 were expected: .* \\(odd\\)"),
        ("exit 0", "gave 0 lines where 1 were expected"),
        ("cat > /dev/null; printf '\\351\\n'", "METEOR did not answer in UTF-8"),
        ("printf 'No memory\\n\\tat some.Class\\n' >&2; exit 1", "exit status 1: No memory$"),
    ],
)
def test_a_failing_java_is_told(monkeypatch, tmp_path, script, message):
    fake_java(tmp_path, monkeypatch, script)
    with pytest.raises(JavaError, match=message):
        meteor_statistics(["a"], [["a"]])


def test_a_java_that_does_not_run_is_none(monkeypatch, tmp_path, caplog):
    """macOS has such a stub where no Java is installed."""
    fake_java(tmp_path, monkeypatch, "echo Unable to locate a Java Runtime. >&2; exit 1")
    assert not has_java()
    assert "does not run, so this goes without Java: exit status 1: Unable to locate" in caplog.text
    assert choose_tokenizer() == "plain" and choose_meteor("auto") is False
    with pytest.raises(JavaError, match="no `java` on the PATH that runs"):
        choose_meteor(True)


def test_a_hanging_java_is_ended(monkeypatch, tmp_path):
    fake_java(tmp_path, monkeypatch, "exec sleep 600")
    with pytest.raises(JavaError, match="the test was ended: no answer to 1 lines in 0.2 s"):
        run_lines("the test", [], ["a"], 1, 0.2)


def test_more_lines_than_a_pipe_holds(monkeypatch, tmp_path):
    fake_java(tmp_path, monkeypatch, "exec cat")  # writes while it reads: a driver that only writes would wait for ever
    lines = [f"{number} {'x' * 1000}" for number in range(2000)]
    assert run_lines("the test", [], lines, len(lines), 60) == lines


def test_a_missing_jar_is_told(monkeypatch, tmp_path):
    package = tmp_path / "jarless.py"
    package.write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(meteor, "_MODULE", "jarless")
    with pytest.raises(JavaError, match=r"paraphrase-en.gz is missing: pip install"):
        meteor_statistics(["a"], [["a"]])


@needs_java
def test_the_table_says_which_of_java_and_its_program_is_lacking(monkeypatch):
    class Settings:
        no_meteor = False

    told = [Prediction("a", 4, text="A man runs.")]
    assert METRICS["meteor"].absence(told, Settings) == "its program fails on these texts"
    monkeypatch.setattr(meteor, "has_java", lambda: False)
    assert METRICS["meteor"].absence(told, Settings) == "needs Java"
