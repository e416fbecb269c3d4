"""The error of everything that a user can set right."""

from __future__ import annotations


class V2XumError(ValueError):
    """What was asked for or read is not as it must be; the message names it and says in one line what was expected.

    A command shows that line and nothing else. An exception that is none of these, no `OSError` and no missing package
    is a fault of the program, and keeps its traceback.
    """
