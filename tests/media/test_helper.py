"""Processes beside the one with the model: what they send, and that their death costs one call."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import helper_calls
import pytest

from llava_v2xum.media.helper import Helper, HelperError, HelperStartError


@pytest.fixture
def helper(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(helper_calls.__file__).parent))
    made = Helper()
    yield made
    made.close()


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"


def wait_until(true) -> bool:
    deadline = time.monotonic() + 60
    while not true() and time.monotonic() < deadline:
        time.sleep(0.02)
    return true()


def test_calls_share_a_process(helper):
    assert list(helper.call(helper_calls.count, 5)) == [0, 1, 2, 3, 4]
    assert list(helper.call(helper_calls.count, 0)) == []
    first, second = (next(iter([*helper.call(helper_calls.own_pid)])) for _ in range(2))
    assert first == second != os.getpid()


def test_it_loads_no_torch(helper):
    assert list(helper.call(helper_calls.count, 1)) == [0]
    code = "import sys, llava_v2xum.media.helper, llava_v2xum.media.reading, "
    code += "llava_v2xum.infer.writing; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_what_a_call_raises_comes_through_and_the_process_stays(helper):
    (pid,) = helper.call(helper_calls.own_pid)
    made = helper.call(helper_calls.fail, 7)
    assert next(made) == 7
    with pytest.raises(ValueError, match="a.mp4: bad"):
        next(made)
    with pytest.raises(RuntimeError, match="Local: odd failure"):
        list(helper.call(helper_calls.fail_oddly))
    assert list(helper.call(helper_calls.own_pid)) == [pid]


def test_what_libraries_print_is_no_reply(helper):
    assert list(helper.call(helper_calls.print_and_yield)) == ["said"]


def test_a_crash_is_told_and_the_next_call_has_a_new_process(helper):
    made = helper.call(helper_calls.die, 3)
    assert next(made) == 3
    with pytest.raises(HelperError, match="signal SIGSEGV"):
        next(made)
    assert list(helper.call(helper_calls.count, 2)) == [0, 1]


def test_one_that_died_between_calls_is_replaced(helper):
    (pid,) = helper.call(helper_calls.own_pid)
    os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: helper._process.poll() is not None)
    assert list(helper.call(helper_calls.count, 2)) == [0, 1]


def test_an_abandoned_reply_is_not_taken_for_the_next_one(helper):
    made = helper.call(helper_calls.count, 1000)
    assert next(made) == 0
    made.close()
    assert list(helper.call(helper_calls.count, 3)) == [0, 1, 2]


def test_closing_ends_a_call_in_another_thread(helper):
    told = []
    made = helper.call(helper_calls.wait_long)
    pid = next(made)

    def go_on() -> None:
        try:
            next(made)
        except HelperError as error:
            told.append(str(error))

    thread = threading.Thread(target=go_on)
    thread.start()
    helper.close()
    thread.join(60)
    assert not thread.is_alive() and "SIGKILL" in told[0]
    assert gone(pid)
    with pytest.raises(HelperError, match="closed"):
        list(helper.call(helper_calls.count, 1))


def test_one_that_cannot_start_is_told_so(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(HelperStartError, match="could not start .exit status 1"):
        list(Helper().call(helper_calls.count, 1))


def test_it_ends_with_the_main_process(tmp_path):
    code = "import os, signal, helper_calls; from llava_v2xum.media.helper import Helper; h = Helper();"
    code += "print(*h.call(helper_calls.own_pid), flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    paths = os.pathsep.join([str(Path(__file__).parents[2]), str(Path(helper_calls.__file__).parent)])
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True
    )
    pid = int(done.stdout)
    assert wait_until(lambda: gone(pid))
