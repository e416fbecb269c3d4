"""`python -m llava_v2xum.features`: what it stores, what it reports, and what a kill leaves."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tiny_layouts as layouts
import torch
import weights
from tail_rule import add_tail

from llava_v2xum.core.sampling import FrameSampling
from llava_v2xum.core.timeline import Timeline
from llava_v2xum.features import FeatureFolder, FrameEncoder, normalize, resize
from llava_v2xum.features.__main__ import main
from llava_v2xum.features.extract import encode_videos
from llava_v2xum.features.settings import encoder_of_checkpoint, encoder_of_tower
from llava_v2xum.media.helper import Helper, HelperError
from llava_v2xum.media.video import read_video, stream_frames
from llava_v2xum.shapes import make_clip, write_clip

pytestmark = pytest.mark.pinned

FRAMES, COUNT = 10, 5
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """A folder of short clips."""
    folder = tmp_path_factory.mktemp("videos")
    chosen = sorted((make_clip(77, index) for index in range(40)), key=lambda clip: clip.total_frames)[:COUNT]
    for clip in chosen:
        write_clip(clip, folder / f"{clip.video_id}.mp4")
    return folder


@pytest.fixture(scope="module")
def tower() -> str:
    return str(weights.sources()[1])


def flags(tower: str, *more) -> list[str]:
    return ["--vision-tower", tower, "--num-frames", str(FRAMES), "--device", "cpu", *map(str, more)]


def run(videos, out: Path, *arguments) -> int:
    paths = videos if isinstance(videos, list) else [videos]
    return main([*map(str, paths), "--out", str(out), *map(str, arguments)])


def command(videos: Path, out: Path, arguments: list[str], **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "llava_v2xum.features", str(videos), "--out", str(out), *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment}, cwd=ROOT,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def arrays(store: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in store.glob("[!.]*.npy")}


def expected_of(encoder: FrameEncoder, path: Path) -> np.ndarray:
    return encoder(read_video(path, Timeline(FRAMES)).frames).float().numpy().astype(np.float16)


def test_the_store_holds_what_the_encoder_gives(videos, tower, tmp_path, capsys):
    store = tmp_path / "store"
    assert run(videos, store, *flags(tower, "--batch-size", 7, "--workers", 0)) == 0
    assert f"{COUNT} videos done" in capsys.readouterr().err
    encoder = encoder_of_tower(tower, sampling=FrameSampling(FRAMES))
    folder = FeatureFolder(store, encoder.description)
    for path in videos.iterdir():
        source = {"total_frames": read_video(path, Timeline(FRAMES)).total_frames, "bytes": path.stat().st_size}
        found = folder.load(path.stem, (FRAMES, 24), source)
        np.testing.assert_allclose(found, expected_of(encoder, path), atol=1e-3, rtol=1e-3)
    files = {file.name for file in store.iterdir() if file.suffix != ".npy"}
    assert files == {"features.json", "sources.jsonl"}


def test_another_rule_of_sampling(videos, tower, tmp_path, monkeypatch, capsys):
    tail, path = add_tail(monkeypatch), sorted(videos.iterdir())[0]
    arguments = flags(tower, "--workers", 0, "--frame-sampling", "tail")
    assert run(path, tmp_path / "store", *arguments) == 0
    assert json.loads((tmp_path / "store" / "features.json").read_text())["frame_sampling"] == "tail"
    video = read_video(path, Timeline(FRAMES, rule="tail"))
    assert video.frame_indices.tolist() == list(range(video.total_frames - FRAMES, video.total_frames))
    expected = encoder_of_tower(tower)(video.frames).float().numpy()
    np.testing.assert_allclose(np.load(tmp_path / "store" / f"{path.stem}.npy"), expected, atol=1e-3, rtol=1e-3)
    assert set(tail.asked) == {path.stem}
    assert run(path, tmp_path / "store", *flags(tower, "--workers", 0)) == 2
    assert "frame_sampling: expected 'linspace', got 'tail'" in capsys.readouterr().err


@pytest.mark.parametrize("kind, tokens, shape", [("class_token", 1, (FRAMES, 24)), ("patch_mean", 4, (FRAMES, 4, 24))])
def test_other_kinds_of_feature(videos, tower, tmp_path, kind, tokens, shape):
    path = sorted(videos.iterdir())[0]
    arguments = flags(tower, "--workers", 0, "--frame-feature", kind, "--frame-tokens", tokens)
    assert run(path, tmp_path / "store", *arguments, "--select-layer", -1, "--aspect-ratio", "square") == 0
    note = json.loads((tmp_path / "store" / "features.json").read_text())
    assert (note["frame_feature"], note["frame_tokens"], note["select_layer"]) == (kind, tokens, -1)
    assert (note["aspect_ratio"], note["num_frames"], note["feature_size"], note["dtype"]) == (
        "square", FRAMES, 24, "float16",
    )  # fmt: skip
    assert np.load(tmp_path / "store" / f"{path.stem}.npy").shape == shape


def test_resized_and_normalized_are_the_processors_pixels(tower):
    """In two steps, of which the second needs no processor and runs on the GPU, what the processor does in one."""
    processor = encoder_of_tower(tower).tower.image_processor
    frames = np.random.default_rng(0).integers(0, 256, (3, 40, 60, 3), dtype=np.uint8)
    resized = resize(frames, processor, "square")
    assert resized.dtype == torch.uint8
    expected = processor(images=list(frames), return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(normalize(resized, processor), expected, atol=2e-6, rtol=0)


def test_batches_go_on_from_one_video_into_the_next(tower):
    encoder = encoder_of_tower(tower)
    sizes, seen = [3, 8, 1, 12, 2], []
    encoder.batch_size = 5
    stock = encoder.encode

    def counted(pixels):
        seen.append(len(pixels))
        return stock(pixels)

    encoder.encode = counted
    rng = np.random.default_rng(1)
    pixels = [rng.integers(0, 256, (size, 3, 28, 28), dtype=np.uint8) for size in sizes]
    made = list(encode_videos(encoder, [(Path(str(place)), video) for place, video in enumerate(pixels)]))
    assert seen == [5, 5, 5, 5, 5, 1]
    assert [path.name for path, _ in made] == ["0", "1", "2", "3", "4"]
    for (_, features), video in zip(made, pixels):
        np.testing.assert_allclose(features, stock(torch.from_numpy(video)).numpy(), atol=1e-5)


def test_done_videos_are_not_decoded_again(videos, tower, tmp_path, monkeypatch, capsys):
    store, arguments = tmp_path / "store", flags(tower, "--workers", 0)
    assert run(videos, store, *arguments) == 0
    before = arrays(store)
    victim = sorted(store.glob("*.npy"))[0]
    victim.write_bytes(victim.read_bytes()[:50])
    read = []

    def spy(path, *arguments):
        read.append(path.stem)
        return stream_frames(path, *arguments)

    monkeypatch.setattr("llava_v2xum.media.reading.stream_frames", spy)
    assert run(videos, store, *arguments) == 0
    assert read == [victim.stem] and arrays(store) == before
    messages = capsys.readouterr().err
    assert f"{COUNT - 1} of {COUNT} videos are done already" in messages and "it is made again" in messages


def test_bad_videos_are_named_and_the_others_done(videos, tower, tmp_path, capsys):
    good = sorted(videos.iterdir())[0]
    (tmp_path / "text.mp4").write_text("no video" * 100)
    (tmp_path / "cut.mp4").write_bytes(good.read_bytes()[:400])
    bad = [tmp_path / "text.mp4", tmp_path / "cut.mp4", tmp_path / "missing.mp4"]
    store, arguments = tmp_path / "store", flags(tower, "--workers", 0)
    assert run([*bad, good], store, *arguments) == 1
    messages = capsys.readouterr().err
    failed = [json.loads(line) for line in (store / "failed.jsonl").read_text().splitlines()]
    assert sorted(record["id"] for record in failed) == ["cut", "missing", "text"]
    for path in bad:
        assert messages.count(f"error: {path}") == 1
        assert any(record["reason"].startswith(str(path)) for record in failed)
    assert set(arrays(store)) == {f"{good.stem}.npy"}
    assert run(good, store, *arguments) == 0 and not (store / "failed.jsonl").exists()
    assert run(bad, store, *arguments) == 2
    assert run([bad[0], good], tmp_path / "strict", *arguments, "--strict") == 2
    assert not arrays(tmp_path / "strict")


def test_two_files_of_one_id_stop_the_run(videos, tower, tmp_path, capsys):
    path = sorted(videos.iterdir())[0]
    shutil.copy(path, tmp_path / path.name)
    assert run([path, tmp_path / path.name], tmp_path / "store", *flags(tower, "--workers", 0)) == 2
    messages = capsys.readouterr().err
    assert str(path) in messages and str(tmp_path / path.name) in messages
    assert not (tmp_path / "store").exists()


def test_another_video_of_a_stored_name_and_other_settings(videos, tower, tmp_path, capsys):
    first, second = sorted(videos.iterdir())[:2]
    store, arguments = tmp_path / "store", flags(tower, "--workers", 0)
    assert run(first, store, *arguments) == 0
    shutil.copy(second, tmp_path / first.name)
    assert run(tmp_path / first.name, store, *arguments) == 2
    assert "made of another video" in capsys.readouterr().err
    assert run(second, store, *arguments, "--select-layer", -1) == 2
    assert "select_layer: expected -1, got -2" in capsys.readouterr().err
    assert set(arrays(store)) == {f"{first.stem}.npy"}


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--num-frames", "0"], "--num-frames must be at least 1"),
        (["--workers", "-1"], "--workers must be at least 0"),
        (["--frame-tokens", "3"], "a square number"),
        (["--frame-feature", "class_token", "--frame-tokens", "4"], "gives one visual token a frame"),
        (["--model-path", "x", "--select-layer", "-2"], "--select-layer is the checkpoint's to say"),
    ],
)
def test_bad_arguments(arguments, message, capsys, tmp_path):
    with pytest.raises(SystemExit) as stopped:
        run("clip.mp4", tmp_path, *arguments)
    assert stopped.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--vision-tower", "none"], ["--model-path", "none"], ["--device", "tpu9"]])
def test_what_cannot_be_loaded_is_named(arguments, videos, tower, tmp_path, capsys):
    arguments = [argument.replace("none", str(tmp_path / "none")) for argument in arguments]
    base = [] if "none" in arguments[1] else ["--vision-tower", tower]
    assert run(videos, tmp_path / "store", *base, *arguments) == 2
    assert arguments[1] in capsys.readouterr().err


def test_a_checkpoints_own_tower_and_settings(tower, tmp_path):
    """The description is that of the loaded model, without the decoder's weights being read."""
    from llava_v2xum import load_pretrained

    layouts.write_full(
        tmp_path / "full", "llava_v2xum", tower, frame_feature="patch_mean", frame_tokens=4, num_frames=FRAMES
    )
    loaded = load_pretrained(tmp_path / "full", device="cpu")[2]
    (tmp_path / "full" / "model.safetensors").write_bytes(b"never read")
    alone = encoder_of_checkpoint(tmp_path / "full")
    assert alone.aspect_ratio == loaded.aspect_ratio == "pad" and alone.feature == loaded.feature
    for field, value in loaded.description.items():
        assert alone.description[field] == value
    frames = np.random.default_rng(2).integers(0, 256, (3, 30, 50, 3), dtype=np.uint8)
    torch.testing.assert_close(alone(frames), loaded(frames))


def test_a_released_models_clip(tmp_path):
    from llava_v2xum import load_pretrained

    layouts.write_released(tmp_path / "released")
    loaded = load_pretrained(tmp_path / "released", model_base=tmp_path / "base", device="cpu")[2]
    alone = encoder_of_checkpoint(tmp_path / "released")
    frames = np.random.default_rng(3).integers(0, 256, (3, 30, 50, 3), dtype=np.uint8)
    torch.testing.assert_close(alone(frames), loaded(frames))
    assert alone.description["frame_feature"] == "clip_embedding" and len(alone.description["tower_sample"]) == 16
    assert alone.description["tower"] == "ViT-L-14.pt" and alone.description["select_layer"] is None


def test_a_tower_that_was_trained_along(tower, tmp_path):
    from llava_v2xum import load_pretrained

    layouts.write_full(tmp_path, "llava_v2xum", tower, with_tower=True, unfreeze_mm_vision_tower=True)
    loaded, alone = load_pretrained(tmp_path, device="cpu")[2], encoder_of_checkpoint(tmp_path)
    frames = np.random.default_rng(4).integers(0, 256, (2, 30, 50, 3), dtype=np.uint8)
    torch.testing.assert_close(alone(frames), loaded(frames))
    assert alone.description["tower_sample"] != encoder_of_tower(tower).description["tower_sample"]


def test_a_crash_of_the_decoder_costs_its_video_alone(videos, tower, tmp_path, monkeypatch):
    paths, call = sorted(videos.iterdir()), Helper.call

    def crashing(helper, function, request, *arguments):
        if request.path == paths[1]:
            raise HelperError("the process was ended (signal SIGSEGV)")
        if request.path == paths[3]:
            raise KeyError("three")
        yield from call(helper, function, request, *arguments)

    monkeypatch.setattr(Helper, "call", crashing)
    store = tmp_path / "store"
    assert run(videos, store, *flags(tower, "--workers", 2)) == 1
    assert set(arrays(store)) == {f"{path.stem}.npy" for path in (paths[0], paths[2], paths[4])}
    failed = [json.loads(line)["reason"] for line in (store / "failed.jsonl").read_text().splitlines()]
    assert sorted(failed) == [
        f"{paths[1]}: it could not be read: the process was ended (signal SIGSEGV)", f"{paths[3]}: KeyError: 'three'",
    ]  # fmt: skip


def test_processes_that_cannot_start_end_the_run(videos, tower, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert run(videos, tmp_path / "store", *flags(tower, "--workers", 1)) == 2
    assert "could not start (exit status 1)" in capsys.readouterr().err


def test_killed_and_started_again_the_store_is_whole(videos, tower, tmp_path, capsys):
    whole, store, arguments = tmp_path / "whole", tmp_path / "store", flags(tower, "--workers", 1, "--batch-size", 10)
    assert run(videos, whole, *arguments[:-4], "--workers", 0, "--batch-size", 10) == 0
    for _ in range(5):  # on a starved machine the kill may come when all is done
        shutil.rmtree(store, ignore_errors=True)
        process = command(videos, store, arguments)
        deadline = time.monotonic() + 200
        while not arrays(store):
            assert process.poll() is None and time.monotonic() < deadline, process.communicate()
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        killed_after = len(arrays(store))
        if killed_after < COUNT:
            break
    assert 1 <= killed_after < COUNT
    (store / f".{sorted(videos.iterdir())[-1].stem}.part.npy").write_bytes(b"half")
    capsys.readouterr()
    assert run(videos, store, *arguments) == 0
    assert f"{killed_after} of {COUNT} videos are done already" in capsys.readouterr().err
    assert arrays(store) == arrays(whole)
    assert not [file for file in store.iterdir() if file.name.startswith(".")]


def test_two_ranks_share_the_videos(videos, tower, tmp_path):
    """Under a launcher, which ends all ranks once one exits with an error: here that of rank 0, soon."""
    store, paths, arguments = tmp_path / "store", [], flags(tower, "--workers", 0, "--num-frames", 100)
    for number, path in enumerate(sorted(videos.iterdir()) * 5):
        bad, good = tmp_path / f"bad_{number}.mp4", tmp_path / f"good_{number}.mp4"
        bad.write_text("no video")
        shutil.copy(path, good)
        paths += [str(bad), str(good)]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", free_port()]
    made = subprocess.run(
        [*launch, "-m", "llava_v2xum.features", *paths, "--out", str(store), *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, cwd=ROOT, capture_output=True, text=True, timeout=250,
    )  # fmt: skip
    assert made.returncode == 1, made.stderr
    count = 5 * COUNT
    assert f"rank 0: {count} of {count} videos could not be done" in made.stderr
    assert f"rank 1: {count} videos done" in made.stderr
    assert set(arrays(store)) == {f"{Path(path).stem}.npy" for path in paths[1::2]}
    names = {file.name for file in store.iterdir() if file.suffix != ".npy"}
    assert names == {"features.json", "failed.jsonl", "sources.1.jsonl"}
    assert run([Path(path) for path in paths[1::2]], store, *arguments) == 0


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def test_inference_takes_the_store_of_its_model(videos, tmp_path, monkeypatch):
    from llava_v2xum.infer.run import main as infer
    from llava_v2xum.shapes import DEMO_CHECKPOINT

    path, store = sorted(videos.iterdir())[0], tmp_path / "store"
    assert run(path, store, "--model-path", DEMO_CHECKPOINT, "--workers", 0, "--device", "cpu") == 0
    common = [str(path), "--format", "json", "--device", "cpu"]
    assert infer([*common, "--output-dir", str(tmp_path / "encoded")]) == 0

    def no_encoding(*_):
        raise AssertionError("the tower ran although features are stored")

    monkeypatch.setattr(FrameEncoder, "encode", no_encoding)
    assert infer([*common, "--output-dir", str(tmp_path / "stored"), "--features", str(store)]) == 0
    records = [json.loads((tmp_path / name / "summaries.jsonl").read_text()) for name in ("encoded", "stored")]
    assert records[0]["answer"] == records[1]["answer"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_stores_the_same_features_in_float32(videos, tower, tmp_path):
    arguments = ["--vision-tower", tower, "--num-frames", FRAMES, "--workers", 2, "--dtype", "float32"]
    for device in ("cpu", "cuda"):
        assert run(videos, tmp_path / device, *arguments, "--device", device, "--batch-size", 7) == 0
    for file in (tmp_path / "cpu").glob("*.npy"):
        np.testing.assert_allclose(np.load(file), np.load(tmp_path / "cuda" / file.name), atol=5e-3)
