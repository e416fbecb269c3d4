"""The feature folder: what is refused, what survives a kill, what it costs."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import weights
from tail_rule import add_tail

from llava_v2xum.core.clock import FrameTimes
from llava_v2xum.core.sampling import FrameSampling
from llava_v2xum.features import DamagedFeatures, FeatureFolder, FrameFeature, describe, differences, sample_tower

pytestmark = pytest.mark.pinned

FRAMES, WIDTH = 10, 24
SHAPE = (FRAMES, WIDTH)
# as every release before rules of sampling had names wrote it
BEFORE_RULES = """{
 "frame_feature": "patch_mean", "frame_tokens": 1, "tower": "clip-vit-large-patch14-336", "select_layer": -2,
 "aspect_ratio": "pad", "num_frames": 10, "feature_size": 24, "dtype": "float16"
}"""


def a_description(**changes) -> dict:
    wanted = describe(FrameFeature(), "openai/clip-vit-large-patch14-336", -2, "pad", FrameSampling(FRAMES), WIDTH)
    return {**wanted, **changes}


def features_named(name: str, *shape: int) -> np.ndarray:
    return weights.numbers(*(shape or SHAPE), name=name).numpy()


def a_tower(path, dtype: torch.dtype = torch.float32):
    """LLaVA's CLIP tower, loaded."""
    from llava.model.multimodal_encoder.clip_encoder import CLIPVisionTower

    from llava_v2xum.features.clip_tower import load_clip_tower

    tower = CLIPVisionTower(str(path), SimpleNamespace(mm_vision_select_layer=-2), delay_load=True)
    load_clip_tower(tower)
    return tower.to(dtype)


@pytest.fixture
def folder(tmp_path) -> FeatureFolder:
    made = FeatureFolder(tmp_path / "store", a_description())
    made.save("v_1", features_named("v_1"), {"total_frames": 300, "bytes": 1234})
    return made


def test_what_is_saved_is_loaded_in_float16(folder):
    again = FeatureFolder(folder.path, a_description())
    loaded = again.load("v_1", SHAPE, {"total_frames": 300, "bytes": 1234})
    assert loaded.dtype == np.float16
    np.testing.assert_array_equal(loaded, features_named("v_1").astype(np.float16))
    assert again.holds("v_1", SHAPE) and "v_1" in again and "v_2" not in again
    assert again.load("v_2", SHAPE) is None and not again.holds("v_2", SHAPE)
    assert again.ids() == {"v_1"} and again.missing(["v_3", "v_1", "v_2", "v_3"]) == ["v_3", "v_2"]
    assert json.loads((folder.path / "features.json").read_text()) == json.loads(BEFORE_RULES)  # older releases read it


def test_several_tokens_a_frame(tmp_path):
    folder = FeatureFolder(tmp_path, a_description(frame_tokens=4))
    folder.save("v", features_named("v", FRAMES, 4, WIDTH))
    assert folder.load("v", (FRAMES, 4, WIDTH)).shape == (FRAMES, 4, WIDTH)
    with pytest.raises(ValueError, match=r"v\.npy: expected features of shape \[10, 24\], got \[10, 4, 24\]"):
        folder.load("v", SHAPE)


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"frame_feature": "class_token"}, "frame_feature: expected 'class_token', got 'patch_mean'"),
        ({"frame_tokens": 4}, "frame_tokens: expected 4, got 1"),
        ({"tower": "clip-vit-large-patch14"}, "tower: expected 'clip-vit-large-patch14', got"),
        ({"select_layer": -1}, "select_layer: expected -1, got -2"),
        ({"aspect_ratio": "square"}, "aspect_ratio: expected 'square', got 'pad'"),
        ({"num_frames": 50}, "num_frames: expected 50, got 10"),
        ({"frame_sampling": "tail"}, "frame_sampling: expected 'tail', got 'linspace'"),
        ({"feature_size": 1024}, "feature_size: expected 1024, got 24"),
    ],
)
def test_other_features_are_refused_by_field(folder, changes, told):
    with pytest.raises(ValueError, match=r"features\.json") as refused:
        FeatureFolder(folder.path, a_description(**changes))
    assert told in str(refused.value)
    assert str(refused.value).count("expected") == 1


def test_the_first_releases_note_is_read(tmp_path):
    fields = {"frame_feature": "clip_embedding", "tower": None, "select_layer": -2, "aspect_ratio": None}
    (tmp_path / "features.json").write_text(json.dumps({**fields, "num_frames": FRAMES}))
    np.save(tmp_path / "v.npy", features_named("v").astype(np.float16))
    (tmp_path / "v.json").write_text('{"total_frames": 3, "bytes": 9}')
    wanted = describe(FrameFeature("clip_embedding"), None, None, "square", FrameSampling(FRAMES), WIDTH)
    folder = FeatureFolder(tmp_path, wanted)
    assert folder.load("v", SHAPE, {"total_frames": 3, "bytes": 9}) is not None
    with pytest.raises(ValueError, match="made of another video named 'v'"):
        folder.load("v", SHAPE, {"bytes": 10})


def test_a_folder_without_a_note_is_read_and_not_added_to(tmp_path, caplog):
    """As the released code leaves it."""
    np.save(tmp_path / "v.npy", features_named("v").astype(np.float16))
    with caplog.at_level(logging.WARNING):
        folder = FeatureFolder(tmp_path, a_description())
    assert "only the shapes" in caplog.text
    assert folder.load("v", SHAPE) is not None
    with pytest.raises(ValueError, match=r"holds features without features\.json"):
        folder.save("w", features_named("w"))
    assert sorted(os.listdir(tmp_path)) == ["v.npy"]


def test_a_note_without_a_rule_of_sampling_counts_as_linspace(tmp_path, monkeypatch):
    (tmp_path / "features.json").write_text(BEFORE_RULES)
    np.save(tmp_path / "v.npy", features_named("v").astype(np.float16))
    folder = FeatureFolder(tmp_path, a_description())
    assert folder.load("v", SHAPE) is not None
    folder.save("w", features_named("w"))  # and goes on
    assert (tmp_path / "features.json").read_text() == BEFORE_RULES
    add_tail(monkeypatch)
    tail = describe(FrameFeature(), "openai/clip-vit-large-patch14-336", -2, "pad", FrameSampling(FRAMES, rule="tail"))
    for note in (True, False):
        with pytest.raises(ValueError, match="frame_sampling: expected 'tail', got 'linspace'") as refused:
            FeatureFolder(tmp_path, tail)
        assert "\n" not in str(refused.value)
        if note:
            (tmp_path / "features.json").unlink()  # the released code's folder


@pytest.mark.parametrize("note", ["{", "[]"])
def test_a_note_that_is_none(tmp_path, note):
    (tmp_path / "features.json").write_text(note)
    with pytest.raises(ValueError, match=r"features\.json: expected"):
        FeatureFolder(tmp_path, a_description())


def test_bad_arrays_are_told_apart(folder):
    for name, content in {"cut": (folder.path / "v_1.npy").read_bytes()[:-7], "empty": b"", "text": b"no"}.items():
        (folder.path / f"{name}.npy").write_bytes(content)
        for look in (folder.load, folder.holds):
            with pytest.raises(DamagedFeatures, match=rf"{name}\.npy: not a readable"):
                look(name, SHAPE)
    np.save(folder.path / "whole.npy", np.zeros(SHAPE, np.int64))
    with pytest.raises(ValueError, match="floating dtype"):
        folder.load("whole", SHAPE)
    for bad in (np.full(SHAPE, 70000.0), np.full(SHAPE, np.nan)):
        with pytest.raises(ValueError, match=r"big\.npy: expected features that float16 can hold, got 240 of 240"):
            folder.save("big", bad)
    assert "big" not in folder


@pytest.mark.parametrize("video_id", ["", "../v", "a/b"])
def test_ids_that_are_no_file_names(folder, video_id):
    with pytest.raises(ValueError, match="video id"):
        folder.save(video_id, features_named("v"))


def test_another_video_of_the_same_name(folder):
    again = FeatureFolder(folder.path, a_description())
    assert again.holds("v_1", SHAPE, {"bytes": 1234})
    with pytest.raises(ValueError, match="made of another video named 'v_1'"):
        again.holds("v_1", SHAPE, {"bytes": 99})
    again.save("v_1", features_named("other"), {"total_frames": 7, "bytes": 99})
    assert FeatureFolder(folder.path, a_description()).holds("v_1", SHAPE, {"total_frames": 7, "bytes": 99})


def test_a_source_tells_when_its_frames_are_shown(folder):
    assert folder.sources.times("v_1") is None and folder.sources.times("v_9") is None
    folder.save("v_2", features_named("v_2"), {"bytes": 5, "frame_seconds": [0, 0.5, 9], "duration_seconds": 12.5})
    again = FeatureFolder(folder.path, a_description())
    assert again.sources.times("v_2") == FrameTimes((0.0, 0.5, 9.0), 12.5)
    assert again.holds("v_2", SHAPE, {"bytes": 5})
    folder.save("v_3", features_named("v_3"), {"bytes": 5, "frame_seconds": [3, 1]})
    with pytest.raises(ValueError, match=r"the source of 'v_3': frame_seconds must ascend from 0 or later, got \[3"):
        folder.sources.times("v_3")


def test_a_torn_line_is_reported_and_taken_off(folder, caplog):
    file = folder.path / "sources.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"id": "v_2", "sou')
    again = FeatureFolder(folder.path, a_description())
    assert again.sources.get("v_1") == {"total_frames": 300, "bytes": 1234} and again.sources.get("v_2") is None
    assert "sources.jsonl:2: not a whole record" in caplog.text
    again.save("v_3", features_named("v_3"), {"bytes": 5})
    lines = file.read_bytes().splitlines()
    assert len(lines) == 2 and json.loads(lines[1])["id"] == "v_3"


def test_ranks_write_beside_each_other(tmp_path):
    ranks = [FeatureFolder(tmp_path, a_description(), rank) for rank in range(3)]
    for rank, folder in enumerate(ranks):
        folder.save(f"v_{rank}", features_named(f"v_{rank}"), {"bytes": rank})
    assert sorted(os.listdir(tmp_path)) == sorted(
        ["features.json", "sources.jsonl", "sources.1.jsonl", "sources.2.jsonl", "v_0.npy", "v_1.npy", "v_2.npy"]
    )
    reader = FeatureFolder(tmp_path, a_description())
    assert [reader.sources.get(f"v_{rank}") for rank in range(3)] == [{"bytes": rank} for rank in range(3)]


def test_two_kinds_started_at_once_do_not_mix(tmp_path):
    first, second = FeatureFolder(tmp_path, a_description()), FeatureFolder(tmp_path, a_description(num_frames=50))
    first.save("v_1", features_named("v_1"))
    with pytest.raises(ValueError, match="num_frames: expected 50, got 10"):
        second.save("v_2", features_named("v_2"))
    assert first.ids() == {"v_1"}


def test_cleaning_spares_what_others_write(folder):
    for name in (".own.part.npy", ".others.part.npy", ".old.part.npy", ".features.json.1.part"):
        (folder.path / name).write_bytes(b"half")
    long_ago = time.time() - 7200
    os.utime(folder.path / ".old.part.npy", (long_ago, long_ago))
    os.utime(folder.path / ".features.json.1.part", (long_ago, long_ago))
    assert folder.ids() == {"v_1"}
    folder.clean(["own", "v_1"])
    hidden = [name for name in os.listdir(folder.path) if name.startswith(".")]
    assert hidden == [".others.part.npy"] and "v_1" in folder


def test_a_kill_leaves_whole_files_or_none(tmp_path):
    """A process that saves without end is killed a few times; every array that is there is whole."""
    code = (
        "import sys, numpy as np\n"
        "from llava_v2xum.features import FeatureFolder\n"
        f"folder = FeatureFolder(sys.argv[1], {a_description()!r})\n"
        "for i in range(10**6):\n"
        "    folder.save(f'v_{i % 5}', np.full((300, 1024), i % 5, np.float16), {'bytes': i % 5})\n"
        "    print(i, flush=True)\n"
    )
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(7):
            assert process.stdout.readline()
        process.kill()
        process.communicate()
        folder = FeatureFolder(tmp_path, a_description())
        assert len(folder.ids()) >= 4
        for video_id in folder.ids():
            loaded = folder.load(video_id, (300, 1024), {"bytes": int(video_id[2:])})
            assert (loaded == int(video_id[2:])).all()


def test_what_thirty_thousand_videos_cost(tmp_path):
    """100 x 1024 of a few videos on the disk, and the time to open a folder with as many names."""
    folder = FeatureFolder(tmp_path / "few", a_description())
    for index in range(8):
        name = f"v_{index:011d}"
        folder.save(name, features_named(name, 100, 1024), {"total_frames": 4321, "bytes": 12345678})
    a_video = on_disk(tmp_path / "few") / 8
    assert 204_800 < a_video and 30_000 * a_video < 6.5e9
    many = tmp_path / "many"
    many.mkdir()
    (many / "features.json").write_text(json.dumps(a_description()))
    for index in range(30_000):
        (many / f"v_{index:011d}.npy").touch()
    began = time.perf_counter()
    missing = FeatureFolder(many, a_description()).missing(f"v_{index:011d}" for index in range(30_001))
    assert time.perf_counter() - began < 1 and missing == ["v_00000030000"]


def on_disk(path) -> int:
    """Bytes of all blocks, the folder's own too."""
    return sum(file.stat().st_blocks * 512 for file in [path, *path.iterdir()])


def test_a_tower_is_known_by_its_weights(tmp_path):
    _, source = weights.sources()
    shutil.copytree(source, tmp_path / "another_name")
    wanted = describe(FrameFeature(), str(source), -2, "pad", FrameSampling(FRAMES), WIDTH, a_tower(source))
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        copy = a_tower(tmp_path / "another_name", dtype)
        found = describe(FrameFeature(), "another_name", -2, "pad", FrameSampling(FRAMES), WIDTH, copy)
        assert differences(found, wanted) == []
    tuned = a_tower(source)
    for name, weight in tuned.vision_tower.named_parameters():
        if name.endswith("layers.1.mlp.fc2.weight"):  # the last of three that layer -2 passes through
            weight.data *= 1.05
    told = differences(describe(FrameFeature(), str(source), -2, "pad", FrameSampling(FRAMES), WIDTH, tuned), wanted)
    assert len(told) == 1 and "the tower's weights" in told[0]


def test_a_sample_looks_at_the_layers_that_are_used():
    tower = a_tower(weights.sources()[1])
    before = {layer: sample_tower(tower, layer) for layer in (0, -3, -2, -1, 3)}
    assert before[-1] == before[3] and len(before[0]) == 8 and len(before[-2]) == 12
    for name, weight in tower.vision_tower.named_parameters():
        if name.endswith("layers.2.mlp.fc2.weight"):
            weight.data += 1
    changed = {layer for layer, numbers in before.items() if sample_tower(tower, layer) != numbers}
    assert changed == {-1, 3}


def test_both_forms_of_a_clip_give_one_sample(tmp_path):
    """OpenAI's names, and its projection lying the other way round."""
    width, embedding = 8, 6
    conv, token, linear = torch.randn(width, 3, 2, 2), torch.randn(width), torch.randn(width, 4 * width)
    projection = torch.randn(embedding, width)
    hub = {
        "embeddings.class_embedding": token, "embeddings.patch_embedding.weight": conv,
        "encoder.layers.0.mlp.fc2.weight": linear, "visual_projection.weight": projection,
    }  # fmt: skip
    openai = {
        "class_embedding": token, "conv1.weight": conv,
        "transformer.resblocks.0.mlp.c_proj.weight": linear, "proj": projection.t().contiguous(),
    }  # fmt: skip
    samples = [
        sample_tower(SimpleNamespace(clip=SimpleNamespace(named_parameters=lambda state=state: state.items())))
        for state in (hub, openai)
    ]
    assert samples[0] == samples[1] and len(samples[0]) == 16
