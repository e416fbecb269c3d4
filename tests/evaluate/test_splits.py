"""TVSum and SumMe by their splits: each video scored in its own, and the mean over splits."""

import json

import numpy as np
import pytest
from evaluate_world import run
from published import eccv16_video, write_eccv16

from llava_v2xum.core.errors import V2XumError
from llava_v2xum.evaluate.formats.splits import read_splits
from llava_v2xum.evaluate.metrics.measures import Measure, mean_over_splits
from llava_v2xum.evaluate.reports.scores import read_report

pytest.importorskip("h5py")

VIDEOS = [f"video_{number}" for number in range(1, 6)]
SPLITS = [["video_1", "video_2"], ["video_2", "video_3", "video_4"]]  # of other sizes; one video in both, one in none


@pytest.fixture
def world(tmp_path, monkeypatch):
    """a.h5, splits.json and two systems' scores, first.json and second.json, of every video."""
    monkeypatch.setattr("llava_v2xum.evaluate.reports.curves.draw_figures", lambda *_: [])
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    videos = {}
    for video_id in VIDEOS:
        summary = (rng.random((20, 60)) < 0.3).astype(np.float32)
        more = {"gtscore": rng.random(4), "picks": np.arange(0, 60, 15), "features": rng.random((4, 2))}
        videos[video_id] = eccv16_video(60, user_summary=summary, **more)
    write_eccv16(tmp_path / "a.h5", videos)
    for name in ("first", "second"):
        (tmp_path / f"{name}.json").write_text(json.dumps({one: rng.random(4).tolist() for one in VIDEOS}))
    entries = [{"train_keys": [], "test_keys": [f"../datasets/a.h5/{key}" for key in keys]} for keys in SPLITS]
    (tmp_path / "splits.json").write_text(json.dumps(entries))
    return tmp_path


def scored(*files, splits=(), out="report"):
    status = run("tvsum", "--predictions", *files, "--annotations", "a.h5", "--seeds", 2, "--resamples", 20,
                 "--out", out, *splits)  # fmt: skip
    return read_report(out) if status == 0 else None


def test_the_figure_is_the_mean_over_splits_of_each_file_s_own(world):
    alone = [scored(f"{name}.json", out=name) for name in ("first", "second")]
    report = scored("first.json", "second.json", splits=["--splits", "splits.json"])
    assert report.video_ids == (
        *("video_1 (split 1)", "video_2 (split 1)"),
        *("video_2 (split 2)", "video_3 (split 2)", "video_4 (split 2)"),
    )
    assert report.facts["splits"] == "mean over splits of 2, 3 videos" and report.facts["missing"] == 0
    for row in ("system", "random", "uniform", "human"):
        assert set(report.rows[row]) == set(alone[0].rows[row])
    for key in ("keyshot_f1_avg", "kendall", "spearman_summary"):
        own = [dict(zip(one.video_ids, one.per_video[key])) for one in alone]
        means = [np.mean([values[video] for video in keys]) for values, keys in zip(own, SPLITS)]
        found = report.score("system", key)
        assert found.value == pytest.approx(np.mean(means)) and found.low <= found.value <= found.high
        assert report.per_video[key] == tuple(values[video] for values, keys in zip(own, SPLITS) for video in keys)
    both = scored("first.json", splits=["--splits", "splits.json"])
    own = dict(zip(alone[0].video_ids, alone[0].per_video["kendall"]))
    assert both.score("system", "kendall").value == pytest.approx(
        np.mean([np.mean([own[video] for video in keys]) for keys in SPLITS])
    )


def test_without_splits_two_files_of_one_video_are_refused(world, capsys):
    assert scored("first.json", "second.json") is None
    said = capsys.readouterr().err
    assert "video 'video_1': first.json and second.json both say its frames or importance" in said
    assert "--splits scores it in its own" in said


def test_two_systems_are_compared_over_splits_too(world, capsys):
    more = ["--annotations", "a.h5", "--resamples", 5, "--permutations", 9, "--splits", "splits.json"]
    assert run("compare", "tvsum", "first.json", "second.json", *more) == 0
    assert run("compare", "tvsum", "first.json", "second.json", *more, "--skip-missing") == 0
    line = next(one for one in capsys.readouterr().out.splitlines() if one.startswith("kendall "))
    expected = [scored(f"{name}.json", splits=["--splits", "splits.json"], out=name) for name in ("first", "second")]
    assert line.split()[1:3] == [f"{one.score('system', 'kendall').value:.3f}".replace("-0.000", "0.000")
                                 for one in expected]  # fmt: skip


def test_what_does_not_fit_is_named(world, capsys):
    assert scored("first.json", "first.json", "first.json", splits=["--splits", "splits.json"]) is None
    assert "splits.json has 2 splits: expected one prediction file or one a split, got 3" in capsys.readouterr().err
    (world / "splits.json").write_text(json.dumps([{"test_keys": ["video_1", "video_9"]}]))
    assert scored("first.json", splits=["--splits", "splits.json"]) is None
    assert "splits.json: split 1: no annotation has the id of 'video_9'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content, message",
    [
        ("{}", "expected a JSON list of splits"),
        ("[[1]]", "split 1: expected a JSON object"),
        ('[{"train_keys": []}]', "split 1: missing: test_keys"),
        ('[{"test_keys": ["a"]}, {"test_keys": []}]', "split 2: test_keys must be a list that is not empty"),
        ('[{"test_keys": [3]}]', "split 1: test_keys must be text"),
        ('[{"test_keys": ["x/a", "a"]}]', "split 1: test_keys has a video twice"),
    ],
)
def test_a_file_of_another_form_is_named(tmp_path, content, message):
    path = tmp_path / "s.json"
    path.write_text(content)
    with pytest.raises(V2XumError, match=rf"s\.json: {message}"):
        read_splits(path)


def test_a_resample_without_a_split_is_the_mean_of_the_others():
    measure = mean_over_splits(Measure("f1", np.array([1.0, 0.0, 0.4, np.nan])), [0, 0, 1, 1])
    assert measure.value == pytest.approx((0.5 + 0.4) / 2)
    assert measure.under(np.array([[1, 0, 0, 2], [0, 2, 1, 0]])).tolist() == pytest.approx([1.0, 0.2])
    assert np.isnan(measure.under(np.array([[0, 0, 0, 1]]))[0])
    with pytest.raises(V2XumError, match="no mean over videos"):
        mean_over_splits(measure, [0, 0, 1, 1])
