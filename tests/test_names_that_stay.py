"""Names outside this repository that must lead somewhere: the console command, README's imports, old pickles."""

from __future__ import annotations

import importlib
import importlib.metadata
import pickle

import pytest

from llava_v2xum.__main__ import main

pytestmark = pytest.mark.pinned


def test_v2xum_is_the_list_of_commands():
    (found,) = importlib.metadata.entry_points(group="console_scripts", name="v2xum")
    assert found.load() is main


@pytest.mark.parametrize("name", ["keyframes", "crossmodal", "captions"])
def test_the_metrics_that_readme_imports_are_where_it_has_them(name):
    module = importlib.import_module(f"llava_v2xum.evaluate.{name}")
    home = importlib.import_module(f"llava_v2xum.evaluate.metrics.{name}")
    public = getattr(home, "__all__", None) or [key for key in vars(home) if not key.startswith("_")]
    assert public and all(getattr(module, key) is getattr(home, key) for key in public)


@pytest.mark.parametrize("name", ["DataArguments", "ModelArguments", "TrainingArguments"])
def test_pickles_of_training_arguments_name_a_place_that_stays(name):
    from llava_v2xum.train import arguments

    old = f"cllava_v2xum.arguments\n{name}\n.".encode()  # as `training_args.bin` of earlier checkpoints has it
    assert pickle.loads(old) is getattr(arguments, name)
