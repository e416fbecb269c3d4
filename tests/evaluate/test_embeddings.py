"""Frames of moments, and their embeddings kept by content: a second run computes and decodes nothing."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from llava_v2xum.evaluate.models import embeddings
from llava_v2xum.evaluate.models.embeddings import Embedder, EmbeddingCache
from llava_v2xum.evaluate.models.frames import Frame, Prompt, Second, frame_numbers, read_moments
from llava_v2xum.media.video import VideoError, read_frames, read_video

FPS, FRAMES = 5, 43
SHADES = 6 * np.arange(FRAMES)  # frame i is grey of 6 i: what was read tells which frame it is


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("video") / "greys.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "4", "bf": "2"})
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 32, 16, "yuv420p", 10
        for shade in SHADES:
            frame = av.VideoFrame.from_ndarray(np.full((16, 32, 3), shade, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def shown(frames: np.ndarray) -> list[int]:
    """The numbers of the frames that were read."""
    return [int(np.argmin(np.abs(SHADES - frame.mean()))) for frame in frames]


class Greys:
    """Stands for a CLIP: a frame's vector is its shade's, a text's that of its length; it counts what it is asked."""

    name = digest = "greys"

    def __init__(self) -> None:
        self.frames = self.texts = self.batches = 0

    def embed_frames(self, frames: np.ndarray) -> np.ndarray:
        self.frames, self.batches = self.frames + len(frames), self.batches + 1
        return on_circle(frames.reshape(len(frames), -1).mean(axis=1))

    def embed_each_text(self, texts: list[str]) -> list[np.ndarray]:
        self.texts += len(texts)
        return [on_circle(np.array([len(part) for part in text.split("|")])) for text in texts]


def on_circle(values: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(values / 50), np.sin(values / 50)], axis=1).astype(np.float32)


def near(found: np.ndarray, numbers: list[int]) -> None:
    np.testing.assert_allclose(found, on_circle(SHADES[numbers]), atol=0.05)


def test_frame_numbers_by_hand():
    seconds = np.array([0, 0.4, 1.0, 1.8, 2.2])
    moments = [Second(0), Second(0.7), Second(0.71), Second(1.9), Second(99), Prompt(0, 3), Prompt(1, 3), Frame(4)]
    assert frame_numbers(moments, seconds).tolist() == [0, 1, 2, 3, 4, 0, 2, 4]  # of two as near, the earlier
    assert frame_numbers([Prompt(150, 200)], np.arange(400) / 10).tolist() == [300]  # three digits: 150 * 399 / 199
    assert frame_numbers([], seconds).tolist() == []


@pytest.mark.parametrize(
    "moment, message",
    [
        (Prompt(3, 3), "expected an index in 0..2, got 3"),
        (Prompt(-1, 3), "got -1"),
        (Frame(5), "expected an index in 0..4, got 5"),
        (Second(-0.1), "expected a second that is not negative, got -0.1"),
        (Second(float("nan")), "got nan"),
    ],
)
def test_moments_outside(moment, message):
    with pytest.raises(ValueError, match=message):
        frame_numbers([moment], np.arange(5) / 5)


def test_prompts_are_what_the_model_saw(video):
    from llava_v2xum.core.timeline import Timeline

    expected = read_video(video, Timeline(7)).frame_indices.tolist()
    assert frame_numbers([Prompt(index, 7) for index in range(7)], np.arange(FRAMES) / FPS).tolist() == expected


@pytest.mark.parametrize("batch_bytes", [1, 5 * 16 * 32 * 3, 2**20])
def test_read_moments_in_batches(video, batch_bytes, monkeypatch):
    monkeypatch.setattr("llava_v2xum.evaluate.models.frames.FIRST_FRAMES", 3)
    moments = [Second(8), Prompt(0, 2), Second(1.5), Frame(20), Second(0), Prompt(1, 2), Second(30), Second(4.1)]
    found, largest, order = {}, 0, []
    for which, frames in read_moments(video, moments, batch_bytes):
        largest = max(largest, len(frames))
        order += shown(frames)
        found.update(zip(which.tolist(), shown(frames)))
    assert [found[place] for place in range(len(moments))] == [40, 0, 7, 20, 0, 42, 42, 20]
    assert order == sorted(order)
    assert largest == (5 if batch_bytes > 1 else 3)


def test_read_moments_of_a_torn_file(video, tmp_path, caplog):
    """Damage in the middle: the nearest intact frames stand in, and that is said once."""
    data = bytearray(video.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 60] = bytes(60)
    torn = tmp_path / "torn.mp4"
    torn.write_bytes(data)
    moments = [Second(second) for second in range(9)]
    whole = read_frames(torn, lambda seconds: np.arange(len(seconds)))
    found = {}
    for which, frames in read_moments(torn, moments, batch_bytes=3 * 16 * 32 * 3):
        found.update(zip(which.tolist(), frames))
    assert len(found) == 9
    assert whole.warnings, "the damage was not noticed: choose other bytes"
    assert sum("torn.mp4" in record.message for record in caplog.records) == len(
        {record.message for record in caplog.records}
    )


def test_read_moments_errors(video, tmp_path):
    with pytest.raises(VideoError, match=r"gone.mp4: no such file"):
        list(read_moments(tmp_path / "gone.mp4", [Second(0)]))
    with pytest.raises(ValueError, match=r"greys.mp4: expected an index in 0..42, got 43"):
        list(read_moments(video, [Frame(43)]))
    assert list(read_moments(tmp_path / "gone.mp4", [])) == []


def test_embedder_gives_frames_in_the_order_asked_for(video, tmp_path):
    model = Greys()
    with EmbeddingCache(tmp_path / "new" / "cache.sqlite") as cache:
        embedder = Embedder(model, cache)
        near(embedder.frames(video, [Second(8), Second(0), Frame(20), Second(8)]), [40, 0, 20, 40])
        assert model.frames == 3  # the moment that was asked for twice is embedded once
        near(embedder.frames(video, [Second(2), Second(0)]), [10, 0])
        assert model.frames == 4  # what is there stays
        assert embedder.frames(video, []).shape == (0, 0)


def test_second_run_computes_and_decodes_nothing(video, tmp_path, monkeypatch):
    moments, texts = [Second(3), Prompt(4, 9)], ["A man.", "He sings|and sings"]
    first = Greys()
    with EmbeddingCache(tmp_path / "cache.sqlite") as cache:
        embedder = Embedder(first, cache)
        expected = embedder.frames(video, moments), embedder.texts(texts)
    assert (first.frames, first.texts) == (2, 2)

    def decoding(_, moments, track):
        return pytest.fail("decoded again") if moments else []

    monkeypatch.setattr(embeddings, "read_moments", decoding)
    monkeypatch.setattr(embeddings.hashlib, "blake2b", counted := Counted(embeddings.hashlib.blake2b))
    again = Greys()
    with EmbeddingCache(tmp_path / "cache.sqlite") as cache:
        embedder = Embedder(again, cache)
        np.testing.assert_array_equal(embedder.frames(video, moments), expected[0])
        for found, wanted in zip(embedder.texts(texts), expected[1], strict=True):
            np.testing.assert_array_equal(found, wanted)
    assert (again.frames, again.texts) == (0, 0)
    assert counted.calls == 4  # the four keys; the file's content was not read again


class Counted:
    def __init__(self, function) -> None:
        self.function, self.calls = function, 0

    def __call__(self, *arguments, **options):
        self.calls += 1
        return self.function(*arguments, **options)


def test_parts_of_a_text_stay_together(tmp_path):
    embedder = Embedder(Greys(), EmbeddingCache(tmp_path / "cache.sqlite"))
    found = embedder.texts(["one|three", "two"])
    assert [len(rows) for rows in found] == [2, 1]
    again = embedder.texts(["two", "one|three", "two"])
    for rows, wanted in zip(again, (found[1], found[0], found[1]), strict=True):
        np.testing.assert_array_equal(rows, wanted)
    assert embedder.texts([]) == []


def test_content_decides(video, tmp_path):
    """A copy under another name is known; a changed file, another model and another text are not."""
    model, cache = Greys(), EmbeddingCache()
    Embedder(model, cache).frames(video, [Second(1)])
    copy = Path(shutil.copy(video, tmp_path / "copy.mp4"))
    Embedder(model, cache).frames(copy, [Second(1)])
    assert model.frames == 1
    data = copy.read_bytes()
    copy.write_bytes(data + b"\0")  # a player does not mind
    Embedder(model, cache).frames(copy, [Second(1)])
    assert model.frames == 2
    model.digest = "other weights"
    Embedder(model, cache).frames(video, [Second(1)])
    assert model.frames == 3
    Embedder(model, cache).texts(["one"])
    Embedder(model, cache).texts(["one", "One"])
    assert model.texts == 2


def test_what_was_put_survives_a_kill(tmp_path):
    script = (
        "import os, signal, sys, numpy as np\n"
        "from llava_v2xum.evaluate.models.embeddings import EmbeddingCache\n"
        "cache = EmbeddingCache(sys.argv[1])\n"
        "cache.put({b'whole': np.array([[1, 0]], np.float32)})\n"
        "cache._base.execute('insert into vectors values (?, 1, ?)', (b'torn', b'12345678'))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tmp_path / "cache.sqlite"
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    with EmbeddingCache(path) as cache:
        assert list(cache.get([b"whole", b"torn"])) == [b"whole"]


def test_many_keys_at_once():
    cache = EmbeddingCache()
    vectors = {str(number).encode(): on_circle(np.array([number])) for number in range(1300)}
    cache.put(vectors)
    found = cache.get([*vectors, b"not there", b"5"])
    assert found.keys() == vectors.keys()
    np.testing.assert_array_equal(found[b"1234"], vectors[b"1234"])


def test_damaged_caches(tmp_path):
    path = tmp_path / "cache.sqlite"
    path.write_bytes(b"this is no data base" * 100)
    with pytest.raises(ValueError, match="cache.sqlite: is no whole cache of embeddings .*; delete it"):
        EmbeddingCache(path)
    other = sqlite3.connect(tmp_path / "other.sqlite")
    other.execute("create table people (name text)")
    other.commit()
    with pytest.raises(ValueError, match=r"other.sqlite: expected a cache of embeddings .*, got other tables"):
        EmbeddingCache(tmp_path / "other.sqlite")
    cache = EmbeddingCache(tmp_path / "short.sqlite")
    wrong = ((2, b"123456789012", "12 bytes for 2"), (1, b"", "0 bytes"), (1, b"\0" * 8, r"\[0.0\]"))
    for rows, data, message in wrong:
        with cache._base:
            cache._base.execute("insert or replace into vectors values (?, ?, ?)", (b"key", rows, data))
        with pytest.raises(ValueError, match=f"short.sqlite: is no whole cache of embeddings .*{message}"):
            cache.get([b"key"])


def test_torn_pages_are_told(tmp_path):
    path = tmp_path / "cache.sqlite"
    with EmbeddingCache(path) as cache:
        cache.put({str(number).encode(): on_circle(np.arange(200)) for number in range(50)})
    data = bytearray(path.read_bytes())
    data[4096:] = bytes(len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(ValueError, match="cache.sqlite: is no whole cache of embeddings"):
        EmbeddingCache(path).get([b"7"])


def test_a_folder_is_no_cache(tmp_path):
    with pytest.raises(OSError, match="the cache of embeddings cannot be used: unable to open"):
        EmbeddingCache(tmp_path)


def test_two_processes_share_a_cache(tmp_path):
    with EmbeddingCache(tmp_path / "cache.sqlite") as one, EmbeddingCache(tmp_path / "cache.sqlite") as two:
        one.put({b"a": on_circle(np.arange(1))})
        two.put({b"b": on_circle(np.arange(2))})
        assert one.get([b"a", b"b"]).keys() == two.get([b"a", b"b"]).keys() == {b"a", b"b"}
