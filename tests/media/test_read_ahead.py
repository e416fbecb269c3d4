"""Videos in a line: read ahead within bounds, worked on in any order, handed back in theirs."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import helper_calls
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llava_v2xum.core.errors import V2XumError
from llava_v2xum.media.helper import Helper
from llava_v2xum.media.read_ahead import Line, Ticket, in_turn


def reader(read: Callable[[int], object] = lambda number: number) -> Callable[[Path, object], object]:
    """Reads a video's number, and gives what `read` makes of it."""
    return lambda path, helper: read(int(path.name))


class Rows:
    """An engine of some rows: each job takes as many passes as `passes` says of its number."""

    def __init__(self, rows: int, passes: Callable[[int], int] = lambda number: 1) -> None:
        self.rows, self.passes = rows, passes
        self.asked_in_vain = 0

    def __call__(self, jobs: Iterator) -> Iterator[tuple[Ticket, object]]:
        at_work: list[list] = []
        is_over = False
        while at_work or not is_over:
            while not is_over and len(at_work) < self.rows:
                try:
                    job = next(jobs)
                except StopIteration:
                    is_over = True
                    break
                if job is None:
                    self.asked_in_vain += 1
                    break
                at_work.append([self.passes(job[0].number), job])
            for row in at_work:
                row[0] -= 1
            done, at_work = [row for row in at_work if row[0] <= 0], [row for row in at_work if row[0] > 0]
            for _, (ticket, made) in reversed(done):
                yield ticket, ("answer", made)


def paths(count: int) -> list[Path]:
    return [Path(str(number)) for number in range(count)]


def outcomes(line: Line, run) -> list:
    with line:
        return [(ticket.number, outcome) for ticket, outcome in in_turn(line, run, lambda ticket, made: (ticket, made))]


def no_threads_left(before: int) -> bool:
    deadline = time.monotonic() + 30
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    return threading.active_count() <= before


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_three_hundred_videos_and_few_in_flight(threads):
    before, held, most = threading.active_count(), set(), []

    def read(number: int) -> int:
        held.add(number)
        most.append(len(held))
        return number

    def job_of(ticket: Ticket, made: int) -> tuple:
        assert ticket.number == made and str(ticket) == str(made)
        return ticket, made

    line = Line(paths(300), reader(read), threads, ahead=5, window=16)
    with line:
        for turn, (ticket, outcome) in enumerate(in_turn(line, Rows(4, lambda number: 1 + number * 7 % 5), job_of)):
            held.discard(ticket.number)
            assert (ticket.number, outcome) == (turn, ("answer", turn))
    assert turn == 299
    assert line.most <= 9  # five ahead and four rows
    assert max(most) <= 9 + 16  # and those that wait for an older one
    assert no_threads_left(before)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 12), st.booleans()), max_size=40),
    st.integers(0, 3), st.integers(1, 6), st.integers(1, 12), st.integers(1, 5),
)  # fmt: skip
def test_every_video_once_and_in_order_whatever_takes_long(videos, threads, ahead, window, rows):
    begun = []

    def read(number: int) -> int:
        begun.append(number)
        if videos[number][1]:
            raise V2XumError(f"bad {number}")
        return number

    line = Line(paths(len(videos)), reader(read), threads, ahead, window)
    made = outcomes(line, Rows(rows, lambda number: videos[number][0]))
    assert [number for number, _ in made] == list(range(len(videos)))
    assert sorted(begun) == list(range(len(videos)))
    for number, outcome in made:
        assert str(outcome) == f"bad {number}" if videos[number][1] else outcome == ("answer", number)
    assert line.most <= min(ahead + rows, window)


@pytest.mark.parametrize("threads", [0, 1])
def test_a_runaway_answer_holds_up_only_what_is_beyond_the_window(threads):
    begun = []

    def passes(number: int) -> int:
        begun.append(number)
        return 400 if number == 0 else 1

    with Line(paths(60), reader(), threads, ahead=3, window=10) as line:
        results = in_turn(line, Rows(2, passes), lambda ticket, made: (ticket, made))
        assert next(results)[0].number == 0
        assert max(begun) <= 9  # no more than ten were begun until the first was done
        if threads == 0:
            assert begun == list(range(10))  # and no fewer
        assert [ticket.number for ticket, _ in results] == list(range(1, 60))


def test_rows_at_work_do_not_wait_for_a_slow_video():
    is_done, rows = threading.Event(), Rows(2, lambda number: 5)

    def read(number: int) -> int:
        if number == 1:
            assert is_done.wait(60)
        return number

    line = Line(paths(2), reader(read), 1, 2, 4)
    with line:
        results = in_turn(line, rows, lambda ticket, made: (ticket, made))
        assert next(results)[0].number == 0
        is_done.set()
        assert next(results)[0].number == 1
    assert rows.asked_in_vain


def test_failures_alone_are_told_one_by_one():
    def read(number: int) -> int:
        raise V2XumError(str(number))

    line = Line(map(lambda number: Path(str(number)), itertools.count()), reader(read), 2, 3, 4)
    with line:
        for turn, (ticket, outcome) in enumerate(itertools.islice(in_turn(line, Rows(2), None), 50)):
            assert ticket.number == turn and str(outcome) == str(turn)


def test_what_a_job_is_refused_for_is_its_outcome():
    def job_of(ticket: Ticket, made: int) -> tuple:
        if made % 2:
            raise V2XumError("odd")
        return ticket, made

    line = Line(paths(4), reader(), 1, 2, 4)
    with line:
        made = [outcome for _, outcome in in_turn(line, Rows(2), job_of)]
    assert made[::2] == [("answer", 0), ("answer", 2)] and {str(outcome) for outcome in made[1::2]} == {"odd"}


@pytest.mark.parametrize("threads", [0, 2])
def test_other_errors_end_the_run(threads):
    before = threading.active_count()

    def read(number: int) -> int:
        if number == 3:
            raise RuntimeError("out of memory")
        return number

    line = Line(paths(100), reader(read), threads, 2, 4)
    with pytest.raises(RuntimeError, match="out of memory"):
        outcomes(line, Rows(2))
    assert no_threads_left(before)


@pytest.mark.parametrize("threads", [0, 2])
def test_errors_of_the_source_of_paths_end_the_run(threads):
    def source():
        yield Path("0")
        raise OSError("the list cannot be read")

    with pytest.raises(OSError, match="the list"):
        outcomes(Line(source(), reader(), threads, 2, 4), Rows(2))


def test_leaving_ends_a_read_that_hangs(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(helper_calls.__file__).parent))
    before, pids = threading.active_count(), []

    def read(path: Path, helper: Helper) -> Path:
        if path.name != "0":
            pids.extend(helper.call(helper_calls.wait_long))
        return path

    with Line(paths(9), read, 2, 3, 9) as line:
        results = in_turn(line, Rows(2), lambda ticket, made: (ticket, made))
        assert next(results)[0].number == 0
        results.close()
        while len(pids) < 2:  # both threads' processes are at it
            time.sleep(0.01)
    assert no_threads_left(before)
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_paths_are_looked_at_only_as_far_as_videos_are_begun():
    seen = []

    def source():
        for number in itertools.count():
            seen.append(number)
            yield Path(str(number))

    with Line(source(), reader(), 2, 3, 8) as line:
        results = in_turn(line, Rows(2), lambda ticket, made: (ticket, made))
        assert [next(results)[0].number for _ in range(20)] == list(range(20))
    assert len(seen) <= 20 + 8


def test_no_videos():
    assert outcomes(Line([], reader(), 2, 1, 1), Rows(2)) == []


def test_bounds_below_one_are_refused():
    with pytest.raises(ValueError, match="ahead and window must be at least 1"):
        Line([], reader(), 1, 0, 4)
