"""Scorers that cannot be made: the model or the device is named, before anything is downloaded."""

from types import SimpleNamespace

import pytest

from llava_v2xum.evaluate.models import quality_models
from llava_v2xum.evaluate.models.quality_models import parse_scorer

pytestmark = pytest.mark.pinned


@pytest.mark.parametrize("source", ["./nowhere", "/nowhere/cola", "a/b/c"])
def test_a_path_that_is_not_there_is_not_asked_of_the_hub(source, monkeypatch):
    monkeypatch.setattr(quality_models, "ColaScorer", SimpleNamespace(name="cola", quality="grammar"))
    with pytest.raises(FileNotFoundError, match=f"^{source}: no such folder$"):
        parse_scorer(f"cola:{source}@1")


def test_what_transformers_says_of_a_model_is_one_line_with_its_name(monkeypatch):
    def offline(source, *_, **__):
        raise OSError("We couldn't connect.\nCheck your connection.")

    monkeypatch.setattr(quality_models.ColaScorer, "__init__", offline)
    with pytest.raises(OSError, match=r"^org/x: transformers cannot load it: We couldn't connect. Check your conn"):
        parse_scorer("cola:org/x")


def test_a_device_that_is_none_is_named():
    with pytest.raises(ValueError, match="device 'nowhere' cannot be used: "):
        parse_scorer("cola:org/x", device="nowhere")
