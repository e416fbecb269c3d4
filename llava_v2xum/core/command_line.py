"""The parser of every command: `--help` shows its text as it is written, and a slip is told in one line.

What a flag takes is said where it is added: `add("--tries", type=at_least(1))`.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

Number = TypeVar("Number", int, float)


class Parser(argparse.ArgumentParser):
    """argparse's, whose texts keep their line breaks; it ends with status 2 and the reason for a wrong command line.

    A command that needs a sub-command, and gets nothing at all, lists those that there are.

    Attributes:
        commands: the sub-commands, where there are any.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"formatter_class": argparse.RawDescriptionHelpFormatter, **kwargs})
        self.commands: argparse._SubParsersAction | None = None

    def add_subparsers(self, **kwargs: Any) -> argparse._SubParsersAction:
        """As argparse's; the sub-commands' parsers tell of their own unknown flags."""
        self.commands = super().add_subparsers(parser_class=_SubParser, **kwargs)
        return self.commands

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self.commands is not None and not (sys.argv[1:] if args is None else args):
            self.error(f"one of these is needed:\n{self._list_of(self.commands)}")
        return super().parse_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """End with status 2: first the reason, then where all flags are told."""
        message = re.sub(r"^argument (\S+): (?=must )", r"\1 ", message)  # of `in_range`: a sentence about the flag
        self.exit(2, f"error: {message}\n{self.prog} --help lists the flags\n")

    def _list_of(self, commands: argparse._SubParsersAction) -> str:
        """What `--help` says of the sub-commands: a line or two for each."""
        formatter = self.formatter_class(prog=self.prog)
        formatter.add_argument(commands)
        return formatter.format_help().rstrip()


class _SubParser(Parser):
    """A sub-command's: argparse leaves unknown flags to the command, whose `--help` does not list the sub-command's."""

    def parse_known_args(self, args=None, namespace=None):
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return known, unknown


def in_range(
    convert: Callable[[str], Number], fits: Callable[[Number], bool], expected: str
) -> Callable[[str], Number]:
    """The type of a flag that takes the numbers of a range.

    Args:
        convert: int or float.
        fits: whether a number lies in the range; for NaN, too, it says no.
        expected: the range for people, such as "at least 1".
    """

    def read(text: str) -> Number:
        number = convert(text)
        if not fits(number):
            raise argparse.ArgumentTypeError(f"must be {expected}, got {text}")
        return number

    read.__name__ = convert.__name__  # argparse names it where the text is no number
    return read


def at_least(least: int) -> Callable[[str], int]:
    """The type of a flag that takes whole numbers from `least` on."""
    return in_range(int, lambda number: number >= least, f"at least {least}")


def add_video_track(add: Callable[..., Any]) -> None:
    """Add `--video-track`, for a command that reads videos; `add` is argparse's `add_argument`."""
    add("--video-track", type=at_least(0), metavar="N", help="of a file with several video tracks read "
        "this one, counted from 0 without cover pictures (default: the one marked as default, of several the largest, "
        "as players do)")  # fmt: skip


@contextmanager
def ended_by_interrupt(message: str) -> Iterator[None]:
    """Have Ctrl-C end the process at once, with status 130, while something is imported or loaded that could not end.

    An import may show a traceback for it, or, as LLaVA's `except: pass` does, take it for a package that is missing and
    go on to a wrong message. Where Ctrl-C is handled otherwise already, and in other threads, nothing is changed.
    """

    def end(*_: object) -> None:
        os.write(2, f"{message}\n".encode())
        os._exit(130)

    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield  # another's handler, or a shell that has the process ignore it, stays
        return
    before = signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


share = in_range(float, lambda number: 0 < number <= 1, "above 0 and at most 1")
