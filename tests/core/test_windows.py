"""A long film in windows, and what they tell as one summary."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llava_v2xum.core.errors import V2XumError
from llava_v2xum.core.sampling import FrameSampling
from llava_v2xum.core.summary import Sentence, Summary
from llava_v2xum.core.windows import Film, Told, as_window, joined_summary, windows_of

pytestmark = pytest.mark.pinned

N = 10
RATE = 10  # frames a second of the films here


def film_of(duration: float, window: float = 10.0):
    """The windows of a film of N = 10 frames each, and the seconds of their frames."""
    windows = windows_of(FrameSampling(N), duration, window)
    seconds = np.arange(round(duration * RATE)) / RATE
    return windows, [seconds[window.frame_numbers(seconds)] for window in windows]


def told(windows, seconds, *summaries) -> list[Told]:
    return [Told(*of, Summary(tuple(sentences), ())) for *of, sentences in zip(windows, seconds, summaries)]


def test_a_video_that_its_frames_show_has_no_windows():
    assert windows_of(FrameSampling(), 400.0) == windows_of(FrameSampling(), 1e5, "off") == ()
    assert windows_of(FrameSampling(20), 80.0) == () and len(windows_of(FrameSampling(20), 80.1)) == 2
    assert windows_of(FrameSampling(), 29.9, 30) == ()


@given(st.floats(1.001, 1000.0), st.floats(1.0, 5000.0))
def test_windows_cover_a_film_and_overlap_by_a_tenth(times, length):
    windows = windows_of(FrameSampling(), times * length, length)
    assert [window.number for window in windows] == list(range(windows[0].count)) and len(windows) > 1
    assert windows[0].start_seconds == windows[0].own_start_seconds == 0
    assert windows[-1].end_seconds == windows[-1].own_end_seconds == math.inf
    step = windows[1].start_seconds
    assert step / 0.9 <= length * (1 + 1e-9)
    assert windows[-1].start_seconds + step / 0.9 == pytest.approx(times * length)
    for one, following in pairwise(windows):
        assert one.end_seconds - following.start_seconds == pytest.approx(step / 0.9 / 10)
        seam = (one.end_seconds + following.start_seconds) / 2
        assert one.own_end_seconds == following.own_start_seconds == pytest.approx(seam)


def test_a_window_is_sampled_as_a_video_of_its_seconds_is():
    windows, _ = film_of(19.0)
    assert len(windows) == 2 and windows[1].start_seconds == pytest.approx(9.0)
    np.testing.assert_array_equal(windows[0].frame_numbers(np.arange(190) / RATE), FrameSampling(N).sample(100))
    np.testing.assert_array_equal(windows[1].frame_numbers(np.arange(190) / RATE), 90 + FrameSampling(N).sample(100))


def test_a_pause_leaves_a_window_the_frame_before_it():
    windows = windows_of(FrameSampling(N), 30.0, 10.0)
    seconds = np.array([0.0, 1.0, 29.0, 30.0])
    assert windows[1].frame_numbers(seconds).tolist() == [1] * N
    assert set(windows[3].frame_numbers(seconds).tolist()) <= {2, 3}


@given(st.floats(10.1, 200.0))
def test_a_films_frames_ascend_and_come_from_the_windows_that_own_them(duration):
    windows, seconds = film_of(duration)
    film = Film.of(windows, seconds)
    assert (np.diff(film.frame_seconds) > 0).all()
    assert film.frame_seconds[0] == 0 and film.frame_seconds[-1] == pytest.approx(duration, abs=2 / RATE)
    for second, window, frame in zip(film.frame_seconds, film.of_window, film.of_frame):
        assert seconds[window][frame] == second
        assert windows[window].own_start_seconds <= second < windows[window].own_end_seconds


def test_a_run_of_frames_stays_a_run_across_a_seam():
    windows, seconds = film_of(19.0)
    film = Film.of(windows, seconds)
    frames = film.frames_at(seconds[0], (0, 7, 8, 9))
    assert frames[0] == 0 and list(frames[1:]) == list(range(frames[1], frames[-1] + 1))
    assert abs(film.frame_seconds[frames[-1]] - seconds[0][9]) <= 1


def joined(duration, *summaries):
    windows, seconds = film_of(duration)
    film = Film.of(windows, seconds)
    return film, joined_summary(film, told(windows, seconds, *summaries))


def test_an_event_across_a_seam_is_told_once_with_all_its_frames():
    film, summary = joined(19.0, [Sentence("A man runs.", (7, 8, 9))], [Sentence("A man runs.", (0, 1, 2, 3))])
    assert [sentence.text for sentence in summary.sentences] == ["A man runs."]
    cited = film.frame_seconds[list(summary.frames)]
    assert cited[0] == pytest.approx(7.7, abs=0.7) and cited[-1] == pytest.approx(12.3, abs=0.7)
    assert (np.diff(summary.frames) == 1).all()


def test_of_two_tellings_of_the_same_frames_the_one_stays_whose_window_owns_them():
    mine, others = Sentence("A man runs to a bus.", (6, 7, 8, 9)), Sentence("Somebody.", (0,))
    assert [one.text for one in joined(19.0, [mine], [others])[1].sentences] == [mine.text]
    mine, others = Sentence("A man runs to a bus.", (0, 1, 2, 3)), Sentence("Somebody.", (9,))
    assert [one.text for one in joined(19.0, [others], [mine])[1].sentences] == [mine.text]


def test_events_apart_stay_apart_though_they_are_told_alike():
    _, summary = joined(19.0, [Sentence("He jumps.", (1, 2))], [Sentence("He jumps.", (5, 6))])
    assert len(summary.sentences) == 2 and summary.frames == tuple(sorted(summary.frames))


def test_an_event_across_windows_is_told_once_whatever_is_told_beside_it():
    long, short = [Sentence("A man runs.", tuple(range(10)))], [Sentence("A dog barks.", (3, 4))]
    _, summary = joined(28.0, long + short, long, long)
    assert [one.text for one in summary.sentences] == ["A man runs.", "A dog barks."]
    barks = [Sentence("A dog barks.", (9,))], [Sentence("A dog barks.", (1, 2, 3))]
    _, summary = joined(19.0, long + barks[0], long + barks[1])
    assert [one.text for one in summary.sentences] == ["A man runs.", "A dog barks."]


def test_what_a_film_was_told_over_several_windows_does_not_give_way_to_a_glimpse():
    long = [Sentence("A man runs.", tuple(range(10)))]
    _, summary = joined(28.0, long, [Sentence("A man runs.", (0, 8, 9))], [Sentence("Somebody.", (1, 2))])
    assert "A man runs." in [one.text for one in summary.sentences]


def test_what_cites_nothing_is_told_once_where_windows_meet_alone():
    texts = [["One.", "Two."], ["Two.", "One."], ["Three.", "One."]]
    _, summary = joined(28.0, *([Sentence(text) for text in window] for window in texts))
    assert summary.text == "One. Two. One. Three. One."


def test_frames_without_words_become_one_list():
    _, summary = joined(19.0, [Sentence("", (1, 2, 9))], [Sentence("", (0, 7))])
    assert len(summary.sentences) == 1 and len(summary.frames) >= 4


def test_problems_name_their_window():
    windows, seconds = film_of(19.0)
    pieces = [
        Told(windows[0], seconds[0], Summary((), ())),
        Told(windows[1], seconds[1], Summary((), ("the answer is empty",))),
    ]
    assert joined_summary(Film.of(windows, seconds), pieces).problems == ("window 2 of 2: the answer is empty",)


def test_importance_counts_a_window_by_its_citations():
    windows, seconds = film_of(19.0)
    film = Film.of(windows, seconds)
    first, second = np.eye(N)[2], np.eye(N)[7]
    pieces = [
        Told(windows[0], seconds[0], Summary((Sentence("", (2,)),)), first),
        Told(windows[1], seconds[1], Summary((Sentence("", (6, 7, 8)),)), second),
    ]
    importance = film.importance(pieces)
    assert importance[film.frames_at(seconds[0], [2])[0]] == 0.25
    assert importance[film.frames_at(seconds[1], [7])[0]] == 0.75 and importance.sum() == pytest.approx(1)
    assert film.importance([Told(*of, Summary(())) for of in zip(windows, seconds)]) is None


@pytest.mark.parametrize("window", ["always", "0.5", 0, -1, "nan", "inf"])
def test_what_is_no_window_is_refused(window):
    with pytest.raises(V2XumError, match="window must be auto, off or at least 1 second, got"):
        windows_of(FrameSampling(), 1000.0, window)
    with pytest.raises(V2XumError, match="window must be"):
        as_window(str(window))


def test_windows_as_a_flag_gives_them():
    assert (as_window("auto"), as_window("off"), as_window("300")) == ("auto", "off", 300.0)
