"""A command tells what a user can set right in one line, and a fault of the program with its traceback."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import llava_v2xum
from llava_v2xum.core.errors import V2XumError
from llava_v2xum.evaluate import __main__ as evaluate
from llava_v2xum.evaluate.reports import scores
from llava_v2xum.model import merge

PACKAGE = Path(llava_v2xum.__file__).parent

def test_every_error_that_the_package_raises_is_its_own():
    raised = {
        f"{file.relative_to(PACKAGE)}:{node.lineno}"
        for file in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)
        if getattr(node.exc.func, "id", None) in ("ValueError", "Exception")
    }
    assert raised == set()


def test_users_find_it_at_the_root_and_can_go_on_catching_a_value_error():
    assert llava_v2xum.V2XumError is V2XumError
    assert issubclass(llava_v2xum.VideoError, V2XumError) and issubclass(V2XumError, ValueError)


@pytest.fixture(params=["merge", "evaluate"])
def run_with(request, monkeypatch, tmp_path):
    """Runs a command whose work ends in the error that is given."""

    def run(error: Exception) -> int:
        def work(*_, **__):
            raise error

        if request.param == "merge":
            monkeypatch.setattr(merge, "merge", work)
            return merge.main(["--model-path", "there", "--out", str(tmp_path / "out")])
        monkeypatch.setattr(scores, "read_report", work)
        return evaluate.main(["tables", str(tmp_path)])

    return run


def test_a_command_tells_its_own_errors_in_one_line(run_with, capsys):
    assert run_with(V2XumError("clip.mp4: expected frames, got none")) in (1, 2)
    assert capsys.readouterr().err == "error: clip.mp4: expected frames, got none\n"


def test_a_fault_of_the_program_keeps_its_traceback(run_with):
    with pytest.raises(ValueError, match="could not be broadcast"):
        run_with(ValueError("operands could not be broadcast together with shapes (3,) (4,)"))
