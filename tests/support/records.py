"""Comparing records of summaries."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np


def records_in(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "summaries.jsonl").read_text().splitlines()]


def assert_same_records(made: list[dict], wanted: list[dict]) -> None:
    """Word for word; importance as far as passes of other shapes round alike."""
    for one, other in zip(made, wanted, strict=True):
        np.testing.assert_allclose(one["importance"] or [], other["importance"] or [], atol=1e-6)
        assert {**one, "importance": None} == {**other, "importance": None}
