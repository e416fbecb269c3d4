"""Fixtures that several files share."""

from __future__ import annotations

import json

import pytest


@pytest.fixture(params=[True, False], ids=["legacy", "not legacy"])
def tokenizer(request, tmp_path):
    """The tiny tokenizer with either legacy flag, in the class that LLaVA asks for."""
    import tiny
    from transformers import AutoTokenizer

    tiny.write_tokenizer(tmp_path)
    file = tmp_path / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "legacy": request.param}))
    return AutoTokenizer.from_pretrained(tmp_path, use_fast=False)
