"""Processes that read videos and draw pictures for the one with the model: they load no torch and start in a moment.

A file on which the decoder crashes costs its process and that file, nothing else. A helper takes one call at a time on
its standard input and sends back, on its standard output, what the called generator yields; both are pickled.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

_READY, _PART, _END, _ERROR = "ready", "part", "end", "error"
_DYING_SECONDS = 10  # our choice: a process whose pipe is closed has this long to tell how it ended


class HelperError(RuntimeError):
    """A helper ended before its call was over."""


class HelperStartError(RuntimeError):
    """A helper cannot start: no call will get through."""


class Helper:
    """A process for calls of generators; started with the first call, and again after it has ended.

    One thread calls. Any thread may `close`, which ends the call that is going on.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen | None = None
        self._lock = threading.Lock()
        self._closed = False

    def call(self, function: Callable[..., Iterator], *arguments: Any) -> Generator[Any, None, None]:
        """What `function(*arguments)` yields over there, as it comes.

        Args:
            function: found by its module and name in a fresh process.

        Raises:
            HelperError: if the process ends before the call is over; it says how it ended.
            HelperStartError: if it cannot even start.
            Exception: what the function raises.
        """
        process = self._started()
        kind: str = _PART
        value: Any = None
        try:
            _send(process.stdin, (function, arguments))
            while kind == _PART:
                kind, value = _receive(process.stdout)
                if kind == _PART:
                    yield value
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            raise HelperError(f"the process was ended ({_ending_of(process)})") from error
        finally:
            if kind == _PART:  # the rest of this reply would be taken for the next one's
                self._end()
        if kind == _ERROR:
            raise value

    def close(self) -> None:
        """End the process; it starts no more."""
        with self._lock:
            self._closed = True
        self._end()

    def _started(self) -> subprocess.Popen:
        with self._lock:
            if self._closed:
                raise HelperError("the process was ended (closed)")
            process = self._process
            if process is not None and process.poll() is None:
                return process
            process = self._process = _start()
        try:
            if _receive(process.stdout) == _READY:
                return process
        except (EOFError, OSError, pickle.UnpicklingError):
            pass  # told below
        raise HelperStartError(
            f"a process for reading and drawing could not start ({_ending_of(process)}); 0 workers do without"
        )

    def _end(self) -> None:
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()


def _start() -> subprocess.Popen:
    here = str(Path(__file__).resolve().parents[2])
    paths = [here, *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        [sys.executable, "-m", f"{__package__}.helper"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        start_new_session=True,  # Ctrl-C is for the main process, which ends this one
    )


def _ending_of(process: subprocess.Popen) -> str:
    try:
        code = process.wait(_DYING_SECONDS)
    except subprocess.TimeoutExpired:
        return "its pipe is closed"
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"


def _send(stream: Any, message: Any) -> None:
    pickle.dump(message, stream, protocol=5)
    stream.flush()


def _receive(stream: Any) -> Any:
    return pickle.load(stream)


def _serve() -> None:
    """A helper's life: one call after the other, until the other end is closed."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not be taken for a reply
    try:
        _send(replies, _READY)
        while True:
            function, arguments = _receive(sys.stdin.buffer)
            try:
                for part in function(*arguments):
                    _send(replies, (_PART, part))
                message: tuple[str, Any] = (_END, None)
            except BrokenPipeError:
                raise
            except Exception as error:  # whatever it is, it is that call's
                message = _ERROR, _portable(error)
            _send(replies, message)
    except (EOFError, BrokenPipeError):
        os._exit(0)  # the main process is done, or gone; what libraries do at exit may hang on a dead terminal


def _portable(error: Exception) -> Exception:
    """The error itself where it can be sent."""
    try:
        return pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    _serve()
