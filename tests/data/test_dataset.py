"""Checked entries -> samples and batches, from stored features and from the videos themselves."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import weights
from instruct import (
    CHANNELS,
    FRAMES,
    a_text_entry,
    an_entry,
    dataset_of,
    feature_folder,
    gpt,
    human,
    source_of,
    write_json,
)
from llava.constants import IGNORE_INDEX, IMAGE_TOKEN_INDEX

import llava_v2xum.shapes
from llava_v2xum.core.timeline import Timeline
from llava_v2xum.data.dataset import VideoCollator, frame_source, make_data_module
from llava_v2xum.data.frame_sources import StoredFeatures, VideoFiles
from llava_v2xum.features import FeatureFolder, FrameEncoder
from llava_v2xum.media.video import read_video
from llava_v2xum.train.options import DataOptions

pytestmark = pytest.mark.pinned

DEMO_CLIP = Path(llava_v2xum.shapes.__file__).parent / "clips" / "demo.mp4"
TWO_VIDEOS = [human("<video> or <video>?"), gpt("[05].")]
KEYS = {"input_ids", "labels", "media", "video_indices", "entry_ids"}
PAD = 0


@pytest.fixture
def source(tmp_path):
    return source_of(feature_folder(tmp_path / "features", "v_1", "v_2"))


def stored(name: str) -> torch.Tensor:
    return weights.numbers(FRAMES, CHANNELS, name=name).half()


# --- samples -----------------------------------------------------------------------------------------------------


def test_a_sample(source, tmp_path):
    sample = dataset_of([an_entry()], source, tmp_path)[0]
    assert set(sample) == KEYS
    (video,), (indices,) = sample["media"], sample["video_indices"]
    assert torch.equal(video, stored("v_1")) and indices is None  # all frames, 0 to N - 1
    answer = sample["labels"][sample["labels"] != IGNORE_INDEX]
    assert weights.tokenizer().decode(answer).strip() == "[00]A woman brushes her hair.\n[05][09]A man runs.</s>"


def test_some_of_the_frames_keep_their_indexes(source, tmp_path):
    sample = dataset_of([an_entry(frame_indices=[3, 4, 6])], source, tmp_path)[0]
    assert sample["video_indices"][0].tolist() == [3, 4, 6]
    assert torch.equal(sample["media"][0], stored("v_1")[[3, 4, 6]])


def test_several_videos_come_in_the_order_of_their_places(source, tmp_path):
    entry = an_entry(conversations=TWO_VIDEOS, videos=["v_2", "v_1"], frame_indices=[[0, 9], None])
    sample = dataset_of([entry], source, tmp_path)[0]
    assert (sample["input_ids"] == IMAGE_TOKEN_INDEX).sum() == 2
    assert torch.equal(sample["media"][0], stored("v_2")[[0, 9]]) and torch.equal(sample["media"][1], stored("v_1"))
    some, whole = sample["video_indices"]
    assert some.tolist() == [0, 9] and whole is None


def test_text_has_the_same_keys(source, tmp_path):
    sample = dataset_of([a_text_entry()], source, tmp_path)[0]
    assert set(sample) == KEYS and sample["media"] == sample["video_indices"] == []


def test_lengths_are_those_of_the_decoder(source, tmp_path):
    model = weights.video_model(FRAMES)
    entries = [
        an_entry(), a_text_entry(), an_entry(id="v_2", frame_indices=[3, 4]),
        an_entry(conversations=TWO_VIDEOS, videos=["v_2", "v_1"]),
    ]  # fmt: skip
    dataset = dataset_of(entries, source, tmp_path)
    assert min(dataset.lengths) > 0
    signs = (1, -1, 1, 1)  # of the text alone
    assert dataset.modality_lengths == [sign * length for sign, length in zip(signs, dataset.lengths)]
    for length, sample in zip(dataset.lengths, dataset):
        with weights.decoder_inputs(model) as seen:
            model(**VideoCollator(PAD)([sample]))
        assert seen[0].shape[1] == length if seen else len(sample["input_ids"]) == length


def test_features_that_vanish_are_named(source, tmp_path):
    dataset = dataset_of([an_entry()], source, tmp_path)
    (source.folder.path / "v_1.npy").unlink()
    with pytest.raises(ValueError, match="entry v_1: no features of 'v_1' in .*features"):
        dataset[0]


def test_features_of_another_shape_are_named(source, tmp_path):
    dataset = dataset_of([an_entry()], source, tmp_path)
    np.save(source.folder.path / "v_1.npy", np.zeros((FRAMES, 7), dtype=np.float16))
    with pytest.raises(ValueError, match=r"entry v_1: .*v_1.npy: expected features of shape \[10, 24\], got \[10, 7\]"):
        dataset[0]


# --- batches -----------------------------------------------------------------------------------------------------


def test_the_collator_pads_on_the_right(source, tmp_path):
    two = an_entry(conversations=TWO_VIDEOS, videos=["v_2", "v_1"])
    entries = [an_entry(), a_text_entry(), an_entry(id="v_2", frame_indices=[2, 3]), two]
    samples = list(dataset_of(entries, source, tmp_path))
    batch = VideoCollator(PAD)(samples)
    longest = max(len(sample["input_ids"]) for sample in samples)
    for row, sample in enumerate(samples):
        length = len(sample["input_ids"])
        assert batch["attention_mask"][row].tolist() == [1] * length + [0] * (longest - length)
        assert torch.equal(batch["input_ids"][row, :length], sample["input_ids"])
        assert (batch["input_ids"][row, length:] == PAD).all()
        assert torch.equal(batch["labels"][row, :length], sample["labels"])
        assert (batch["labels"][row, length:] == IGNORE_INDEX).all()
    wanted = [stored("v_1"), stored("v_2")[[2, 3]], stored("v_2"), stored("v_1")]
    assert all(torch.equal(video, expected) for video, expected in zip(batch["images"], wanted))
    shown = [None if indices is None else indices.tolist() for indices in batch["video_indices"]]
    assert shown == [None, [2, 3], None, None]
    assert len(batch["images"]) == 4 and weights.video_model(FRAMES)(**batch).loss.isfinite()


def test_a_batch_of_text_alone_has_no_videos(source, tmp_path):
    batch = VideoCollator(PAD)([dataset_of([a_text_entry()], source, tmp_path)[0]])
    assert set(batch) == {"input_ids", "labels", "attention_mask"}


# --- from the video itself ---------------------------------------------------------------------------------------


@pytest.fixture
def videos(tmp_path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    shutil.copyfile(DEMO_CLIP, folder / "v_1.mp4")
    return folder


def video_files(folder: Path, dtype: torch.dtype = torch.float32) -> VideoFiles:
    processor = weights.video_model(FRAMES).get_vision_tower().image_processor
    return VideoFiles(folder, Timeline(FRAMES), processor, "pad", dtype)


@pytest.mark.parametrize("frame_indices", [None, [3, 4, 9]])
def test_training_from_video_equals_training_from_features(videos, tmp_path, frame_indices):
    model = weights.video_model(FRAMES)
    encoder = FrameEncoder(model.get_vision_tower(), "pad", model.config.describe_features())
    folder = FeatureFolder(tmp_path / "features", encoder.description)
    folder.save("v_1", encoder(read_video(videos / "v_1.mp4", Timeline(FRAMES)).frames).numpy())
    entry = an_entry(frame_indices=frame_indices) if frame_indices else an_entry()
    count = len(frame_indices or range(FRAMES))
    batch = VideoCollator(PAD)([dataset_of([entry], source_of(folder), tmp_path)[0]])
    expected = model(**batch).loss.item()
    assert batch["images"][0].shape == (count, CHANNELS)
    for dtype, tolerance in ((torch.float32, 2e-5), (torch.float16, 5e-5)):
        batch = VideoCollator(PAD)([dataset_of([entry], video_files(videos, dtype), tmp_path)[0]])
        assert batch["images"][0].shape == (count, 3, 28, 28)
        assert model(**batch).loss.item() == pytest.approx(expected, abs=tolerance)
    batch["images"] = [-batch["images"][0]]
    assert abs(model(**batch).loss.item() - expected) > 1e-3  # another picture gives another loss


def test_pixels_are_held_in_the_dtype_of_the_tower(videos, tmp_path):
    sample = dataset_of([an_entry()], video_files(videos, torch.bfloat16), tmp_path)[0]
    assert sample["media"][0].dtype == torch.bfloat16


def test_a_spawned_worker_decodes_as_well(videos, tmp_path):
    dataset = dataset_of([an_entry()], video_files(videos), tmp_path)
    again = pickle.loads(pickle.dumps(dataset))[0]
    assert torch.equal(again["media"][0], dataset[0]["media"][0])
    assert torch.equal(again["input_ids"], dataset[0]["input_ids"])


def test_a_damaged_video_is_named_and_not_replaced(videos, tmp_path):
    (videos / "v_2.mp4").write_bytes(b"no video")
    dataset = dataset_of([an_entry(), an_entry(id="v_2")], video_files(videos), tmp_path)
    with pytest.raises(ValueError, match=r"entry v_2: .*v_2\.mp4: "):
        dataset[1]


def test_what_is_no_single_video_of_the_id(videos):
    (videos / "v_2.mp4").touch()
    (videos / "v_2.webm").touch()
    (videos / "v_3.txt").touch()
    (videos / ".v_4.mp4").touch()
    source = video_files(videos)
    assert source.problem("v_1") is None
    assert source.problem("v_2") == f"{videos} has several videos of 'v_2': v_2.mp4, v_2.webm"
    assert source.problem("v_3") == f"no video of 'v_3' in {videos}"
    assert source.problem(".v_4") == f"no video of '.v_4' in {videos}"


# --- the data module ---------------------------------------------------------------------------------------------


def data_arguments(**changes) -> SimpleNamespace:
    return SimpleNamespace(**{**vars(DataOptions()), "image_folder": None, "max_rejected": "100%", **changes})


@pytest.mark.parametrize("kind", ["feature_folder", "video_folder"])
def test_the_data_module(videos, tmp_path, kind):
    model, tokenizer = weights.video_model(FRAMES), weights.tokenizer()
    folder = FeatureFolder(tmp_path / "features", model.config.describe_features())
    folder.save("v_1", weights.numbers(FRAMES, CHANNELS, name="v_1").numpy())
    files = [write_json(tmp_path / "a.json", [an_entry(), an_entry(id="v_9")])]
    files.append(write_json(tmp_path / "b.json", [a_text_entry()]))
    where = {kind: str(folder.path if kind == "feature_folder" else videos)}
    asked = data_arguments(data_path=files, data_weights=[1, 2], **where)
    module = make_data_module(tokenizer, asked, model, "v1", tmp_path / "out", seed=3)
    assert set(module) == {"train_dataset", "eval_dataset", "data_collator"} and module["eval_dataset"] is None
    dataset = module["train_dataset"]
    assert [entry.id for entry in dataset.entries] == ["v_1", "t", "t"]
    assert json.loads((tmp_path / "out" / "rejected.jsonl").read_text())["id"] == "v_9"
    assert model(**module["data_collator"](list(dataset))).loss.isfinite()
    with pytest.raises(ValueError, match="entry v_9: no "):
        make_data_module(tokenizer, data_arguments(data_path=files, strict=True, **where), model, "v1")


def test_flags_that_are_missing_are_named(tmp_path):
    model, tokenizer = weights.video_model(FRAMES), weights.tokenizer()
    with pytest.raises(ValueError, match="--data_path is needed"):
        make_data_module(tokenizer, data_arguments(feature_folder=str(tmp_path)), model)
    with pytest.raises(ValueError, match="--feature_folder is needed, .* or --video_folder.*; none came"):
        frame_source(data_arguments(), model)
    with pytest.raises(ValueError, match="both came"):
        frame_source(data_arguments(feature_folder="a", video_folder="b"), model)
    for flag in ("feature_folder", "video_folder"):
        with pytest.raises(ValueError, match=rf"--{flag}: .*none: .*[Nn]o such f"):
            frame_source(data_arguments(**{flag: str(tmp_path / "none")}), model)


def test_opening_looks_at_names_alone(tmp_path):
    for number in range(3):
        (tmp_path / f"v_{number}.npy").touch()  # no array: it would not load
    source = StoredFeatures(FeatureFolder(tmp_path, {"tower": "tiny"}), (FRAMES, CHANNELS))
    assert [source.problem(f"v_{number}") is None for number in range(4)] == [True, True, True, False]
