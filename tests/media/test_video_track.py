"""Another video track than the one that players choose: read, cut, recorded, and never taken for that one."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from llava_v2xum.core.timeline import Timeline
from llava_v2xum.curate.stages.caption import _frames_of
from llava_v2xum.curate.stages.select import SelectStage
from llava_v2xum.curate.store.stage import Rejected, Source
from llava_v2xum.data.frame_sources import VideoFiles
from llava_v2xum.evaluate.formats.predictions import Prediction
from llava_v2xum.evaluate.models.embeddings import Embedder
from llava_v2xum.evaluate.models.frames import Second
from llava_v2xum.features.command import run_command as run_features
from llava_v2xum.features.options import parse_arguments as features_arguments
from llava_v2xum.features.upstream import CLIPImageProcessor
from llava_v2xum.infer.run import main as infer
from llava_v2xum.media.cut import cut_clip
from llava_v2xum.media.video import VideoError, probe_video, read_video
from llava_v2xum.shapes import DEMO_CHECKPOINT

TRACKS = ((32, 60), (64, 200))  # size and grey of each; the second is the default one


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    """Two seconds of two tracks."""
    path = tmp_path_factory.mktemp("films") / "two.mp4"
    with av.open(str(path), "w") as output:
        streams = [output.add_stream("libx264", rate=25) for _ in TRACKS]
        for stream, (size, _) in zip(streams, TRACKS):
            stream.width = stream.height = size
            stream.pix_fmt = "yuv420p"
        streams[0].disposition = av.stream.Disposition(0)
        streams[1].disposition = av.stream.Disposition.default
        for number in range(50):
            for stream, (size, grey) in zip(streams, TRACKS):
                frame = av.VideoFrame.from_ndarray(np.full((size, size, 3), grey, np.uint8), format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 25)
                output.mux(stream.encode(frame))
        for stream in streams:
            output.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(("track", "shown"), [(None, 1), (0, 0), (1, 1)])
def test_a_track_is_read_and_cut(film, tmp_path, track, shown):
    size, grey = TRACKS[shown]
    video = read_video(film, Timeline(10), track)
    assert video.frames.shape == (10, size, size, 3) and abs(int(video.frames.mean()) - grey) <= 3
    assert video.track == track == probe_video(film, Timeline(10), track).track and not video.warnings
    clip = read_video(cut_clip(film, [(0.5, 1.5)], tmp_path / "clip.mp4", track), Timeline(10))
    assert clip.frames.shape == video.frames.shape and abs(int(clip.frames.mean()) - grey) <= 3


def test_a_track_that_is_not_there_is_refused_with_those_that_are(film, tmp_path):
    there = "track 0: 32 x 32, h264, not default; track 1: 64 x 64, h264, default"
    told = rf"two\.mp4: has no video track 2; it has {there}$"
    for read in (read_video, probe_video):
        with pytest.raises(VideoError, match=told):
            read(film, Timeline(10), 2)
    with pytest.raises(VideoError, match=told):
        cut_clip(film, [(0.5, 1.5)], tmp_path / "clip.mp4", 2)


def test_the_command_summarizes_it_and_does_not_take_one_for_the_other(film, tmp_path, capsys):
    out, store = tmp_path / "out", tmp_path / "store"

    def run(*arguments: str) -> tuple[int, str]:
        status = infer([str(film), "--output-dir", str(out), "--workers", "0", "--device", "cpu", *arguments])
        return status, capsys.readouterr().err

    def records() -> list[dict]:
        return [json.loads(line) for line in (out / "summaries.jsonl").read_text().splitlines()]

    assert run("--video-track", "0", "--features", str(store))[0] == 0
    assert records()[-1]["video_track"] == 0
    assert json.loads((store / "sources.jsonl").read_text())["source"]["video_track"] == 0
    assert "done already" in run("--video-track", "0")[1] and len(records()) == 1
    status, told = run()
    assert status == 2 and "holds the BOTH summary of video track 0 by" in told and len(records()) == 1
    status, told = run("--overwrite", "--features", str(store))
    assert status == 2 and "or of another track of it" in told and len(records()) == 1
    status, told = run("--overwrite")
    assert status == 0 and "done already" not in told
    assert len(records()) == 2 and "video_track" not in records()[-1]
    with pytest.raises(SystemExit):
        run("--video-track", "-1")


def test_a_store_does_not_mix_tracks(film, tmp_path, capsys):
    def run(*arguments: str) -> int:
        given = [str(film), "--out", str(tmp_path / "store"), "--model-path", str(DEMO_CHECKPOINT), "--workers", "0"]
        return run_features(features_arguments([*given, "--device", "cpu", *arguments]))

    assert run() == 0
    made = (tmp_path / "store" / "two.npy").read_bytes()
    assert run("--video-track", "0") == 2 and "or of another track of it" in capsys.readouterr().err
    assert run("--video-track", "7") == 2
    assert (tmp_path / "store" / "two.npy").read_bytes() == made
    assert run() == 0


class Greys:
    """Stands for a CLIP: a frame's unit vector turns with its grey."""

    digest = "greys"

    def embed_frames(self, frames: np.ndarray) -> np.ndarray:
        angles = frames.reshape(len(frames), -1).mean(axis=1) / 255
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_clip_is_shown_the_track_that_was_summarized(film):
    record = {"video_id": "two", "num_frames": 10, "frames": [1], "video_track": 0}
    prediction = Prediction.from_record(record)
    assert prediction.video_track == 0 == prediction.to_record()["video_track"]
    for wrong in (-1, "0", True):
        with pytest.raises(ValueError, match="video_track must be an integer from 0 on"):
            Prediction.from_record({**record, "video_track": wrong})
    embedder = Embedder(Greys())  # one cache for all tracks
    for track, shown in ((None, 1), (0, 0), (1, 1), (None, 1)):
        (vector,) = embedder.frames(film, [Second(0.5)], track)
        assert np.arctan2(vector[1], vector[0]) * 255 == pytest.approx(TRACKS[shown][1], abs=3)


def test_training_decodes_the_track(film):
    processor = CLIPImageProcessor(
        size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}, do_normalize=False
    )
    for track, shown in ((None, 1), (0, 0)):
        files = VideoFiles(film.parent, Timeline(10), processor, "pad", torch.float32, track)
        pixels = files.load("two", [0, 9])
        assert pixels.shape == (2, 3, 16, 16) and float(pixels.mean()) * 255 == pytest.approx(TRACKS[shown][1], abs=3)


def test_curation_reads_the_track_and_keeps_its_results_apart(film):
    source = Source("two", film)
    stages = [SelectStage(0, track=track) for track in (None, 0, 1)]
    assert len({json.dumps(stage.settings()) for stage in stages}) == 3
    assert all(stage.work(source, {}, None)["duration"] == 2 for stage in stages)
    with pytest.raises(Rejected, match="^has no video track 2; it has track 0: 32 x 32"):
        SelectStage(0, track=2).work(source, {}, None)
    (_, frames), *_ = _frames_of(film, [range(2)], 0)
    assert frames.shape == (2, 32, 32, 3)
