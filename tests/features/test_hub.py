"""Repositories by name, by a hub on this machine: what is fetched, and what is said where it cannot be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_hub import TOKEN, FakeHub

pytestmark = pytest.mark.pinned

FETCH = """
import sys
from llava_v2xum.features.checkpoint_files import find_folder
try:
    folder = find_folder(sys.argv[1], "model_path")
    print(sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()))
except FileNotFoundError as error:
    print("error:", error)
"""


@pytest.fixture
def hub(tmp_path) -> Iterator[FakeHub]:
    with FakeHub(tmp_path / "hub") as hub:
        yield hub


def put(hub: FakeHub, kind: str, name: str, *files: str) -> None:
    for file in files:
        path = hub.repository(kind, name) / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")


def asked_for(hub: FakeHub, name: str, cache: Path, **environment: str) -> str:
    done = hub.run(cache, "-c", FETCH, name, **environment)
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 1, done.stdout + done.stderr
    return done.stdout.strip()


def test_pickled_weights_are_fetched_only_where_there_are_no_others(hub, tmp_path):
    put(hub, "models", "lab/both", "config.json", "model.safetensors", "pytorch_model.bin", "notes.pdf", "runs/a.log")
    put(hub, "models", "lab/pickled", "config.json", "pytorch_model-1-of-1.bin", "training_args.bin")
    put(hub, "models", "lab/released", "clip/ViT-L-14.pt", "stage1/mm_projector.bin", "stage2/adapter_model.bin")
    assert asked_for(hub, "lab/both", tmp_path / "cache") == "['config.json', 'model.safetensors']"
    assert asked_for(hub, "lab/pickled", tmp_path / "cache") == "['config.json', 'pytorch_model-1-of-1.bin']"
    files = "['clip/ViT-L-14.pt', 'stage1/mm_projector.bin', 'stage2/adapter_model.bin']"
    assert asked_for(hub, "lab/released", tmp_path / "cache") == files
    before = len(hub.asked)
    assert asked_for(hub, "lab/both", tmp_path / "cache", HF_HUB_OFFLINE="1").startswith("['config.json'")
    assert len(hub.asked) == before  # from the cache


def test_what_stands_in_the_way_is_said_with_the_way_round_it(hub, tmp_path):
    put(hub, "models", "lab/gated", "config.json")
    hub.gated.add("lab/gated")
    cases = [
        ("lab/gated", {}, f"gated: ask for access at {hub.url}/lab/gated, then log in (hf auth login, or HF_TOKEN)"),
        ("lab/none", {}, f"that this account may use (status 401): check the name, {hub.url}/lab/none"),
        ("lab/gated", {"HF_HUB_OFFLINE": "1"}, "(HF_HUB_OFFLINE): unset it; or, where there is a network: hf download"),
        ("lab/gated", {"HF_ENDPOINT": "http://127.0.0.1:9"}, "cannot be reached; where it can: hf download lab/gated"),
    ]
    for number, (name, environment, message) in enumerate(cases):
        told = asked_for(hub, name, tmp_path / f"cache{number}", **environment)
        assert told.startswith(f"error: model_path: {name} is no folder here, and the hub") and message in told, told


def test_convert_takes_a_data_sets_name(hub, tmp_path):
    entry = {
        "id": "v_1",
        "meta": {"duration": 20.0, "token": {"<f0>": 2.0}},
        "conversations": [
            {"from": "human", "value": "<video>\nPlease generate BOTH video and text summarization for this video."},
            {"from": "gpt", "value": "\n[<f0>]A man runs."},
        ],
    }
    folder = hub.repository("datasets", "hhua2/Instruct-V2Xum")
    folder.mkdir(parents=True)
    for split in ("train", "val"):
        (folder / f"{split}.json").write_text(json.dumps([{**entry, "id": f"v_{split}"}]))
    (folder / "README.md").write_text("a card")
    command = ["-m", "llava_v2xum.convert", "instruct-v2xum", "hhua2/Instruct-V2Xum", "--out", str(tmp_path / "out")]
    done = hub.run(tmp_path / "cache", *command)
    assert done.returncode == 0, done.stderr
    assert "hhua2/Instruct-V2Xum: train.json, val.json" in done.stderr
    for split in ("train", "val"):
        assert f"v_{split}" in (tmp_path / "out" / f"{split}.json").read_text()
    assert not any("README" in path for _, path in hub.asked)
    command[3] = "hhua2/Instruct"
    done = hub.run(tmp_path / "cache", *command)
    assert done.returncode == 2 and "hhua2/Instruct: no such file, and the hub has no repository" in done.stderr
    assert "hhua2/Instruct-V2Xum" in hub.run(tmp_path, *command[:3], "--help").stdout


def test_a_folder_is_uploaded(hub, tmp_path):
    push = "import sys, pathlib; from llava_v2xum.features.hub import push\n"
    push += "try: print(push(pathlib.Path(sys.argv[1]), 'me/new', True, 'first'))\n"
    push += "except OSError as error: print(error)"
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.json").write_text("{}")
    (tmp_path / "out" / "model.safetensors").write_bytes(bytes(range(256)) * 40)
    done = hub.run(tmp_path / "cache", "-c", push, str(tmp_path / "out"))
    assert f"me/new: {tmp_path / 'out'} is whole, and was not uploaded: the hub has no repository" in done.stdout
    for _ in range(2):  # a repository that is there gets another commit
        done = hub.run(tmp_path / "cache", "-c", push, str(tmp_path / "out"), HF_TOKEN=TOKEN)
        assert done.stdout.strip() == f"{hub.url}/me/new", done.stderr
    written = hub.repository("models", "me/new")
    assert {path.name: path.read_bytes() for path in written.iterdir()} == {
        path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()
    }
    assert hub.private == {"me/new"}
