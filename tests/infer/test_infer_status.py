"""What the command's exit status says of summaries that have problems."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llava_v2xum.infer.options import parse_arguments
from llava_v2xum.infer.results import FILE_NAME
from llava_v2xum.infer.run import InferRun


@pytest.mark.parametrize(("flags", "with_problems", "status"), [([], 2, 0), (["--strict"], 2, 1), (["--strict"], 0, 0)])
def test_strict_makes_problems_count(flags, with_problems, status, capsys):
    run = InferRun(parse_arguments(["clip.mp4", *flags]))
    run.done, run.with_problems = 3, with_problems
    run.tell()
    assert run.status == status
    assert ("2 summaries have problems" in capsys.readouterr().err) == (with_problems > 0)


def test_problems_of_an_earlier_run_count_when_the_command_goes_on(tmp_path, capsys):
    record = {"task": "text", "model": "m", "frames": [], "video": str(tmp_path / "a.mp4"), "video_id": "a"}
    records = [{**record, "problems": ["the answer is empty"]}, {**record, "video": "/b.mp4", "video_id": "b"}]
    (tmp_path / FILE_NAME).write_text("".join(json.dumps(one) + "\n" for one in records))
    args = ["a.mp4", "--strict", "--output-dir", str(tmp_path), "--task", "text", "--format", "json"]
    run = InferRun(parse_arguments(args))
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "summary.json").touch()
    run.open_results()
    assert run.still_to_do([tmp_path / "a.mp4", Path("/b.mp4")], "m") == {}
    run.tell()
    assert run.status == 1 and run.with_problems == 1
    assert "1 summary has problems" in capsys.readouterr().err
