"""Generators that a helper process is asked to call."""

from __future__ import annotations

import os
import signal
import time


def count(number: int):
    yield from range(number)


def own_pid():
    yield os.getpid()


def fail(number: int):
    yield number
    raise ValueError("a.mp4: bad")


class Local(Exception):
    """Cannot be made again from its arguments."""

    def __init__(self, one, two) -> None:
        super().__init__(f"{one} {two}")


def fail_oddly():
    yield from ()
    raise Local("odd", "failure")


def print_and_yield():
    os.write(1, b"a library's chatter\n")
    print("more of it")
    yield "said"


def die(number: int):
    yield number
    os.kill(os.getpid(), signal.SIGSEGV)


def wait_long():
    yield os.getpid()
    time.sleep(600)
