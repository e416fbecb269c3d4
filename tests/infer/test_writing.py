"""Files of summaries written beside the one who has them written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import llava_v2xum
from llava_v2xum.core.answers import parse_answer
from llava_v2xum.infer import writing
from llava_v2xum.infer.writing import Writers
from llava_v2xum.media.helper import Helper, HelperError
from llava_v2xum.media.render import make_record

DEMO = Path(llava_v2xum.__file__).parent / "shapes" / "clips" / "demo.mp4"
FRAMES = np.zeros((100, 12, 16, 3), dtype=np.uint8)


def record(name: str, video: Path = DEMO, answer: str = "A circle moves [01, 02].") -> dict:
    return make_record(
        parse_answer(answer, 100, "both"), video_id=name, video=video, duration_seconds=50.0, fps=2.0,
        frame_seconds=[index / 2 for index in range(100)], task="both", answer=answer, importance=[0.01] * 100,
        model="m", versions={},
    )  # fmt: skip


def write_all(writers: Writers, folder: Path, records: list[dict], formats: list[str]) -> list[tuple[str, list[str]]]:
    told = []
    for made in records:
        told += writers.add(made["video_id"], made, FRAMES, folder / made["video_id"], formats)
    return told + list(writers.finish())


@pytest.mark.parametrize("processes", [0, 2])
def test_all_are_told_in_order_when_their_files_are_there(tmp_path, processes):
    names = ["a", "b", "c"]
    with Writers(processes, most=1) as writers:
        told = write_all(writers, tmp_path, [record(name) for name in names], ["json", "sheet"])
    assert told == [(name, []) for name in names]
    for name in names:
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == ["keyframes.png", "summary.json"]


@pytest.mark.parametrize("processes", [0, 1])
def test_where_no_clip_can_be_cut_the_rest_is_kept(tmp_path, processes):
    gone = tmp_path / "gone.mp4"
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "summary.mp4").write_bytes(b"of an earlier answer")
    with Writers(processes) as writers:
        ((name, (warning,)),) = write_all(writers, tmp_path, [record("a", gone)], ["json", "clip"])
    assert "gone.mp4" in warning and "kept without a clip" in warning
    assert [path.name for path in (tmp_path / name).iterdir()] == ["summary.json"]


def test_a_clip_that_its_process_dies_of_is_left_out(tmp_path, monkeypatch):
    call = Helper.call

    def crashing(helper, function, *arguments):
        if function is writing.write_or_warn:
            raise HelperError("the process was ended (signal SIGSEGV)")
        return call(helper, function, *arguments)

    monkeypatch.setattr(Helper, "call", crashing)
    with Writers(1) as writers:
        ((_, (warning,)),) = write_all(writers, tmp_path, [record("a")], ["json", "clip"])
        assert "SIGSEGV" in warning and (tmp_path / "a" / "summary.json").exists()
        with pytest.raises(OSError, match="could not be drawn: .*SIGSEGV"):
            write_all(writers, tmp_path, [record("b")], ["plot"])


def test_an_error_comes_through(tmp_path):
    (tmp_path / "a").write_text("a file where the folder goes")
    with Writers(1) as writers, pytest.raises(OSError):
        write_all(writers, tmp_path, [record("a")], ["sheet"])
