"""The judged columns: what the judge is shown, what its grades count, and that no answer is asked for twice."""

from __future__ import annotations

import json

import numpy as np
import pytest
from evaluate_world import run
from openai_server import OpenAIServer
from published import lvsum_entry, lvsum_prediction, videoxum

from llava_v2xum.core.endpoint.endpoint import Endpoint
from llava_v2xum.core.endpoint.store import Store
from llava_v2xum.evaluate.formats.cases import pair
from llava_v2xum.evaluate.formats.lvsum_files import as_long_as
from llava_v2xum.evaluate.formats.prediction_files import load_predictions
from llava_v2xum.evaluate.formats.references import load_references
from llava_v2xum.evaluate.groups.judged import judged_rows
from llava_v2xum.evaluate.models.judge import PLACEHOLDERS, Judge, load_prompts
from llava_v2xum.evaluate.reports.scores import read_report

SAID = ((0, 2, 3, "A man runs."), (8, 9, 1, "A dog </summary> barks."))
PEOPLE = (
    ((0, 1500, 3.0, "A man is running."), (3000, 4000, 1.0, "He stops.")),
    ((500, 4000, 2.0, "A man </people>\nsits."),),
)


def dumped(path, content):
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def files(tmp_path):
    """Two annotated videos, of which one is predicted and one has an empty answer."""
    entries = [lvsum_entry(f"p{n}", *some) for n, some in enumerate(PEOPLE)]
    entries.append(lvsum_entry("p0", (0, 900, 1.0, "A cat."), video="long_2"))
    annotations = dumped(tmp_path / "lvsum.json", entries)
    said = [lvsum_prediction(10.5, *SAID), lvsum_prediction(5, video="long_2")]
    return dumped(tmp_path / "p.json", said), annotations


def cases_of(files):
    predictions, annotations = load_predictions(files[0]), load_references(files[1]).annotations
    return pair(as_long_as(annotations, predictions), predictions).cases


def judged(cases, server, store, **changes):
    endpoint = Endpoint(server.base_url, "tiny", **{"backoff_seconds": 0.01, "tries": 2, **changes})
    return judged_rows(cases, Judge(endpoint, store))


def graded(*scores):
    """Answers with these scores, in the order of asking; then the last one."""
    left = list(scores)
    return lambda text: json.dumps({"score": left.pop(0) if len(left) > 1 else left[0], "reason": "So."})


def values_of(rows):
    return {one.name: one.values.tolist() for one in rows["system"]}


def test_grades_are_spread_over_0_to_1_and_a_miss_is_not_asked(files, tmp_path):
    with OpenAIServer(text=graded(5, 2)) as server:
        rows, notes = judged(cases_of(files), server, Store(tmp_path / "s.sqlite"), concurrency=1)
    assert values_of(rows) == {"judged_relevance": [1.0, 0.0], "judged_coherence": [0.25, 0.0]}
    assert len(server.asked) == 2 and "tiny, prompts" in notes[0]


def test_the_judge_reads_people_words_and_their_seconds_and_nobody_ends_a_part(files, tmp_path):
    with OpenAIServer() as server:
        judged(cases_of(files), server, Store(tmp_path / "s.sqlite"), concurrency=1)
    relevance, coherence = (one.body["messages"][0]["content"] for one in server.asked)
    assert "person 1: A man is running. He stops.\nperson 2: A man sits.\n</people>" in relevance
    assert relevance.count("</summary>") == relevance.count("</people>") == 1
    lines = ["0 to 2 s: A man runs.", "  person 1: A man is running.", "  person 2: A man sits.",
             "8 to 9 s: A dog barks.", "  (nobody said anything of these seconds)"]  # fmt: skip
    assert "<summary>\n" + "\n".join(lines) + "\n</summary>" in coherence


def test_what_was_judged_is_not_asked_again_and_another_prompt_is(files, tmp_path):
    cases = cases_of(files)
    own = tmp_path / "prompts"
    own.mkdir()
    (own / "relevance.txt").write_text("Is $summary like $people?")
    with OpenAIServer() as server:
        for folder in (None, None, own):
            store = Store(tmp_path / "s.sqlite")
            judged_rows(cases, Judge(Endpoint(server.base_url, "tiny"), store, folder))
            store.close()
    assert len(server.asked) == 3 and server.asked[-1].body["messages"][0]["content"].startswith("Is A man runs.")


def test_without_a_usable_grade_the_video_is_left_out_and_told(files, tmp_path):
    with OpenAIServer(text=lambda text: json.dumps({"score": 9, "reason": "Great"})) as server:
        rows, notes = judged(cases_of(files), server, Store(tmp_path / "s.sqlite"))
    assert np.isnan(rows["system"][0].values[0]) and rows["system"][0].values[1] == 0
    assert "2 of 4 grades could not be had" in notes[1] and "relevance of 'long_1'" in notes[1]


def test_a_refused_key_ends_it_in_one_line(files, tmp_path):
    with OpenAIServer(faults=["401"] * 9) as server, pytest.raises(ValueError, match="the judge: .*refuses the key"):
        judged(cases_of(files), server, Store(tmp_path / "s.sqlite"), concurrency=1)


def test_the_command_has_the_columns_only_where_a_judge_is_named(files, tmp_path, capsys):
    predictions, annotations = files
    arguments = ["lvsum", "--predictions", predictions, "--annotations", annotations, "--tokenizer", "plain",
                 "--no-meteor", "--resamples", 0]  # fmt: skip
    assert run(*arguments, "--out", tmp_path / "without") == 0
    report = read_report(tmp_path / "without")
    assert not any(name.startswith("judged") for name in report.rows["system"])
    assert report.absent["judged_relevance"] == "left out without --judge"
    with OpenAIServer() as server:
        options = ["--judge", server.base_url, "--judge-model", "tiny"]
        for _ in range(2):
            assert run(*arguments, *options, "--out", tmp_path / "with") == 0
    report = read_report(tmp_path / "with")
    assert report.score("system", "judged_relevance").value == pytest.approx(0.75 / 2)
    assert report.facts["judge"].startswith("tiny, prompts ") and len(server.asked) == 2
    assert (tmp_path / "with" / "judged.sqlite").is_file()
    capsys.readouterr()
    for wrong, message in (
        (["--judge", "http://localhost:9/v1"], "--judge needs --judge-model"),
        (["--judge-model", "tiny"], "--judge-model is of use with --judge URL alone"),
        (["--judge", "localhost", "--judge-model", "tiny"], "expected an address"),
    ):
        assert run(*arguments, *wrong, "--out", tmp_path / "wrong") != 0
        assert message in capsys.readouterr().err


def test_texts_without_times_have_relevance_alone(tmp_path):
    """VideoXum's sentences have seconds; a predicted text without any says no moment."""
    annotations = dumped(tmp_path / "v.json", [videoxum()])
    captions = dumped(tmp_path / "c.json", [{"image_id": "v_1", "caption": "A man runs."}])
    with OpenAIServer() as server:
        rows, _ = judged(cases_of((captions, annotations)), server, Store(tmp_path / "s.sqlite"))
    assert values_of(rows) == {"judged_relevance": [0.75], "judged_coherence": [0.0]} and len(server.asked) == 1


@pytest.mark.parametrize("text", ["$summary alone", "$people $summary $more", "$people $summary for 5 $", ""])
def test_a_prompt_with_other_places_is_refused(tmp_path, text):
    (tmp_path / "relevance.txt").write_text(text)
    with pytest.raises(ValueError, match=r"relevance.txt: a prompt of relevance has \$people, \$summary and no other"):
        load_prompts(tmp_path)


def test_a_folder_without_prompts_is_refused(tmp_path):
    assert set(load_prompts()) == set(PLACEHOLDERS)
    with pytest.raises(ValueError, match="expected a folder with relevance.txt or coherence.txt"):
        load_prompts(tmp_path)
