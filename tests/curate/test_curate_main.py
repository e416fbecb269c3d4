"""The whole of `python -m llava_v2xum.curate` on rendered clips: offline, by a faulty endpoint, killed, resumed."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from openai_server import PASSING, OpenAIServer, Seeded
from PIL import Image

from llava_v2xum.curate.__main__ import DONE, SOME_FAILED, STOPPED, WRONG, main
from llava_v2xum.curate.validate import check_files
from llava_v2xum.shapes import make_clip
from llava_v2xum.shapes.render import write_clip

pytest.importorskip("openai")
pytest.importorskip("sklearn")
pytest.importorskip("imagehash")
pytest.importorskip("bert_score")

ROOT = Path(__file__).parents[2]
FILES = ("train.json", "val.json", "test.json", "rejected.jsonl", "preview.html", "figure2.png")
KEY = "sk-a-key-that-nobody-may-see-0123456789"
COMMON = ["--min-duration", "20.5", "--bertscore-model", "shapes", "--device", "cpu", "--splits", "2:0:1", "--quiet"]


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """Four short clips, one of them below the least duration, a copy of one, and a file that is no video."""
    folder = tmp_path_factory.mktemp("clips")
    for index in (50, 14, 11, 34):
        write_clip(make_clip(3, index), folder / f"clip{index}.mp4")
    (folder / "copy.mp4").write_bytes((folder / "clip14.mp4").read_bytes())
    (folder / "broken.mp4").write_bytes(b"no video")
    return folder


def described(pictures, prompt) -> str:
    """What a vision model might say of a frame: the same for the same picture."""
    frame = np.asarray(Image.open(io.BytesIO(pictures[0])).convert("RGB"), np.float32)
    bright = frame.max(axis=2) - frame.min(axis=2) > 110
    if bright.mean() < 0.005:
        return "A dim picture with nothing on it."
    red, green, blue = frame[bright].mean(axis=0)
    return f"A shape of the colour {int(red) // 32}, {int(green) // 32}, {int(blue) // 32} is shown."


def over_http(server, *more, eyes=None) -> list[str]:
    at = ["--endpoint", server.base_url, "--model", "mind"]
    at += ["--caption-endpoint", (eyes or server).base_url, "--captioner", "eyes"]
    return [*COMMON, *at, "--timeout", "30", "--concurrency", "3", *more]


def content(folder: Path) -> dict[str, bytes]:
    """The files of a data set; of the card all but what it cost."""
    files = {name: (folder / name).read_bytes() for name in FILES if (folder / name).exists()}
    card = json.loads((folder / "card.json").read_text())
    assert set(card.pop("costs")) == {"select", "caption", "extract", "filter", "refine"}
    return {**files, "card.json": json.dumps(card).encode()}


@pytest.fixture(scope="module")
def made_over_http(clips, tmp_path_factory):
    """The set that an endpoint without faults gives, and how often each thing was asked."""
    folder = tmp_path_factory.mktemp("http") / "out"
    with OpenAIServer(described) as server:
        assert main([str(clips), "--out", str(folder), *over_http(server)]) == DONE
        return content(folder), Counter(asked.content for asked in server.asked)


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def test_one_command_without_network_gives_a_valid_set(clips, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = [str(clips), "--out", str(out), *COMMON, "--captioner", "shapes", "--caption-tokens", "24"]
    assert main(arguments) == DONE
    assert not [problem for one in check_files([out / "train.json", out / "test.json"]) for problem in one.problems]
    train, test = (json.loads((out / name).read_text()) for name in ("train.json", "test.json"))
    assert len(train) == 6 and len(test) == 3 and not (out / "val.json").exists()
    rejected = [json.loads(line) for line in (out / "rejected.jsonl").read_text().splitlines()]
    assert {one["video_id"]: one["kind"] for one in rejected} == {
        "broken": "unreadable",
        "clip50": "too short",
        "copy": "duplicate",
    }
    told = {turn["value"] for entry in train for turn in entry["conversations"] if "TEXT" not in turn["value"]}
    assert any("moves across" in text for text in told)
    before = {path.name: path.read_bytes() for path in out.iterdir() if not path.name.startswith("work")}
    assert main(arguments) == DONE  # all is stored: also what it cost comes out the same
    assert {path.name: path.read_bytes() for path in out.iterdir() if not path.name.startswith("work")} == before
    told = capsys.readouterr().err
    assert "3 of 6 videos (2 train, 0 val, 1 test)" in told
    assert f"3 fell out (1 unreadable, 1 too short, 1 duplicate): {out / 'rejected.jsonl'} tells why" in told
    assert main([*arguments, "--until", "refine"]) == DONE
    lines = [json.loads(line) for line in (out / "refine.jsonl").read_text().splitlines()]
    assert [line["video_id"] for line in lines] == ["clip11", "clip14", "clip34"] and lines[0]["sentences"]
    assert main([*arguments, "--min-duration", "900"]) == DONE
    assert "0 of 6 videos (0 train, 0 val, 0 test)" in capsys.readouterr().err and not (out / "train.json").exists()


def test_faults_of_the_endpoint_change_nothing(clips, tmp_path, made_over_http, capsys, caplog, monkeypatch):
    monkeypatch.setattr("llava_v2xum.core.endpoint.endpoint.time.sleep", lambda seconds: None)
    out = tmp_path / "out"
    slow = {"slow_seconds": 2.5}
    seen = Seeded(0.3, seed=4, kinds=(*PASSING, "empty"))  # what else a model says of a frame is a caption
    thought = Seeded(0.6, seed=5, kinds=(*PASSING, "empty", "bad_json", "unknown_frames"))
    with OpenAIServer(described, seen, **slow) as eyes, OpenAIServer(faults=thought, **slow) as mind:
        assert main([str(clips), "--out", str(out), *over_http(mind, "--timeout", "2", eyes=eyes)]) == DONE
        asked = eyes.asked + mind.asked
        assert len({one.fault for one in asked}) > 6 and any(one.fault for one in mind.asked)
        assert eyes.most_at_once <= 3 and mind.most_at_once <= 6  # extract's and refine's three each
        assert all(one.headers["authorization"] == f"Bearer {KEY}" for one in asked)
    assert content(out) == made_over_http[0]
    assert json.loads((out / "card.json").read_text())["costs"]["caption"]["calls"] > sum(
        len(json.loads(line)["captions"]) for line in _captions(clips, out, tmp_path)
    )
    written = b"".join(path.read_bytes() for path in out.iterdir())
    assert KEY.encode() not in written and KEY not in caplog.text and KEY not in "".join(capsys.readouterr())


def _captions(clips, out, tmp_path) -> list[str]:
    """What `--until caption` writes, from what is stored: nobody is asked, and no server is there."""
    nowhere = OpenAIServer(described)
    nowhere.__enter__()
    nowhere.__exit__(None, None, None)
    assert main([str(clips), "--out", str(out), *over_http(nowhere, "--until", "caption")]) == DONE
    return (out / "caption.jsonl").read_text().splitlines()


KILLED_AFTER = {"select": 2, "caption": 10, "extract": 1, "filter": 1, "refine": 1}  # so many rows of the stage
KILLING = """
import os, signal, sys
from llava_v2xum.core.endpoint import store
from llava_v2xum.curate.__main__ import main
stage, left, put = sys.argv[1], int(sys.argv[2]), store.Store.put
def put_and_die(self, name, *row):
    global left
    put(self, name, *row)
    left -= name == stage
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
store.Store.put = put_and_die
sys.exit(main(sys.argv[3:]))
"""


def test_killed_in_every_stage_it_goes_on(clips, tmp_path, made_over_http):
    out = tmp_path / "out"
    with OpenAIServer(described) as server:
        arguments = [str(clips), "--out", str(out), *over_http(server)]
        for stage, rows in KILLED_AFTER.items():
            killed = subprocess.run([sys.executable, "-c", KILLING, stage, str(rows), *arguments], cwd=ROOT)
            assert killed.returncode == -signal.SIGKILL
            assert not (out / "train.json").exists()
        assert main(arguments) == DONE
        asked = Counter(asked.content for asked in server.asked)
    assert content(out) == made_over_http[0]
    assert set(asked) == set(made_over_http[1])
    # what was under way at a kill is asked again, by one of two endpoints with three places each
    assert sum((asked - made_over_http[1]).values()) <= 3 * len(KILLED_AFTER)


def test_a_spent_budget_stops_and_the_next_run_goes_on(clips, tmp_path, made_over_http, capsys):
    out = tmp_path / "out"
    with OpenAIServer(described) as server:
        assert main([str(clips), "--out", str(out), *over_http(server, "--max-requests", "20")]) == STOPPED
        assert len(server.asked) == 20
        told = capsys.readouterr().err
        assert "stopped: the budget of 20 requests is spent" in told and "the same command goes on" in told
        assert not (out / "train.json").exists()
        assert main([str(clips), "--out", str(out), *over_http(server)]) == DONE
        assert Counter(asked.content for asked in server.asked) == made_over_http[1]
    assert content(out) == made_over_http[0]


def test_a_changed_prompt_asks_again_from_there_on(clips, tmp_path, made_over_http, capsys):
    out, prompt = tmp_path / "out", tmp_path / "mine.txt"
    prompt.write_text("Rewrite these $count captions as sentences, as JSON:\n$captions\n")
    with OpenAIServer(described) as server:
        assert main([str(clips), "--out", str(out), *over_http(server)]) == DONE
        first = len(server.asked)
        assert main([str(clips), "--out", str(out), *over_http(server, "--refine-prompt", str(prompt))]) == DONE
        again = server.asked[first:]
    assert 0 < len(again) <= 6 and all("Rewrite these" in json.dumps(asked.body) for asked in again)
    told = capsys.readouterr().err
    assert "refine: runs again where its results are not stored: refine prompt was" in told
    prompts = json.loads((out / "card.json").read_text())["prompts"]
    packaged = json.loads(made_over_http[0]["card.json"])["prompts"]
    assert prompts["caption"] == packaged["caption"] and prompts["refine"] != packaged["refine"]


def test_an_endpoint_that_refuses_the_key_stops_at_once(clips, tmp_path, capsys):
    with OpenAIServer(described, faults=["401"] * 50) as server:
        assert main([str(clips), "--out", str(tmp_path / "out"), *over_http(server)]) == STOPPED
        assert len(server.asked) <= 6
    told = capsys.readouterr().err
    assert "OPENAI_API_KEY" in told and KEY not in told


def test_an_endpoint_that_is_down_is_told(clips, tmp_path, capsys):
    with OpenAIServer(described) as server:
        gone = over_http(server, "--tries", "1")
    assert main([str(clips), "--out", str(tmp_path / "out"), *gone]) == SOME_FAILED
    assert "3 videos failed and are tried again by the next run; the first: clip11: caption:" in capsys.readouterr().err
    lines = (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()
    assert Counter(json.loads(line)["kind"] for line in lines)["failed"] == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["gone.mp4"], "gone.mp4: no such file"),
        (["--caption-prompt", "gone.txt"], "gone.txt"),
        (["--captioner", "not a model"], "expected 'shapes', a LLaVA-1.5 checkpoint's folder or its hub name"),
        (["--endpoint", "localhost:8000", "--model", "m"], "expected an address such as http://localhost:8000/v1"),
        (["--list", "gone.txt"], "gone.txt"),
    ],
)
def test_wrong_arguments_are_told_in_one_line(clips, tmp_path, capsys, arguments, said):
    assert main([str(clips / "clip11.mp4"), "--out", str(tmp_path / "out"), *COMMON, *arguments]) == WRONG
    told = capsys.readouterr().err
    assert said in told and "Traceback" not in told and told.startswith("error: ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name videos"),
        (["v", "--min-duration", "nan"], "--min-duration must be at most"),
        (["v", "--max-duration", "inf"], "--min-duration must be at most"),
        (["v", "--min-duration", "-1"], "--min-duration must be at most"),
        (["v", "--aesthetic-threshold", "nan"], "--aesthetic-threshold must be finite, got nan"),
        (["v", "--fraction", "0"], "--fraction must be above 0"),
        (["v", "--fraction", "1.1"], "--fraction must be above 0 and at most 1, got 1.1"),
        (["v", "--caption-tokens", "0"], "--caption-tokens must be at least 1"),
        (["v", "--caption-batch", "0"], "--caption-batch must be at least 1"),
        (["v", "--bertscore-threshold", "7"], "--bertscore-threshold must be from 0 to 1, or none, got 7"),
        (["v", "--bertscore-threshold", "nan"], "--bertscore-threshold must be from 0 to 1"),
        (["v", "--bertscore-threshold", "all"], "expected a number or 'none', got 'all'"),
        (["v", "--timeout", "nan"], "--timeout must be a number of seconds"),
        (["v", "--preview", "-3"], "--preview must be at least 0"),
        (["v", "--tries", "0"], "--tries must be at least 1"),
        (["v", "--ray-gpus", "3"], "--ray-gpus must be above 0 and at most 1"),
        (["v", "--endpoint", "http://x/v1"], "--endpoint needs --model"),
        (["v", "--model", "m"], "give --endpoint"),
        (["v", "--features", "f", "--caption-endpoint", "http://x/v1"], "--features are made by"),
        (["v", "--grammar", "spelling"], "expected cola:MODEL or languagetool, got 'spelling'"),
        (["v", "--plausibility", "cola:x"], "expected vera:MODEL, got 'cola:x'"),
        (["v", "--dtype", "int3"], "argument --dtype"),
        (["v", "--splits", "0:0:1"], "expected three whole numbers"),
        (["v", "--tasks", "video,audio"], "expected some of"),
        (["v", "--colour"], "unrecognized arguments: --colour"),
    ],
)
def test_what_is_wrong_with_arguments_alone_is_told_in_one_line(tmp_path, capsys, arguments, said):
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--out", str(tmp_path / "out")])
    told = capsys.readouterr().err
    assert ended.value.code == WRONG and said in told
    first, second = told.splitlines()
    assert first.startswith("error: ") and second == "python -m llava_v2xum.curate --help lists the flags"
    assert not (tmp_path / "out").exists()


def test_what_is_wrong_with_the_output_folder_or_a_model_is_told(clips, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    (tmp_path / "other" / "work.sqlite").mkdir(parents=True)
    for out, more, said, status in [
        ("file", [], "file: expected a folder, got a file", WRONG),
        ("other", [], "work.sqlite: the store of results cannot be opened", STOPPED),
        ("out", ["--bertscore-model", str(tmp_path / "gone")], "BERTScore's encoder", WRONG),
    ]:
        command = [str(clips / "clip11.mp4"), "--out", str(tmp_path / out), *COMMON, "--captioner", "shapes", *more]
        assert main(command) == status
        assert said in capsys.readouterr().err


def test_two_runs_cannot_share_a_folder(clips, tmp_path, capsys):
    import fcntl

    out = tmp_path / "out"
    out.mkdir()
    with open(out / ".lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert main([str(clips), "--out", str(out), *COMMON, "--captioner", "shapes"]) == WRONG
    assert "another run works in this folder" in capsys.readouterr().err


def test_help_teaches(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    for word in ("select", "caption", "extract", "filter", "refine", "examples:", "exit status", "--max-requests"):
        assert word in told
    assert max(map(len, told.splitlines())) <= 80
    assert os.environ["OPENAI_API_KEY"] not in told
