"""Annotations and predictions brought together."""

import pytest

from llava_v2xum.core.annotations import AnnotatedSentence, Annotation
from llava_v2xum.evaluate.formats.cases import pair
from llava_v2xum.evaluate.formats.predictions import Prediction


def annotation(video_id):
    return Annotation(video_id, 10.0, "made", (AnnotatedSentence("A man runs."),))


def prediction(video_id):
    return Prediction(video_id, 100, text="A man runs.")


def test_cases_keep_the_order_of_the_annotations_and_miss_nobody():
    made = pair(map(annotation, "cab"), {name: prediction(name) for name in "bcx"})
    assert made.video_ids == ["c", "a", "b"]
    assert [case.prediction is None for case in made.cases] == [False, True, False]
    assert (made.missing, made.unknown) == (("a",), ("x",))
    scored, unknown = made.notes()
    assert scored == "annotated videos without a prediction: 1 ('a'); they are scored as misses"
    assert "'x'" in unknown


def test_skipping_missing_videos_is_said():
    made = pair(map(annotation, "cab"), {"b": prediction("b")}, skip_missing=True)
    assert made.video_ids == ["b"]
    assert made.missing == ("c", "a")
    assert "left out, as --skip-missing asks" in made.notes()[0]


def test_nothing_to_say_when_everything_is_there():
    assert pair([annotation("a")], {"a": prediction("a")}).notes() == []


def test_files_that_do_not_belong_together_are_an_error():
    with pytest.raises(ValueError, match="none of the 1 predicted videos \\('video_1'\\).*1 annotated ones \\('a'\\)"):
        pair([annotation("a")], {"video_1": prediction("video_1")})
