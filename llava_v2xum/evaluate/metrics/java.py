"""Java programs that read lines and write lines: started for one batch, always ended, never waited on for ever."""

from __future__ import annotations

import inspect
import logging
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from ...core.extras import require

logger = logging.getLogger(__name__)

_SHOWN_CHARACTERS = 500  # of what a failing program wrote, in the error
_START_SECONDS = 60.0  # `java -version` takes a tenth of one
# Whatever the machine's language: text is UTF-8, a decimal point is a point (METEOR reads numbers by the locale).
_LOCALE = ("-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8", "-Duser.language=en", "-Duser.country=US")
# Java's own warnings, which it writes to standard output: `[0.003s][warning][os,container] ...`
_LOGGED = re.compile(r"\[[0-9.,]+s\]\[[a-z]+ *\]")


class JavaError(OSError):
    """A Java program is not there, failed, hung or gave another answer than it was asked for."""


class JavaEnded(JavaError):
    """A Java program that ran ended with a failure, such as for want of memory."""


def has_java() -> bool:
    """Whether there is a `java` on the PATH that runs; of one that does not (macOS has a stub), the log tells."""
    java = shutil.which("java")
    return java is not None and _runs(java)


def run_lines(
    what: str, arguments: Sequence[str], lines: Sequence[str], expected: int, timeout_seconds: float
) -> list[str]:
    """Run a Java program on lines of text and return the lines that it writes.

    The program is killed when the time is over and when the caller is interrupted, and it runs in an empty folder, so
    that it needs no right to write beside its jar.

    Args:
        what: the program's name, for errors.
        arguments: of `java`, after the options for text and numbers.
        lines: its standard input; none may hold a line break.
        expected: how many lines it should answer.
        timeout_seconds: for all of it.

    Raises:
        JavaError: if there is no Java, the program fails or answers another number of lines, or the time is over.
    """
    java = shutil.which("java")
    if java is None:
        raise JavaError(
            f"{what} needs Java, and there is no `java` on the PATH: install a Java runtime, version 8 or later "
            "(Debian and Ubuntu: apt-get install default-jre-headless)"
        )
    with tempfile.TemporaryDirectory(prefix="llava_v2xum_") as folder:
        try:
            # communicate() empties both pipes while it fills the third, so that no side waits for the other.
            done = subprocess.run(
                [java, *_LOCALE, *arguments],
                input="".join(line + "\n" for line in lines).encode(),
                capture_output=True,
                timeout=timeout_seconds,
                cwd=folder,
                env=_environment(),
            )
        except subprocess.TimeoutExpired as error:
            raise JavaError(f"{what} was ended: no answer to {len(lines)} lines in {timeout_seconds:g} s") from error
        except OSError as error:
            raise JavaError(f"{what} could not be started: {error}") from error
    said = _said(done.stderr)
    if done.returncode:
        raise JavaEnded(f"{what} ended with exit status {done.returncode}: {said}")
    try:
        answer = done.stdout.decode().split("\n")  # not splitlines(): tokens may hold rarer separators
    except UnicodeDecodeError as error:
        raise JavaError(f"{what} did not answer in UTF-8 ({error}): {said}") from error
    answer = [line.rstrip("\r") for line in (answer[:-1] if answer[-1] == "" else answer) if not _LOGGED.match(line)]
    if len(answer) != expected:
        raise JavaError(f"{what} gave {len(answer)} lines where {expected} were expected: {answer[:3]} ({said})")
    return answer


@lru_cache
def _runs(java: str) -> bool:
    try:
        done = subprocess.run([java, "-version"], capture_output=True, timeout=_START_SECONDS)
        problem = f"exit status {done.returncode}: {_said(done.stderr)}" if done.returncode else None
    except (OSError, subprocess.TimeoutExpired) as error:
        problem = str(error)
    if problem:
        logger.warning("%s does not run, so this goes without Java: %s", java, problem)
    return problem is None


def _said(stderr: bytes) -> str:
    """The end of what a program wrote on standard error, without the frames of stack traces."""
    lines = [line for line in stderr.decode(errors="replace").splitlines() if not line.startswith("\tat ")]
    return "\n".join(lines).strip()[-_SHOWN_CHARACTERS:] or "it gave no reason"


def _environment() -> dict[str, str]:
    """The machine's, with the names of files in UTF-8, and nothing in it that overrules `_LOCALE`."""
    changed = {"LC_ALL": "C.UTF-8"}
    if "_JAVA_OPTIONS" in os.environ:  # it comes last, behind the command line
        changed["_JAVA_OPTIONS"] = " ".join([os.environ["_JAVA_OPTIONS"], *_LOCALE])
    return {**os.environ, **changed}


def jar_beside(module: str, name: str) -> Path:
    """The path of a jar, or of its data, that pycocoevalcap ships in the folder of one of its modules.

    Raises:
        MissingExtra: if pycocoevalcap is not installed.
        JavaError: if this installation of it lacks the file.
    """
    path = Path(inspect.getfile(require(module, "metrics"))).parent / name
    if not path.is_file():
        raise JavaError(f'{path} is missing: pip install --force-reinstall "pycocoevalcap==1.2" brings it')
    return path.resolve()
