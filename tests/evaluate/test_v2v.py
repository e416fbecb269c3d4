"""The V2V column: rows of a system, random, uniform and human, over whole sets of videos."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from llava_v2xum.core.annotations import AnnotatedSentence, Annotation
from llava_v2xum.core.answers import parse_answer
from llava_v2xum.core.keyshots import Keyshots, runs_of
from llava_v2xum.evaluate.formats.cases import Case
from llava_v2xum.evaluate.formats.predictions import Prediction
from llava_v2xum.evaluate.groups.v2v import annotator_masks, keyshot_rows, v2v_rows
from llava_v2xum.evaluate.metrics.baselines import human_correlations, human_f1, random_importance, uniform_selection
from llava_v2xum.evaluate.metrics.clocks import at_samples, second_times
from llava_v2xum.evaluate.metrics.keyframes import (
    RULES,
    f1_annotators,
    human_rank_correlation,
    kendall,
    keyshot_f1,
    keyshot_summary,
    rank_correlation,
    spearman,
    top_fraction,
)

pytestmark = pytest.mark.pinned
REAL = Path(__file__).parents[3] / "shared" / "data" / "released_model_answers.jsonl"
TOPS = ("f1_top15", "f1_videoxum", "f1_videoxum_script")
RANKS = ("kendall", "spearman", "kendall_per_annotator", "spearman_per_annotator")
SAMPLE_MEASURES = {"f1", "f1_max", *RANKS, *TOPS, *(f"{name}_max" for name in TOPS)}
HUMAN_MEASURES = {"f1", "f1_max", *RANKS}


def video(name, masks, duration=None):
    """An annotation at 1 FPS from masks [A, T]."""
    masks = np.asarray(masks, dtype=int)
    return Annotation(name, float(duration or masks.shape[1]), "made", selections=masks.tolist())


def keyshot_video(name, rng, frames=120, people=3, **changes):
    """An annotation of keyshots with everything that the form can hold."""
    picks = tuple(range(0, frames, 15))
    users = rng.random((people, frames // 10)).repeat(10, axis=1) < 0.3
    fields = {
        "change_points": ((0, 29), (30, 44), (45, 54), (55, frames - 1)),
        "user_summaries": tuple(runs_of(user) for user in users),
        "scores": tuple(map(tuple, rng.integers(1, 6, (people, len(picks))).astype(float).tolist())),
        **changes,
    }
    return Annotation(name, None, "made", keyshots=Keyshots(frames, picks, **fields))


def test_frames_of_keyshots_are_numbers_that_no_clock_moves():
    """Index i is a frame of the file, whatever its second: a pick is one too."""
    rng = np.random.default_rng(3)
    plain = Prediction("k", 100, (4, 50), rng.random(100))
    timed = replace(plain, frame_seconds=tuple(np.linspace(0, 1, 100) ** 2 * 60), duration_seconds=61.0)
    annotation = keyshot_video("k", rng)
    rows = [keyshot_rows([Case(annotation, one)], seeds=1)["system"] for one in (plain, timed)]
    figures = [{measure.name: measure.values.tolist() for measure in row} for row in rows]
    assert figures[0] == figures[1] and figures[0]["f1"] != [0]


def draw(rng, videos=4, people=3):
    """Cases on the clock of the prompts, with importance and sets, T from 4 to 150."""
    cases = []
    for number, samples in enumerate(rng.integers(4, 150, videos)):
        annotation = video(f"v{number}", rng.random((people, samples)) < 0.3, samples - 0.4)
        frames = tuple(np.flatnonzero(rng.random(100) < 0.2).tolist())
        cases.append(Case(annotation, Prediction(f"v{number}", 100, frames, rng.random(100).round(1))))
    return cases


def table(rows, row):
    return {measure.name: measure.values for measure in rows[row]}


def test_a_video_by_hand():
    people = [[1, 1, 0, 0, 0, 0, 0, 0], [0, 1, 1, 0, 0, 0, 0, 0]]
    importance = np.array([0.9, 0.5, 0.8, 0.1, 0.2, 0.3, 0.4, 0.05])
    case = Case(video("one", people), Prediction("one", 8, (1, 2), importance, clock="samples"))
    rows = v2v_rows([case], seeds=3)
    system = {name: values[0] for name, values in table(rows, "system").items()}
    assert system["f1"] == pytest.approx((1 / 2 + 1) / 2) and system["f1_max"] == 1
    # top15: int(0.15 * 8) = 1, sample 0; videoxum: one more, samples 0 and 2
    assert system["f1_top15"] == pytest.approx((2 / 3 + 0) / 2) and system["f1_top15_max"] == pytest.approx(2 / 3)
    assert system["f1_videoxum"] == pytest.approx((1 / 2 + 1 / 2) / 2)
    # videoxum-script: the threshold is the score at place 8 - 1 - 1 = 6, 0.4: samples 0, 1, 2, 6
    assert system["f1_videoxum_script"] == pytest.approx(2 * 2 / 6)
    # uniform: one sample in the middle, 4, which nobody chose
    uniform = {name: values[0] for name, values in table(rows, "uniform").items()}
    assert uniform["f1"] == 0 and uniform["kendall"] < 0
    human = {name: values[0] for name, values in table(rows, "human").items()}
    assert human["f1"] == human["f1_max"] == pytest.approx(1 / 2)
    assert set(system) == set(uniform) == SAMPLE_MEASURES and set(human) == HUMAN_MEASURES


def test_every_row_is_what_the_plain_functions_give():
    cases = draw(np.random.default_rng(0))
    rows = v2v_rows(cases, seeds=4)
    for number, case in enumerate(cases):
        people = np.array(case.annotation.selections, dtype=bool)
        samples, seconds = people.shape[1], case.annotation.duration_seconds
        selected = np.zeros(100, dtype=bool)
        selected[list(case.prediction.frames)] = True
        times = second_times(samples, seconds)
        even = uniform_selection(samples)
        draws = random_importance(case.annotation.video_id, samples, 4)
        candidates = {
            "system": [(at_samples(case.prediction.importance, times, seconds), at_samples(selected, times, seconds))],
            "uniform": [(even.astype(float), even)],
            "random": [(one, top_fraction(one)) for one in draws],
        }
        for row, several in candidates.items():
            expected = [plain_scores(importance, chosen, people) for importance, chosen in several]
            for name, values in table(rows, row).items():
                assert values[number] == pytest.approx(np.mean([one[name] for one in expected])), (row, name)
        human = table(rows, "human")
        for kind in ("spearman", "kendall"):
            assert human[kind][number] == pytest.approx(human_rank_correlation(people, kind, "mean"))
            assert human[f"{kind}_per_annotator"][number] == pytest.approx(human_rank_correlation(people, kind))
        each = [f1_annotators(one, np.delete(people, place, axis=0)) for place, one in enumerate(people)]
        assert (human["f1"][number], human["f1_max"][number]) == pytest.approx(tuple(np.mean(each, axis=0)))


def plain_scores(importance, chosen, people):
    scores = {}
    sets = {"f1": chosen} | {f"f1_{rule.replace('-', '_')}": top_fraction(importance, rule=rule) for rule in RULES}
    for name, one in sets.items():
        scores[name], scores[f"{name}_max"] = f1_annotators(one, people)
    for kind in ("spearman", "kendall"):
        scores[kind] = rank_correlation(importance, people, "mean", kind)
        scores[f"{kind}_per_annotator"] = rank_correlation(importance, people, "per-annotator", kind)
    return scores


def test_a_video_without_prediction_is_a_miss_and_its_baselines_stand():
    cases = draw(np.random.default_rng(1))
    whole = v2v_rows(cases, seeds=2)
    missing = v2v_rows([cases[0], Case(cases[1].annotation), *cases[2:]], seeds=2)
    for name, values in table(missing, "system").items():
        assert values[1] == 0
        np.testing.assert_array_equal(np.delete(values, 1), np.delete(table(whole, "system")[name], 1))
    for row in ("random", "uniform", "human"):
        for name, values in table(missing, row).items():
            np.testing.assert_array_equal(values, table(whole, row)[name])


def test_fields_that_no_prediction_has_are_left_out_and_those_some_lack_are_misses():
    first, second = draw(np.random.default_rng(2), videos=2)
    sets_alone = Case(second.annotation, Prediction("v1", 100, second.prediction.frames))
    both = table(v2v_rows([first, sets_alone], seeds=1), "system")
    assert set(both) == SAMPLE_MEASURES
    assert both["f1"][1] > 0 and all(both[name][1] == 0 for name in SAMPLE_MEASURES - {"f1", "f1_max"})
    assert set(table(v2v_rows([sets_alone], seeds=1), "system")) == {"f1", "f1_max"}
    importance_alone = Case(second.annotation, Prediction("v1", 100, importance=second.prediction.importance))
    rows = v2v_rows([importance_alone], seeds=1)
    assert set(table(rows, "system")) == SAMPLE_MEASURES - {"f1", "f1_max"}
    assert set(table(rows, "uniform")) == SAMPLE_MEASURES
    nothing = v2v_rows([Case(second.annotation, Prediction("v1", 100, text="A dog."))], seeds=1)
    assert nothing["system"] == [] and set(nothing) == {"system", "random", "uniform", "human"}


def test_an_empty_answer_scores_0():
    annotation = video("one", np.eye(3, 9))
    rows = v2v_rows([Case(annotation, Prediction("one", 100, (), np.zeros(100)))], seeds=1)
    system = table(rows, "system")
    assert system["f1"] == 0 and system["kendall"] == 0 and system["spearman_per_annotator"] == 0


def test_a_set_that_is_an_annotators_own_scores_1_with_him():
    people = np.array([[0, 1, 1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, 0, 0, 0]])
    case = Case(video("one", people), Prediction("one", 8, (1, 2, 6), clock="samples"))
    assert table(v2v_rows([case], seeds=0), "system")["f1_max"][0] == 1


def test_annotators_who_marked_everything_or_nothing():
    people = [[1] * 20, [0] * 20]
    case = Case(video("one", people), Prediction("one", 20, (0,), np.arange(20) / 20, clock="samples"))
    rows = v2v_rows([case], seeds=2)
    system = table(rows, "system")
    assert system["f1"][0] == pytest.approx(2 / 21 / 2) and system["f1_max"][0] == pytest.approx(2 / 21)
    assert all(system[name][0] == 0 for name in RANKS) and all(table(rows, "human")[name][0] == 0 for name in RANKS)


def test_videos_that_nobody_annotated_are_nan_and_one_annotator_has_no_human_row():
    nobody = Annotation("none", 5.0, "made", sentences=(AnnotatedSentence("A dog."),))
    alone = video("alone", [[0, 1, 1, 0, 0]])
    prediction = Prediction("alone", 5, (1,), np.arange(5.0), clock="samples")
    rows = v2v_rows([Case(nobody), Case(alone, prediction)], seeds=2)
    assert set(rows) == {"system", "random", "uniform"}
    for measures in rows.values():
        for measure in measures:
            assert np.isnan(measure.values[0]) and measure.value == measure.values[1]
    assert v2v_rows([Case(nobody)], seeds=2) == {"system": []}


def test_random_does_not_depend_on_the_other_videos_or_their_order():
    cases = draw(np.random.default_rng(3))
    forward, backward = v2v_rows(cases, seeds=3), v2v_rows(cases[::-1], seeds=3)
    assert forward.keys() == backward.keys()
    for row in forward:
        for name, values in table(forward, row).items():
            np.testing.assert_array_equal(values, table(backward, row)[name][::-1])
    draws = random_importance("v0", 12, 5)
    np.testing.assert_array_equal(random_importance("v0", 12, 2), draws[:2])
    assert not np.array_equal(random_importance("v1", 12, 5), draws)
    assert not np.array_equal(random_importance("v0", 12, 5, seed=1), draws)
    assert ((draws >= 0) & (draws < 1)).all()


def test_scaling_importance_changes_no_figure():
    cases = draw(np.random.default_rng(4))
    scaled = [
        Case(one.annotation, Prediction(one.prediction.video_id, 100, importance=one.prediction.importance * 7 - 2))
        for one in cases
    ]
    ours, theirs = table(v2v_rows(cases, seeds=0), "system"), table(v2v_rows(scaled, seeds=0), "system")
    for name in theirs:
        np.testing.assert_allclose(theirs[name], ours[name], atol=1e-12)


def test_uniform_by_hand():
    assert np.flatnonzero(uniform_selection(20)).tolist() == [3, 10, 16]  # middles of three parts: 3.3, 10, 16.7
    assert np.flatnonzero(uniform_selection(3)).tolist() == [1]
    assert uniform_selection(4, 1.0).all() and uniform_selection(0).shape == (0,)
    for samples in range(7, 200):
        assert uniform_selection(samples).sum() == int(0.15 * samples)


def test_people_need_another_to_be_held_against():
    for scored in (human_f1, human_correlations):
        with pytest.raises(ValueError, match="at least 2 annotators, got 1"):
            scored(np.ones((1, 4), dtype=bool))


def test_masks_from_spans_and_segments():
    spans = Annotation("a", 7.2, "made", key_spans=(((0.5, 2.0), (4.9, 4.95)), (), ((6.9, 7.2),)))
    assert annotator_masks(spans).astype(int).tolist() == [
        [1, 1, 1, 0, 1, 0, 0, 0],
        [0] * 8,
        [0, 0, 0, 0, 0, 0, 1, 1],
    ]
    segments = Annotation(
        "b", 6.0, "made", sentences=(AnnotatedSentence("A", (0.0, 1.0)), AnnotatedSentence("B", (5.0, 6.0)))
    )
    assert annotator_masks(segments).astype(int).tolist() == [[1, 1, 0, 0, 0, 1]]  # second 6 is behind the last
    told = Annotation("c", 6.0, "made", key_spans=(((6.0, 6.0),),), sampled_frames=3)
    assert annotator_masks(told).astype(int).tolist() == [[0, 0, 1]]


@pytest.mark.parametrize("rows_of", [v2v_rows, keyshot_rows])
def test_a_prediction_of_other_samples_names_the_video(rows_of):
    rng = np.random.default_rng(0)
    annotation = video("one", np.eye(2, 9)) if rows_of is v2v_rows else keyshot_video("one", rng)
    with pytest.raises(ValueError, match="video 'one': .* must have [89] of them, got 10"):
        rows_of([Case(annotation, Prediction("one", 10, (1,), clock="samples"))])


def test_each_kind_of_annotation_has_its_own_function():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="video 'k' has keyshots"):
        v2v_rows([Case(keyshot_video("k", rng))])
    with pytest.raises(ValueError, match="video 'one' has no keyshots"):
        keyshot_rows([Case(video("one", np.eye(2, 9)))])


def test_keyshot_rows_are_what_the_plain_functions_give():
    rng = np.random.default_rng(5)
    annotations = [keyshot_video("k0", rng), keyshot_video("k1", rng, frames=200, scores=None)]
    cases = [Case(one, Prediction(one.video_id, 100, tuple(range(20, 50)), rng.random(100))) for one in annotations]
    rows = keyshot_rows(cases, seeds=2)
    system = table(rows, "system")
    assert set(system) == set(table(rows, "random")) == set(table(rows, "human"))
    for number, case in enumerate(cases):
        keyshots = case.annotation.keyshots
        users, picks = keyshots.user_summary(), np.array(keyshots.picks)
        importance = at_samples(case.prediction.importance, picks, keyshots.n_frames)
        points, lengths = np.array(keyshots.change_points), np.array(keyshots.n_frame_per_segment)
        summary = keyshot_summary(importance, points, keyshots.n_frames, lengths, picks)
        people = users[:, picks] if keyshots.scores is None else np.array(keyshots.scores)
        expected = {f"keyshot_f1_{how}": keyshot_f1(summary, users, how) for how in ("avg", "max")}
        for kind, correlate in (("spearman", spearman), ("kendall", kendall)):
            expected[kind] = rank_correlation(importance, people, "mean", kind)
            expected[f"{kind}_per_annotator"] = rank_correlation(importance, people, "per-annotator", kind)
            expected[f"{kind}_summary"] = correlate(summary.astype(float), users.mean(axis=0))
        selected = at_samples(np.isin(np.arange(100), case.prediction.frames), picks, keyshots.n_frames)
        expected["f1"], expected["f1_max"] = f1_annotators(selected, users[:, picks])
        assert {name: values[number] for name, values in system.items()} == pytest.approx(expected)
        others = [users[np.arange(len(users)) != place].mean(axis=0) for place in range(len(users))]
        people_among = np.mean([kendall(one.astype(float), rest) for one, rest in zip(users, others)])
        assert table(rows, "human")["kendall_summary"][number] == pytest.approx(people_among)


def test_keyshots_without_change_points_or_annotators():
    rng = np.random.default_rng(6)
    without_points = keyshot_video("k0", rng, change_points=None)
    mean_alone = keyshot_video("k1", rng, user_summaries=(), scores=None, mean_scores=tuple(range(8)))
    cases = [
        Case(one, Prediction(one.video_id, 8, importance=np.arange(8.0), clock="samples"))
        for one in (without_points, mean_alone)
    ]
    system = table(keyshot_rows(cases, seeds=1), "system")
    assert "keyshot_f1_avg" not in system and "kendall_summary" not in system
    assert system["spearman"][1] == system["kendall"][1] == pytest.approx(1)
    assert np.isnan(system["kendall_per_annotator"][1]) and np.isfinite(system["kendall_per_annotator"][0])


def test_keyshots_by_a_set_alone_and_a_miss():
    rng = np.random.default_rng(7)
    annotations = [keyshot_video("k0", rng), keyshot_video("k1", rng)]
    rows = keyshot_rows([Case(annotations[0], Prediction("k0", 100, (1, 50))), Case(annotations[1])], seeds=1)
    system = table(rows, "system")
    assert set(system) == {"f1", "f1_max"} and system["f1"][1] == 0
    assert {"keyshot_f1_avg", "keyshot_f1_max"} < set(table(rows, "uniform"))


def test_notes_say_how_a_figure_came_about_and_progress_sees_every_case():
    seen = []

    def progress(cases):
        for case in cases:
            seen.append(case.annotation.video_id)
            yield case

    rows = v2v_rows(draw(np.random.default_rng(8)), seeds=7, progress=progress)
    assert seen == ["v0", "v1", "v2", "v3"]
    notes = {row: {measure.name: measure.notes for measure in measures} for row, measures in rows.items()}
    assert notes["random"]["kendall"] == ("mean over 7 seeds",) and notes["system"]["f1_top15"] == ()
    assert "no more than 15 % ones" in notes["system"]["f1_videoxum"][0]
    assert "arbitrary" in notes["system"]["f1_videoxum_script_max"][0]


def notes_of(rows, row, name):
    return next(measure.notes for measure in rows[row] if measure.name == name)


def test_notes_count_the_misses_and_the_videos_that_cannot_be_scored():
    cases = draw(np.random.default_rng(9), videos=5)
    ids, importance = [case.annotation.video_id for case in cases], np.ones(100)
    said = [
        Prediction(ids[0], 100, (), importance),
        Prediction(ids[1], 100, (3,)),
        Prediction(ids[2], 100, None, importance),
        None,
        Prediction(ids[4], 100, (), importance),
    ]
    nobody = Annotation(ids[4], 5.0, "made", sentences=(AnnotatedSentence("A dog."),))
    alone = video(ids[3], np.eye(1, 9))
    annotations = [*(case.annotation for case in cases[:3]), alone, nobody]
    rows = v2v_rows([Case(*pair) for pair in zip(annotations, said)], seeds=1)
    over = "over the {} of 5 videos whose annotations have what it needs"
    assert notes_of(rows, "system", "f1") == (
        over.format(4),
        "1 of 4 videos are predicted without frames and score as misses",
        "1 of 4 videos have a prediction that selects no frame: 0",
    )
    without = "1 of 4 videos are predicted without importance and score as misses"
    assert notes_of(rows, "system", "kendall") == (over.format(4), without)
    assert notes_of(rows, "uniform", "f1") == (over.format(4),)
    assert notes_of(rows, "human", "f1") == (over.format(3),)


def test_notes_tell_correlations_with_summaries_from_those_with_importance():
    """TVSum's eccv16 file has no importance of each annotator, and figures of the two are not to be compared."""
    rng = np.random.default_rng(10)
    for scores, told in (({}, False), ({"scores": None}, True)):
        case = Case(keyshot_video("k", rng, **scores), Prediction("k", 8, None, np.arange(8.0), clock="samples"))
        rows = keyshot_rows([case], seeds=1)
        for row, measures in rows.items():
            for measure in measures:
                by_summaries = any("for want of their importance" in note for note in measure.notes)
                assert by_summaries == (told and measure.name in RANKS), (row, measure.name)


@pytest.mark.skipif(not REAL.is_file(), reason="the real answers are not here")
def test_real_answers_are_scored_as_second_by_second_counts_have_it():
    """Against ActivityNet's segments, which fill most of a video: a check of the path, no measure of the answers."""
    cases, expected = [], []
    for line in REAL.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        duration = entry["duration"]
        spans = [tuple(min(edge, duration) for edge in span) for span in entry["reference_timestamps"]]
        sentences = tuple(AnnotatedSentence(*pair) for pair in zip(entry["reference_sentences"], spans))
        frames = parse_answer(entry["answer"]).frames
        annotation = Annotation(entry["video_id"], duration, "activitynet_captions", sentences)
        cases.append(Case(annotation, Prediction(entry["video_id"], 100, frames)))
        told = {second for start, end in spans for second in range(int(start), int(end) + 1) if second < duration}
        times = second_times(math.ceil(duration), duration)
        chosen = set(np.flatnonzero(at_samples(np.isin(np.arange(100), frames), times, duration)).tolist())
        expected.append(2 * len(told & chosen) / (len(told) + len(chosen)))
    system = table(v2v_rows(cases, seeds=0), "system")
    np.testing.assert_allclose(system["f1"], expected)
    np.testing.assert_array_equal(system["f1_max"], system["f1"])  # one annotator


def test_it_imports_without_the_packages_of_extras():
    blocked = ("torch", "transformers", "llava", "h5py", "scipy", "ruptures", "sklearn", "pycocoevalcap", "matplotlib")
    lines = ["import sys"] + [f"sys.modules[{name!r}] = None" for name in blocked]
    mine = ("groups.v2v", "metrics.keyframes", "metrics.segments")
    lines += [f"import llava_v2xum.evaluate.{name}" for name in mine]
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True)
