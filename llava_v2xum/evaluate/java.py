"""Java programs that read lines and write lines: started for one batch, always ended, never waited on for ever."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .extras import require

_SHOWN_CHARACTERS = 500  # of what a failing program wrote, in the error
# Whatever the machine's language: text is UTF-8, a decimal point is a point (METEOR reads numbers by the locale).
_LOCALE = ("-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8", "-Duser.language=en", "-Duser.country=US")


class JavaError(OSError):
    """A Java program is not there, failed, hung or gave another answer than it was asked for."""


def has_java() -> bool:
    """Whether there is a `java` on the PATH."""
    return shutil.which("java") is not None


def run_lines(what: str, arguments: Sequence[str], lines: Sequence[str], timeout_seconds: float) -> list[str]:
    """Run a Java program on lines of text and return the lines that it writes.

    The program is killed when the time is over and when the caller is interrupted, and it runs in an empty folder, so
    that it needs no right to write beside its jar.

    Args:
        what: the program's name, for errors.
        arguments: of `java`, after the options for text and numbers.
        lines: its standard input; none may hold a line break.
        timeout_seconds: for all of it.

    Raises:
        JavaError: if there is no Java, the program fails, or the time is over.
    """
    java = shutil.which("java")
    if java is None:
        raise JavaError(
            f"{what} needs Java, and there is no `java` on the PATH: install a Java runtime, version 8 or later "
            "(Debian and Ubuntu: apt-get install default-jre-headless)"
        )
    command = [java, *_LOCALE, *arguments]
    with tempfile.TemporaryDirectory(prefix="llava_v2xum_") as folder:
        try:
            # communicate() empties both pipes while it fills the third, so that no side waits for the other.
            done = subprocess.run(
                command,
                input="".join(line + "\n" for line in lines).encode(),
                capture_output=True,
                timeout=timeout_seconds,
                cwd=folder,
            )
        except subprocess.TimeoutExpired as error:
            raise JavaError(f"{what} was ended: no answer to {len(lines)} lines in {timeout_seconds:g} s") from error
        except OSError as error:
            raise JavaError(f"{what} could not be started: {error}") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()[-_SHOWN_CHARACTERS:]
        raise JavaError(f"{what} ended with exit status {done.returncode}: {said or 'it gave no reason'}")
    answer = done.stdout.decode().split("\n")  # not splitlines(): tokens may hold rarer separators
    return [line.rstrip("\r") for line in (answer[:-1] if answer[-1] == "" else answer)]


def jar_beside(module: str, name: str) -> Path:
    """The path of a jar, or of its data, that pycocoevalcap ships in the folder of one of its modules.

    Raises:
        MissingExtra: if pycocoevalcap is not installed.
        JavaError: if this installation of it lacks the file.
    """
    path = Path(require(module, "metrics").__file__).parent / name
    if not path.is_file():
        raise JavaError(f'{path} is missing: pip install --force-reinstall "pycocoevalcap==1.2" brings it')
    return path.resolve()
