"""Every module of the package is imported by each Python that the project supports."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import llava_v2xum

MODULES = [
    module.name
    for module in pkgutil.walk_packages(llava_v2xum.__path__, "llava_v2xum.")
    if not module.name.endswith("__main__")  # it runs a command
]


@pytest.mark.every_python
@pytest.mark.parametrize("name", MODULES)
def test_it_is_imported(name):
    importlib.import_module(name)
