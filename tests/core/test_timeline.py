"""The N-frame clock, and that the light parts of the package stay light."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from llava_v2xum.core.tasks import INSTRUCTIONS, query_for
from llava_v2xum.core.timeline import Timeline, temporal_prompt_ids

pytestmark = pytest.mark.every_python

LIGHT = (
    "", ".core.timeline", ".core.sampling", ".core.tasks", ".core.summary", ".core.answers", ".media.video",
    ".features.kinds", ".features.tower_kinds", ".features.options",
)  # fmt: skip


def test_prompts_of_the_paper():
    timeline = Timeline()
    assert timeline.num_frames == 100 and timeline.digits == 2
    assert timeline.prompt(7) == "[07]" and timeline.cite(7) == "07"
    assert timeline.prompts()[0] == "[00]" and timeline.prompts()[-1] == "[99]" and len(timeline.prompts()) == 100


def test_other_templates():
    assert Timeline(3, "{:02d}").prompts() == ["00", "01", "02"]
    assert Timeline(1000, "[f{:03d}]").prompt(7) == "[f007]"
    assert Timeline(250, "[{:03d}]").cite(7) == "007"


@pytest.mark.parametrize(
    ("num_frames", "template", "said"),
    [
        (101, "[{:02d}]", "1 to 100"),
        (0, "[{:02d}]", "1 to 100"),
        (11, "<{:01d}>", "1 to 10"),
        (10, "[ii]", "one zero-padded"),
        (10, "[{}]", "one zero-padded"),
        (10, "[{:02d}{:02d}]", "one zero-padded"),
    ],
)
def test_bad_timelines_say_what_was_expected(num_frames, template, said):
    with pytest.raises(ValueError, match=said) as caught:
        Timeline(num_frames, template)
    assert str(num_frames) in str(caught.value) or repr(template) in str(caught.value)


@pytest.mark.parametrize("total", [1, 2, 99, 100, 101, 2999])
@pytest.mark.parametrize("num_frames", [1, 3, 100])
def test_samples_are_the_released_codes(total, num_frames):
    sampled = Timeline(num_frames).sample(total)
    step = (total - 1) / max(num_frames - 1, 1)
    assert sampled.dtype == np.int64 and len(sampled) == num_frames
    assert np.abs(sampled - np.arange(num_frames) * step).max() < 1 + 1e-9
    assert sampled[0] == 0 and (np.diff(sampled) >= 0).all()
    if num_frames > 1:
        assert sampled[-1] == total - 1


def test_sample_by_hand():
    assert Timeline(4).sample(11).tolist() == [0, 3, 6, 10]
    with pytest.raises(ValueError, match="at least 1, got 0"):
        Timeline().sample(0)


@pytest.mark.parametrize(
    ("second", "duration", "index"),
    [(0, 60, 0), (60, 60, 99), (30, 60, 50), (0.5, 100, 0), (1.5, 100, 2), (2.5, 100, 2), (59.9, 60, 99)],
)
def test_training_labels_indexes(second, duration, index):
    assert Timeline().index_at(second, duration) == index


@pytest.mark.parametrize(("second", "duration"), [(-1, 60), (61, 60), (0, 0), (0, -2)])
def test_moments_outside_the_video_are_refused(second, duration):
    with pytest.raises(ValueError, match="duration"):
        Timeline().index_at(second, duration)


class _Letters:
    """A tokenizer of one id a character."""

    def __call__(self, text, add_special_tokens):
        assert not add_special_tokens
        return type("Encoding", (), {"input_ids": [ord(letter) for letter in text]})


class _Merging(_Letters):
    """As above, but `11` is one token."""

    def __call__(self, text, add_special_tokens):
        return super().__call__(text.replace("11", "@"), add_special_tokens)


def test_prompt_ids():
    ids = temporal_prompt_ids(_Letters(), Timeline(12))
    assert len(ids) == 12 and ids[10] == [ord(letter) for letter in "[10]"]


def test_prompts_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match=r"'\[00\]' gives 4, '\[11\]' gives 3"):
        temporal_prompt_ids(_Merging(), Timeline(12))


def test_queries():
    assert query_for("both") == "<video>\n " + INSTRUCTIONS["both"]
    assert query_for("text", separator="\n") == "<video>\nPlease generate a TEXT summarization for this video."
    with pytest.raises(ValueError, match="video, text, both, got 'sound'"):
        query_for("sound")


@pytest.mark.parametrize("module", LIGHT)
def test_light_imports_load_neither_torch_nor_llava(module):
    code = (
        f"import sys, llava_v2xum{module}\n"
        "heavy = {'torch', 'llava', 'transformers'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
