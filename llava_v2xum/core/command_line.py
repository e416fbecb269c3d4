"""The parser of every command: `--help` shows its text as it is written, and a slip is told in one line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """argparse's, whose texts keep their line breaks; it ends with status 2 and the reason for a wrong command line.

    A command that needs a sub-command, and gets nothing at all, lists those that there are.

    Attributes:
        commands: the sub-commands, where there are any.
    """

    def __init__(self, *args, formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs) -> None:
        super().__init__(*args, formatter_class=formatter_class, **kwargs)
        self.commands: argparse._SubParsersAction | None = None

    def add_subparsers(self, **kwargs) -> argparse._SubParsersAction:
        """As argparse's; the sub-commands' parsers tell of their own unknown flags."""
        self.commands = super().add_subparsers(parser_class=_SubParser, **kwargs)
        return self.commands

    def parse_args(self, args: Sequence[str] | None = None, namespace=None) -> argparse.Namespace:
        if self.commands is not None and not (sys.argv[1:] if args is None else args):
            self.error(f"one of these is needed:\n{self._list_commands()}")
        return super().parse_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """End with status 2: first the reason, then where all flags are told."""
        self.exit(2, f"error: {message}\n{self.prog} --help lists the flags\n")

    def _list_commands(self) -> str:
        """What `--help` says of the sub-commands: a line or two for each."""
        formatter = self.formatter_class(self.prog)
        formatter.add_argument(self.commands)
        return formatter.format_help().rstrip()


class _SubParser(Parser):
    """A sub-command's: argparse leaves unknown flags to the command, whose `--help` does not list the sub-command's."""

    def parse_known_args(self, args=None, namespace=None):
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return known, unknown
