"""One run at a time fills a folder; the processes of one run share it."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import ExitStack

import pytest

from llava_v2xum.core.errors import V2XumError
from llava_v2xum.core.locks import only_run

REFUSED = "out: another run works in this folder: wait for its end, or give another"


def test_a_second_run_is_refused_until_the_first_ends(tmp_path):
    folder = tmp_path / "new" / "out"
    with only_run(folder), pytest.raises(V2XumError, match=REFUSED), only_run(folder):
        pass
    with only_run(folder):
        pass


def test_the_parts_of_a_run_share_the_folder_with_none_else(tmp_path):
    folder = tmp_path / "out"
    with ExitStack() as held:
        for part in ("rank00", "rank01"):
            held.enter_context(only_run(folder, part))
        for part in ("", "rank00"):
            with pytest.raises(V2XumError, match=REFUSED), only_run(folder, part):
                pass
    with only_run(folder), pytest.raises(V2XumError, match=REFUSED), only_run(folder, "rank00"):
        pass


def test_a_killed_run_lets_go(tmp_path):
    code = f"import time; from llava_v2xum.core.locks import *\nwith only_run(Path({str(tmp_path / 'out')!r})):"
    holder = subprocess.Popen([sys.executable, "-c", f"{code} print(flush=True); time.sleep(600)"], stdout=-1)
    holder.stdout.readline()
    with pytest.raises(V2XumError, match=REFUSED), only_run(tmp_path / "out"):
        pass
    holder.kill()
    holder.wait()
    holder.stdout.close()
    deadline = time.monotonic() + 10
    while True:
        try:
            with only_run(tmp_path / "out"):
                return
        except V2XumError:
            assert time.monotonic() < deadline
