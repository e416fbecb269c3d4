"""Which frames stand for a video: one rule, asked by its name wherever frames are read or moments become indexes."""

from __future__ import annotations

import numpy as np
import pytest
from tail_rule import add_tail

from llava_v2xum.core.sampling import FrameSampling
from llava_v2xum.core.timeline import Timeline

pytestmark = pytest.mark.every_python


@pytest.fixture
def tail(monkeypatch):
    return add_tail(monkeypatch)


def test_linspace_by_hand():
    sampling = FrameSampling(4)
    assert sampling.rule == "linspace"
    assert sampling.frame_numbers(np.arange(11) / 25, "v").tolist() == sampling.sample(11).tolist() == [0, 3, 6, 10]
    assert sampling.seconds_of(20.0).tolist() == [0, 5, 10, 15]
    assert sampling.indexes_at(np.array([0, 2.4, 2.6, 20]), 20.0).tolist() == [0, 0, 1, 3]


def test_the_moments_of_the_indexes_have_those_indexes():
    sampling = FrameSampling(100)
    assert sampling.indexes_at(sampling.seconds_of(63.0), 63.0).tolist() == list(range(100))


def test_n_needs_no_digits_of_a_template():
    assert len(FrameSampling(1234).sample(5000)) == 1234


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"num_frames": 0}, "num_frames must be at least 1, got 0"),
        ({"rule": "scenes"}, "frame_sampling must be one of linspace, got 'scenes'"),
    ],
)
def test_a_sampling_that_is_none(arguments, said):
    for kind in (FrameSampling,) if "num_frames" in arguments else (FrameSampling, Timeline):
        with pytest.raises(ValueError, match=said):
            kind(**arguments)


def test_fields_that_name_no_rule_are_of_linspace(tail):
    assert FrameSampling.of_fields({}) == FrameSampling() and Timeline.of_fields({}) == Timeline()
    assert FrameSampling.of_fields({"num_frames": 50, "temporal_prompts": True}) == FrameSampling(50, rule="linspace")
    fields = {"num_frames": 50, "frame_sampling": "tail", "temporal_prompt_template": "[f{:02d}]"}
    assert FrameSampling.of_fields(fields) == FrameSampling(50, rule="tail")
    assert Timeline.of_fields(fields) == Timeline(50, "[f{:02d}]", rule="tail") != Timeline(50, "[f{:02d}]")


def test_another_rule_is_asked_about_its_video(tail):
    timeline = Timeline(10, rule="tail")
    assert timeline.sample(30).tolist() == list(range(20, 30))
    assert timeline.frame_numbers(np.arange(12.0), "v_1").tolist() == list(range(2, 12))
    assert (timeline.index_at(3, 30), timeline.index_at(25, 30, "v_2")) == (0, 5)
    assert timeline.seconds_of(30)[[0, -1]].tolist() == [20, 29]
    assert tail.asked == [None, "v_1", None, "v_2"]
