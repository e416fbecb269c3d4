"""What a first user of the command runs into, told in words that help."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from llava_v2xum.core.locks import only_run
from llava_v2xum.infer.options import parse_arguments
from llava_v2xum.infer.progress import Progress
from llava_v2xum.infer.run import InferRun, main
from llava_v2xum.media.processes import Rank

RECORD = {"task": "video", "model": "llava_v2xum shapes demo", "frames": [1], "problems": []}


def earlier_run(out: Path, *videos: Path) -> dict[str, bytes]:
    """The files of an earlier VIDEO run, by their paths."""
    records = [{**RECORD, "video": str(video), "video_id": video.stem} for video in videos]
    out.mkdir()
    (out / "summaries.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
    for one in records:
        (out / one["video_id"]).mkdir()
        (out / one["video_id"] / "summary.json").write_text(json.dumps(one))
        (out / one["video_id"] / "summary.mp4").write_text("a clip")
    return files_of(out)


def files_of(out: Path) -> dict[str, bytes]:
    paths = [path for path in out.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return {str(path.relative_to(out)): path.read_bytes() for path in paths}


@pytest.fixture
def videos(tmp_path) -> list[Path]:
    made = [tmp_path / name for name in ("a.mp4", "b.mp4")]
    for path in made:
        path.write_bytes(b"never read")
    return made


@pytest.mark.parametrize("flags", [["--task", "text"], ["--model-path", "other"], ["--video-track", "1"]])
def test_a_summary_of_another_task_or_model_is_not_replaced(tmp_path, videos, capsys, flags):
    before = earlier_run(tmp_path / "out", *videos)
    assert main([*map(str, videos), "--output-dir", str(tmp_path / "out"), *flags]) == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith(f"error: {tmp_path}/out/a holds the VIDEO summary by llava_v2xum shapes demo, and not the ")
    assert "(and 1 more): give another --output-dir" in told and told.endswith("or --overwrite to replace it")
    assert files_of(tmp_path / "out") == before


def test_it_is_replaced_where_that_is_asked_for_or_its_folder_is_gone(tmp_path, videos):
    earlier_run(tmp_path / "out", *videos)
    arguments = [*map(str, videos), "--output-dir", str(tmp_path / "out"), "--task", "text"]
    run = InferRun(parse_arguments([*arguments, "--overwrite"]))
    with run.locks:
        run.open_results()
        assert list(run.still_to_do(run.find(), "m")) == videos
    for file in (tmp_path / "out" / "a").iterdir():
        file.unlink()
    run = InferRun(parse_arguments([*arguments[1:]]))
    run.args.videos = [str(videos[0])]
    with run.locks:
        run.open_results()
        assert list(run.still_to_do(run.find(), "m")) == videos[:1]


def test_two_runs_at_once_do_not_share_a_folder(tmp_path, videos, capsys):
    arguments = [str(videos[0]), "--output-dir", str(tmp_path / "out")]
    with only_run(tmp_path / "out"):
        assert main(arguments) == 2
    assert capsys.readouterr().err == (
        f"error: {tmp_path}/out: another run works in this folder: wait for its end, or give another\n"
    )
    ranks = [InferRun(parse_arguments(arguments), Rank(rank, 2)) for rank in range(2)]
    for run in ranks:
        run.open_results()  # the ranks of one run do
    for run in ranks:
        run.locks.close()


def test_files_of_one_stem_in_a_folder_are_told_apart(tmp_path, videos):
    for name in ("a.mkv", "sub"):
        (tmp_path / name).mkdir() if name == "sub" else (tmp_path / name).write_bytes(b"never read")
    (tmp_path / "sub" / "b.mp4").write_bytes(b"never read")
    run = InferRun(parse_arguments([str(tmp_path), str(tmp_path / "sub")]))
    found = run.find()
    assert [run.id_of(path) for path in found] == ["a.mkv", "a.mp4", "b"] and run.failed == 1  # b in sub/


def test_addresses_and_standard_input_are_told_what_to_do(tmp_path, capsys):
    assert main(["https://example.org/a.mp4", "-", "gone.mp4", "--output-dir", str(tmp_path / "out")]) == 2
    address, stdin, gone, _ = capsys.readouterr().err.splitlines()
    assert address.startswith("error: https://example.org/a.mp4: an address is not fetched: download the video first")
    assert stdin.startswith("error: -: standard input is not read") and "put it in a file" in stdin
    assert gone == "error: gone.mp4: no such file or folder"


@pytest.mark.parametrize("given", ["", ",", " , "])
def test_no_format_is_refused(given, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["a.mp4", "--format", given])
    assert stopped.value.code == 2
    assert "--format takes " in capsys.readouterr().err


def test_the_rate_is_of_what_was_summarized(capsys, monkeypatch):
    seconds = iter([0.0, 1.0, 60.0])
    monkeypatch.setattr("llava_v2xum.infer.progress.time.monotonic", lambda: next(seconds, 60.0))
    with Progress(3, Rank()) as progress:
        progress.advance(Path("a.mp4"), is_made=False)
        progress.advance(Path("b.mp4"))
    first, second = capsys.readouterr().err.splitlines()
    assert first == "[1/3] a.mp4 (failed)" and second == "[2/3] b.mp4 (1 videos a minute)"


SWALLOWED = """
import os, signal, sys
from llava_v2xum.core.command_line import ended_by_interrupt
with ended_by_interrupt("interrupted here"):
    try:
        os.kill(os.getpid(), signal.SIGINT)
        import time; time.sleep(5)
    except:
        pass
    sys.exit("error: a class is not there")
"""


@pytest.mark.parametrize("command", [["-c", SWALLOWED], ["-m", "llava_v2xum.infer", "a.mp4"]])
def test_ctrl_c_while_something_is_imported_is_told_in_a_line(tmp_path, command):
    # The package's own import of NumPy, the first that takes long, is where the command is interrupted.
    (tmp_path / "numpy.py").write_text("import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(5)\n")
    paths = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    done = subprocess.run(
        [sys.executable, *command], env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 130 and done.stderr.startswith("interrupted") and len(done.stderr.splitlines()) == 1


def test_what_ignored_ctrl_c_still_does(monkeypatch):
    from llava_v2xum.core.command_line import ended_by_interrupt

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with ended_by_interrupt("never told"):
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
