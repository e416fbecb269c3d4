"""A video's way to its features: read here or in a helper, encoded or taken from a folder."""

from __future__ import annotations

import shutil
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

import llava_v2xum
from llava_v2xum.core.timeline import Timeline
from llava_v2xum.features import FeatureFolder, FrameEncoder
from llava_v2xum.features.settings import encoder_of_checkpoint
from llava_v2xum.features.video_features import ReadVideo, VideoFeatures
from llava_v2xum.media import reading
from llava_v2xum.media.helper import Helper, HelperError
from llava_v2xum.media.video import Video, VideoError, probe_video, read_video

pytestmark = pytest.mark.pinned

SHAPES = Path(llava_v2xum.__file__).parent / "shapes"
TIMELINE = Timeline()


@pytest.fixture(scope="module")
def encoder() -> FrameEncoder:
    return encoder_of_checkpoint(SHAPES / "checkpoint")


@pytest.fixture(scope="module")
def video() -> Video:
    return read_video(SHAPES / "clips" / "demo.mp4", TIMELINE)


@pytest.fixture(scope="module")
def expected(encoder, video) -> torch.Tensor:
    return encoder(video.frames)


def features_of(encoder, **more) -> VideoFeatures:
    return VideoFeatures(encoder, TIMELINE, encoder.feature.shape(100, encoder.tower.hidden_size), **more)


def assert_same_facts(got: Video, wanted: Video) -> None:
    for field in fields(Video):
        if field.name != "frames":
            np.testing.assert_array_equal(getattr(got, field.name), getattr(wanted, field.name), err_msg=field.name)


def test_here_and_in_a_helper_the_same(encoder, video, expected):
    videos, helper = features_of(encoder), Helper()
    apart = features_of(encoder, resize_apart=True)
    for made in (videos.read(video.path), videos.read(video.path, helper), apart.read(video.path, helper)):
        assert_same_facts(made.video, video)
        np.testing.assert_array_equal(made.video.frames, reading.thumbnails(video.frames))
        assert list(map(len, made.pixels)) == [32, 32, 32, 4] and made.features is None
        made = videos.encode(made)
        assert made.pixels == [] and torch.equal(made.features, expected)
        assert videos.encode(made) is made
    helper.close()
    assert videos.seconds["read"] > 0 and videos.seconds["encode"] > 0


def test_without_thumbnails_no_frame_is_kept(encoder, video):
    made = features_of(encoder, thumbnails=False).read(video.path)
    assert len(made.video.frames) == 0 and made.video.frames.base is None
    assert_same_facts(made.video, video)


def test_a_file_that_its_process_dies_of_is_named(encoder, video, monkeypatch):
    helper = Helper()
    monkeypatch.setattr(helper, "call", lambda *_: crashing())

    def crashing():
        raise HelperError("the process was ended (signal SIGSEGV)")
        yield

    with pytest.raises(VideoError, match=r"demo\.mp4: it could not be read: .*SIGSEGV"):
        features_of(encoder).read(video.path, helper)


def test_whatever_the_decoder_raises_is_that_videos(encoder, video, monkeypatch):
    def fail(*_):
        raise MemoryError("a frame of 60000 x 60000")

    monkeypatch.setattr(reading, "stream_frames", fail)
    with pytest.raises(VideoError, match=r"demo\.mp4: MemoryError: a frame"):
        features_of(encoder).read(video.path)


@pytest.fixture
def stored(encoder, video, expected, tmp_path) -> FeatureFolder:
    """A folder with the features of the video, put there as they were made."""
    folder = FeatureFolder(tmp_path / "store", encoder.description)
    pixels = [torch.empty(0)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FrameEncoder, "encode", lambda *_: expected)
        made = features_of(encoder, folder=folder).encode(ReadVideo(video, pixels))
    assert made.features.dtype == torch.float16
    return folder


def no_decoding(*_):
    raise AssertionError("the video was decoded")


def test_stored_features_need_no_decoding(encoder, video, expected, stored, monkeypatch):
    monkeypatch.setattr(reading, "stream_frames", no_decoding)
    monkeypatch.setattr(FrameEncoder, "encode", no_decoding)
    videos = features_of(encoder, folder=stored, thumbnails=False)
    made = videos.encode(videos.read(video.path))
    assert_same_facts(made.video, video)
    np.testing.assert_array_equal(made.features, expected.half())


def test_thumbnails_need_it_and_the_tower_still_rests(encoder, video, stored, monkeypatch):
    monkeypatch.setattr(FrameEncoder, "encode", no_decoding)
    made = features_of(encoder, folder=stored).read(video.path)
    np.testing.assert_array_equal(made.video.frames, reading.thumbnails(video.frames))
    assert made.pixels == [] and made.features is not None


@pytest.mark.parametrize("known", [{}, {"intact": False}, {"total_frames": 7, "intact": True}])
def test_a_file_of_which_too_little_is_known_is_decoded(encoder, video, stored, known, monkeypatch):
    source = {"total_frames": video.total_frames, "bytes": video.path.stat().st_size, **known}
    stored.sources.append(video.path.stem, source)
    read = []
    monkeypatch.setattr(reading, "stream_frames", lambda *arguments: read.append(arguments) or iter([100, video]))
    videos = features_of(encoder, folder=FeatureFolder(stored.path, encoder.description), thumbnails=False)
    if "total_frames" in known:
        with pytest.raises(ValueError, match="made of another video"):
            videos.read(video.path)
    else:
        assert videos.read(video.path).features is not None
    assert len(read) == 1


def test_another_video_of_that_name_is_refused_before_it_is_read(encoder, video, stored, tmp_path, monkeypatch):
    other = tmp_path / "other" / video.path.name
    other.parent.mkdir()
    shutil.copy(video.path, other)
    with open(other, "ab") as file:
        file.write(b"more")
    monkeypatch.setattr(reading, "stream_frames", no_decoding)
    with pytest.raises(ValueError, match="made of another video"):
        features_of(encoder, folder=stored).read(other)


def test_a_missing_file_is_named_as_reading_names_it(encoder, stored, tmp_path):
    with pytest.raises(VideoError, match="demo.mp4: no such file"):
        features_of(encoder, folder=stored).read(tmp_path / "demo.mp4")


def test_a_probe_of_a_file_that_is_cut_off_says_nothing(video, tmp_path):
    import av

    whole, cut = tmp_path / "whole.mkv", tmp_path / "cut.mkv"  # with its header first, what is left can be read
    with av.open(str(video.path)) as source, av.open(str(whole), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    assert probe_video(whole).total_frames == video.total_frames
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert probe_video(cut) is None
