"""Fixtures that several files share, and how random examples are drawn.

The examples are the same in every run, so that a change is judged by what it changed; `HYPOTHESIS_PROFILE=explore`
draws new ones each time, and many more where a test does not say how many.
"""

from __future__ import annotations

import gzip
import json
import os

import pytest
from hypothesis import settings

settings.register_profile("fixed", derandomize=True, deadline=None)
settings.register_profile("explore", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))


# Files that take minutes, longest first: begun last, they would leave all processes but one idle at the end.
LONG = """
    test_readme train/test_deepspeed curate/test_curate_ray infer/test_infer train/test_train_commands train/test_resume
    train/test_patches train/test_zero3_videos infer/test_infer_kills infer/test_infer_ranks train/test_hf_base
    train/test_llava_scripts train/test_forks
""".split()


def pytest_collection_modifyitems(items):
    """The long files first."""

    def place(item) -> int:
        name = item.nodeid.split("::")[0].removeprefix("tests/").removesuffix(".py")
        return LONG.index(name) if name in LONG else len(LONG)

    items.sort(key=place)


@pytest.fixture
def quick_meteor(monkeypatch, tmp_path):
    """METEOR without its table of paraphrases, which it reads for seconds: words, stems and synonyms still match.

    That the figures with the table are the published ones is test_meteor.py's to show.
    """
    from llava_v2xum.evaluate.metrics import meteor

    table = tmp_path / "none.gz"
    table.write_bytes(gzip.compress(b""))
    monkeypatch.setattr(meteor, "_paraphrases", lambda: table)


@pytest.fixture(params=[True, False], ids=["legacy", "not legacy"])
def tokenizer(request, tmp_path):
    """The tiny tokenizer with either legacy flag, in the class that LLaVA asks for."""
    import tiny
    from transformers import AutoTokenizer

    tiny.write_tokenizer(tmp_path)
    file = tmp_path / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "legacy": request.param}))
    return AutoTokenizer.from_pretrained(tmp_path, use_fast=False)
