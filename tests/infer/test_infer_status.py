"""What the command's exit status says of summaries that have problems."""

from __future__ import annotations

import pytest

from llava_v2xum.infer.options import parse_arguments
from llava_v2xum.infer.run import InferRun


@pytest.mark.parametrize(("flags", "with_problems", "status"), [([], 2, 0), (["--strict"], 2, 1), (["--strict"], 0, 0)])
def test_strict_makes_problems_count(flags, with_problems, status, capsys):
    run = InferRun(parse_arguments(["clip.mp4", *flags]))
    run.done, run.with_problems = 3, with_problems
    run.tell()
    assert run.status == status
    assert ("2 summaries have problems" in capsys.readouterr().err) == (with_problems > 0)
