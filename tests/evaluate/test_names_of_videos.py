"""Predicted videos whose names differ from the annotated ones in how they are written."""

import pytest

from llava_v2xum.core.annotations import AnnotatedSentence, Annotation
from llava_v2xum.core.keyshots import Keyshots
from llava_v2xum.evaluate.formats.names import matched
from llava_v2xum.evaluate.formats.predictions import Prediction

SENTENCES = (AnnotatedSentence("A man runs."),)


def annotations(*names):
    return [Annotation(name, 10.0, "made", SENTENCES) for name in names]


def predictions(*names):
    return {name: Prediction(name, 10, text=name) for name in names}


def test_most_of_a_set_never_misses_for_its_names_in_silence():
    ours = annotations("Air_Force_One", "Eiffel_Tower", "Jumps")
    theirs = predictions("Air Force One", "Eiffel_Tower", "Jumps", "other")
    found, notes = matched(ours, theirs)
    assert found == theirs and "such as 'Air Force One' for 'Air_Force_One'" in notes[0]
    assert notes[0].endswith("they are not scored without --match normalised")
    theirs = predictions("Air Force One", "Eiffel_Tower.mp4", "Jumps")
    with pytest.raises(ValueError, match="2 of 3 annotated videos have no prediction of their name; 2 predict"):
        matched(ours, theirs)
    found, [note] = matched(ours, theirs, "normalised")
    assert list(found) == [one.video_id for one in found.values()] == ["Air_Force_One", "Eiffel_Tower", "Jumps"]
    assert found["Eiffel_Tower"].text == "Eiffel_Tower.mp4" and note.startswith("2 predicted videos are written in an")


def test_the_prefix_of_activitynet_and_the_file_name_of_summe_match_too():
    found, _ = matched(annotations("v_a-b", "v_c"), predictions("a-b", "c"), "normalised")
    assert list(found) == ["v_a-b", "v_c"]
    shots = Keyshots(10, (0, 5), mean_scores=(0.0, 1.0), video_name="Air_Force_One")
    ours = [Annotation("video_1", None, "eccv16", keyshots=shots)]
    assert list(matched(ours, predictions("Air Force One"), "normalised")[0]) == ["video_1"]


def test_names_that_fit_say_nothing_and_stay():
    theirs = predictions("a_b", "a b", "other")
    assert matched(annotations("a_b", "a b", "c"), theirs) == (theirs, [])
    assert matched(annotations("a_b", "a b", "c"), theirs, "normalised") == (theirs, [])


@pytest.mark.parametrize("ours, theirs", [(("a_b", "a  b"), ("a b",)), (("a_b",), ("a b", "a b.mp4"))])
def test_one_name_for_two_videos_is_refused_where_it_is_asked_for(ours, theirs):
    assert matched(annotations(*ours), predictions(*theirs)) == (predictions_as(theirs), [])
    with pytest.raises(ValueError, match="the videos 'a.*b' and 'a b.*' have one name|the videos 'a_b' and 'a  b'"):
        matched(annotations(*ours), predictions(*theirs), "normalised")


def predictions_as(names):
    class Same(dict):
        def __eq__(self, other):
            return list(self) == list(other)

    return Same(predictions(*names))
