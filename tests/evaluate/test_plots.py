"""The pictures show the figures that the report has, and say what is seen."""

from __future__ import annotations

import math
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from llava_v2xum.core.extras import MissingExtra
from llava_v2xum.evaluate.metrics.measures import Measure
from llava_v2xum.evaluate.reports import plots
from llava_v2xum.evaluate.reports.plots import MOST_VIDEOS, VideoCurve, plot_scores, plot_videos
from llava_v2xum.evaluate.reports.scores import make_report

pytest.importorskip("matplotlib")
pytestmark = pytest.mark.pinned


@pytest.fixture
def figures(monkeypatch):
    """Every figure that was saved, to be looked into."""
    seen, save = [], plots._save

    def keep(figure, path):
        seen.append(figure)
        save(figure, path)

    monkeypatch.setattr(plots, "_save", keep)
    return seen


def example(**rows):
    rows = rows or {
        "system": {"f1": [0.2, 0.4, math.nan, 0.9], "kendall": [-0.5, 0.1, 0.2, 0.6], "cider": [0.1, 3.5, 0.2, 0.2]},
        "random": {"f1": [0.1, 0.1, math.nan, 0.1]},
        "human": {"f1": [0.7, 0.7, math.nan, 0.7], "kendall": [0.9] * 4},
    }
    measures = {row: [Measure(key, np.array(values)) for key, values in keys.items()] for row, keys in rows.items()}
    videos = [f"v_{number}" for number in range(4)]
    return make_report("videoxum", "tiny", measures, videos, {}, resamples=0)


def curve(**changes) -> VideoCurve:
    annotators = np.array([[0, 1, 1, 0, 0], [0, 0, 1, 1, 0]])
    importance, selected = np.array([0.0, 0.1, 0.4, 0.2, 0.1]), np.array([False, True, True, False, True])
    values = dict(video_id="v", annotators=annotators, importance=importance, selected=selected)
    return VideoCurve(**{**values, **changes})


def labels_of(figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_histograms_show_every_video_and_the_figures(tmp_path, figures):
    path = tmp_path / "new" / "scores.png"
    assert plot_scores(example(), path) == path
    with Image.open(path) as picture:
        assert picture.format == "PNG" and picture.width > 900
    f1, kendall, cider = figures[0].axes[:3]
    assert [axis.get_title() for axis in (f1, kendall, cider)] == ["F1  50.0", "Kendall  0.100", "CIDEr  100.0"]
    assert [sum(bar.get_height() for bar in axis.patches) for axis in (f1, kendall, cider)] == [3, 4, 4]
    assert sorted(line.get_xdata()[0] for line in f1.lines) == pytest.approx([10, 50, 70])
    assert sorted(line.get_xdata()[0] for line in kendall.lines) == pytest.approx([0.1, 0.9])
    assert f1.get_xlim() == pytest.approx((0, 100)) and kendall.get_xlim() == pytest.approx((-0.5, 0.9))
    assert cider.get_xlim()[1] == pytest.approx(350), "a score beyond one is not cut off"
    assert figures[0].get_suptitle() == "tiny on videoxum: scores of 4 videos"
    assert labels_of(figures[0]) == ["videos of tiny", "over all videos of tiny", "random", "human"]


@pytest.mark.parametrize("values", [[0.0] * 4, [0.5] * 4, [1.0, math.nan, math.nan, math.nan]])
def test_constant_scores_are_drawn_as_one_bar(values, tmp_path, figures):
    plot_scores(example(system={"f1": values}), tmp_path / "scores.png")
    heights = [bar.get_height() for bar in figures[0].axes[0].patches]
    assert max(heights) == sum(heights) == np.isfinite(values).sum()


def test_nothing_to_draw_is_refused(tmp_path):
    for rows in ({"f1": [math.nan] * 4}, {}):
        with pytest.raises(ValueError, match="tiny: no measure has a value"):
            plot_scores(example(system=rows), tmp_path / "scores.png")
    assert list(tmp_path.iterdir()) == []


def test_measures_beside_the_table_are_drawn_where_it_has_none(tmp_path, figures):
    plot_scores(example(system={"own_measure": [0.5] * 4, "f1_max": [0.5] * 4}), tmp_path / "scores.png")
    titles = [axis.get_title() for axis in figures[0].axes if axis.get_visible()]
    assert titles == ["F1 max  50.0", "own_measure  0.5000"]


def test_names_that_look_like_formulas_are_written_as_they_are(tmp_path, figures):
    plot_scores(replace(example(), system="_$x^$_"), tmp_path / "a.png")
    plot_videos([curve(video_id="v_$a^{$")], tmp_path / "b.png", title="$%^")
    assert labels_of(figures[0])[0] == "videos of _$x^$_"
    assert figures[1].axes[0].get_title(loc="left") == "v_$a^{$, 2 annotators"


def test_curves_show_annotators_importance_and_selection(tmp_path, figures):
    path = tmp_path / "videos.png"
    curves = [curve(label="F1 40.0"), curve(annotators=np.ones((1, 5)), importance=None, selected=None)]
    assert plot_videos(curves, path) == path
    with Image.open(path) as picture:
        assert picture.format == "PNG"
    first, second = figures[0].axes[:2]
    titles = [axis.get_title(loc="left") for axis in (first, second)]
    assert titles == ["v, F1 40.0, 2 annotators", "v, 1 annotator"]
    share, selected = (patch.get_data() for patch in first.patches)
    np.testing.assert_allclose(share.values, [0, 0.5, 1, 0.5, 0])
    np.testing.assert_allclose(share.edges, np.arange(6) - 0.5)
    np.testing.assert_array_equal(selected.values > selected.baseline, [False, True, True, False, True])
    np.testing.assert_allclose(first.lines[0].get_ydata(), [0, 0.25, 1, 0.5, 0.25])
    assert not second.lines and len(second.patches) == 1
    assert labels_of(figures[0]) == ["annotators that selected it (share)", "importance (scaled)", "selected samples"]


@pytest.mark.parametrize(
    ("importance", "drawn"),
    [
        ([0.0] * 5, [0.0] * 5),
        ([-1.0, 0.0, 1.0, 0.0, -1.0], [0.0, 0.5, 1.0, 0.5, 0.0]),
        ([math.nan, 0.5, 1.0, 0.0, 0.0], [math.nan, 0.5, 1.0, 0.0, 0.0]),
        ([math.nan] * 5, [math.nan] * 5),
    ],
)
def test_importance_of_any_range_stays_in_the_picture(importance, drawn, tmp_path, figures):
    plot_videos([curve(importance=np.array(importance))], tmp_path / "videos.png")
    np.testing.assert_allclose(figures[0].axes[0].lines[0].get_ydata(), drawn)


def test_empty_places_of_the_grid_are_not_shown(tmp_path, figures):
    plot_videos([curve()] * 3, tmp_path / "videos.png")
    assert [axis.get_visible() for axis in figures[0].axes] == [True, True, True, False]


@pytest.mark.parametrize("count", [0, MOST_VIDEOS + 1])
def test_too_few_or_too_many_videos_are_refused(count, tmp_path):
    with pytest.raises(ValueError, match=f"1 to {MOST_VIDEOS} videos to draw, got {count}"):
        plot_videos([curve()] * count, tmp_path / "videos.png")


def test_curves_whose_samples_do_not_agree_are_refused():
    with pytest.raises(ValueError, match="v: expected importance of 5 samples, got \\(4,\\)"):
        curve(importance=np.zeros(4))
    with pytest.raises(ValueError, match="v: expected annotators"):
        curve(annotators=np.zeros(5))


def test_without_matplotlib_the_error_has_the_command(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Blocked(), *sys.meta_path])
    with pytest.raises(MissingExtra, match="pip install"):
        plot_videos([curve()], tmp_path / "videos.png")


class Blocked:
    """An import hook for which matplotlib is not installed."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "matplotlib":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None
