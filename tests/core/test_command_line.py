"""What flags take: checked where they are parsed, and told as a sentence about the flag."""

from __future__ import annotations

import pytest

from llava_v2xum.core.command_line import Parser, at_least, in_range, share

pytestmark = [pytest.mark.pinned, pytest.mark.every_python]


def parser() -> Parser:
    made = Parser(prog="python -m made")
    made.add_argument("--tries", "-t", type=at_least(1), default=8)
    group = made.add_argument_group("more")
    group.add_argument("--gpus", type=share)
    group.add_argument("--timeout", type=in_range(float, lambda number: 0 < number, "a number above 0"))
    return made


def test_what_lies_in_the_range_is_a_number():
    args = parser().parse_args(["--tries", "1", "--gpus", "1", "--timeout", "0.5"])
    assert (args.tries, args.gpus, args.timeout) == (1, 1.0, 0.5) and type(args.tries) is int
    assert parser().parse_args([]).tries == 8


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tries", "0"], "--tries/-t must be at least 1, got 0"),
        (["--gpus", "0"], "--gpus must be above 0 and at most 1, got 0"),
        (["--gpus", "nan"], "--gpus must be above 0 and at most 1, got nan"),
        (["--timeout", "-3.0"], "--timeout must be a number above 0, got -3.0"),
        (["--tries", "many"], "argument --tries/-t: invalid int value: 'many'"),
        (["--gpus", "all"], "argument --gpus: invalid float value: 'all'"),
    ],
)
def test_what_does_not_is_told_in_one_line(capsys, arguments, said):
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(arguments)
    told = capsys.readouterr().err
    assert ended.value.code == 2 and told == f"error: {said}\npython -m made --help lists the flags\n"
