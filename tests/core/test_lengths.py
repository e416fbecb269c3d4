"""A summary fits its budget, in whole sentences and their order."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llava_v2xum.core.errors import V2XumError
from llava_v2xum.core.lengths import EDIT_KEY, LEAST_CLIP_SECONDS, Length, edited
from llava_v2xum.core.shots import SHORTEST_SHOT_SECONDS, shot_at
from llava_v2xum.core.spans import joined, segments_of
from llava_v2xum.core.summary import Sentence

pytestmark = pytest.mark.pinned

N, SECONDS = 100, 50.0


def record_of(*sentences: tuple[str, tuple[int, ...]], task: str = "both", importance=None) -> dict:
    """A record of a video of 50 s; importance is even over the cited frames where none is given."""
    told = [Sentence(text, frames) for text, frames in sentences]
    seconds = [index / 2 for index in range(N)]
    cited = sorted({frame for one in told for frame in one.frames})
    if importance is None and cited:
        importance = [1 / len(cited) if frame in cited else 0.0 for frame in range(N)]
    segments = segments_of(told, seconds, SECONDS)
    return {
        "video": "clip.mp4", "duration_seconds": SECONDS, "num_frames": N, "task": task, "frame_seconds": seconds,
        "text": " ".join(one.text for one in told if one.text), "segments": segments, "frames": cited,
        "sentences": [{"text": one.text, "frames": list(one.frames)} for one in told],
        "importance": importance if cited else None, "problems": [],
    }  # fmt: skip


def shown(record: dict) -> list[tuple[float, float]]:
    return joined((one["start_seconds"], one["end_seconds"]) for one in record["segments"])


def lasting(record: dict) -> float:
    return sum(end - start for start, end in shown(record))


def texts(record: dict) -> list[str]:
    return [sentence["text"] for sentence in record["sentences"]]


FIVE = record_of(
    ("One.", (2, 3, 4, 5)), ("Two.", (20, 21)), ("Three.", (40, 41, 42, 60, 61)), ("Four.", (70,)), ("Five.", (90, 91)),
)  # fmt: skip

summaries = st.lists(
    st.lists(st.integers(0, N - 1), min_size=0, max_size=9, unique=True), min_size=1, max_size=8
).filter(lambda lists: any(lists))


@given(summaries, st.floats(0.3, 60.0), st.booleans(), st.integers(0, 5))
def test_every_budget_is_met_in_whole_sentences_and_their_order(lists, seconds, is_video, seed):
    scores = np.random.default_rng(seed).random(N).tolist()
    told = [(f"S {n}.", tuple(one)) for n, one in enumerate(lists)]
    if is_video:
        told = [("", tuple(next(one for one in lists if one)))]
    record = record_of(*told, task="video" if not told[0][0] else "both", importance=scores)
    made = edited(record, Length(seconds, "s"))
    assert lasting(made) == pytest.approx(min(seconds, SECONDS), abs=1e-4)
    assert all(0 <= start < end <= SECONDS for start, end in shown(made))
    places = [texts(record).index(text) for text in texts(made)]
    assert places == sorted(set(places)) and made["text"] == " ".join(text for text in texts(made) if text)
    for place, sentence in zip(places, made["sentences"]):
        kept = record["sentences"][place]["frames"]
        assert sentence["frames"] == [frame for frame in kept if frame in sentence["frames"]] != []
    for one in made["segments"]:  # what is shown holds the frames that are cited there
        assert made["sentences"][one["sentence"]]["frames"] and one["frames"]
        for frame in one["frames"]:
            second = record["frame_seconds"][frame]
            assert one["start_seconds"] < second + 0.5 and second < one["end_seconds"]
    assert made["frames"] == sorted({frame for one in made["segments"] for frame in one["frames"]})
    assert made[EDIT_KEY] == {"length": f"{seconds:g}s", "snap": None}


@given(summaries, st.floats(0.5, 60.0))
def test_at_most_one_sentence_is_shortened(lists, seconds):
    record = record_of(*((f"S {n}.", tuple(one)) for n, one in enumerate(lists)))
    made = edited(record, Length(seconds, "s"))
    whole = {one["text"]: one["frames"] for one in record["sentences"]}
    assert sum(one["frames"] != whole[one["text"]] for one in made["sentences"]) <= 1


def test_a_sentence_ends_with_what_is_shown_of_it_where_frames_repeat():
    record = record_of(("One.", (0, 2)))
    record["frame_seconds"] = [0.0] * 50 + [25.0] * 50  # a video of two frames
    record["segments"] = segments_of([Sentence("One.", (0, 2))], record["frame_seconds"], SECONDS)
    made = edited(record, Length(30, "s"))
    assert shown(made) == [(0.0, 30.0)]
    assert (made["sentences"][0]["start_seconds"], made["sentences"][0]["end_seconds"]) == (0.0, 30.0)


def test_lengths_are_read_and_told():
    for text, amount, unit, told in (
        ("30s", 30, "s", "30s"), (" 1.5 s", 1.5, "s", "1.5s"), ("15%", 15, "%", "15%"),
        ("3 sentences", 3, "sentences", "3 sentences"), ("1 sentence", 1, "sentences", "1 sentences"),
    ):  # fmt: skip
        assert (Length.of(text), str(Length.of(text))) == (Length(amount, unit), told)
    for text in ("", "30", "s", "0s", "-3s", "101%", "1.5 sentences", "30 s and more", "nan s"):
        with pytest.raises(V2XumError, match="must be such as 30s, 15%"):
            Length.of(text)
    assert Length.of("15%").seconds(200.0) == 30.0 and Length.of("90s").seconds(60.0) == 60.0


def test_what_matters_more_is_kept():
    importance = [0.0] * N
    for frame, score in ((20, 0.4), (21, 0.4), (90, 0.1), (91, 0.1)):
        importance[frame] = score
    record = record_of(("Two.", (20, 21)), ("Beside it.", (22, 23)), ("Five.", (90, 91)), importance=importance)
    assert texts(edited(record, Length(1, "s"))) == ["Two."]
    assert texts(edited(record, Length(2, "s"))) == ["Two.", "Five."]  # which covers more than what is beside it
    assert texts(edited(record, Length(2, "sentences"))) == ["Two.", "Five."]
    assert texts(edited(record, Length(9, "sentences"))) == ["Two.", "Beside it.", "Five."]


def test_the_rest_of_a_budget_goes_to_the_key_frame_of_one_more_or_around():
    importance = [0.0] * N
    importance[20:30] = [0.01] * 10
    importance[26] = 0.5
    record = record_of(("Long.", tuple(range(20, 30))), importance=importance)
    made = edited(record, Length(1, "s"))
    assert shown(made) == [(12.75, 13.75)] and made["frames"] == [26, 27]  # frame 26 is seen from 13.0 to 13.5
    assert shown(edited(record, Length(7, "s"))) == [(9.0, 16.0)]
    assert shown(edited(record_of(("A.", (0,)), ("B.", (99,))), Length(50, "s"))) == [(0.0, 50.0)]


def test_sentences_alone_last_as_long_as_they_do_but_can_be_watched():
    assert lasting(edited(FIVE, Length(2, "sentences"))) > LEAST_CLIP_SECONDS
    assert lasting(edited(record_of(("A.", (50,))), Length(1, "sentences"))) == LEAST_CLIP_SECONDS


def test_a_text_summary_has_sentences_alone():
    record = record_of(*((f"S {n}.", ()) for n in range(6)), task="text")
    made = edited(record, Length(3, "sentences"))
    places = [int(text[2]) for text in texts(made)]
    assert len(places) == 3 and all(after - before > 1 for before, after in pairwise(places))  # spread over it
    assert made["segments"] == made["frames"] == []
    with pytest.raises(V2XumError, match="the TEXT summary cites no frame: there is nothing to cut"):
        edited(record, Length(3, "s"))
    with pytest.raises(V2XumError, match="the VIDEO summary has no sentences to count: give a length such as 30s"):
        edited(record_of(("", (1, 2)), task="video"), Length(3, "sentences"))
    with pytest.raises(V2XumError, match="has been edited already"):
        edited(edited(FIVE, Length(3, "s")), Length(2, "s"))


cuts = st.lists(st.floats(0.05, 49.9), max_size=30, unique=True).map(
    lambda some: [0.0, *sorted(round(one, 3) for one in some), SECONDS]
)


@given(summaries, cuts, st.none() | st.floats(3.0, 40.0))
def test_no_cut_lies_within_a_short_shot(lists, shots, seconds):
    shots = sorted(set(shots))
    record = record_of(*((f"S {n}.", tuple(one)) for n, one in enumerate(lists)))
    try:
        made = edited(record, None if seconds is None else Length(seconds, "s"), shots)
    except V2XumError as error:
        assert "no shot of what is cited is as short as" in str(error)
        return
    if seconds is not None:
        assert lasting(made) <= seconds + 1e-4
    for one in made["segments"]:
        assert one["start_seconds"] < one["end_seconds"]
        for second in (one["start_seconds"], one["end_seconds"]):
            first, last = shot_at(second, shots)
            assert second in (first, last) or last - first >= SHORTEST_SHOT_SECONDS, (second, first, last)


def test_cuts_move_to_where_shots_begin():
    record = record_of(("A.", (20, 21, 22, 23)), ("B.", (60, 61)))
    shots = [0.0, 9.4, 12.6, 29.8, 30.1, 40.0, SECONDS]  # 31.0 would move to 30.1, and take the sentence away
    assert shown(edited(record, shots=shots)) == [(9.4, 12.6), (30.1, 31.0)]
    assert shown(edited(record, shots=[0.0, SECONDS])) == [(10.0, 12.0), (30.0, 31.0)]  # none is near
    assert edited(record, shots=[0.0, SECONDS])[EDIT_KEY] == {"length": None, "snap": "shots"}
    assert shown(edited(record, Length(1.5, "s"), shots)) == [(30.1, 31.0)]  # no longer than the budget
    # a glimpse of another shot is left out
    assert shown(edited(record, shots=[0.0, 10.7, SECONDS])) == [(10.7, 12.0), (30.0, 31.0)]
