"""Entries and files as the data sets publish them, and the command that converts them, for the tests of `convert`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from llava_v2xum.core.annotations import Annotation, read_annotations
from llava_v2xum.data.convert.command import main


class Converted(NamedTuple):
    """What a run of the command gave; None for a file that it did not write."""

    status: int
    annotations: list[Annotation] | None
    entries: list[dict] | None
    report: dict | None
    err: str


def converter(folder: Path, capsys):
    """A function that runs the command: `convert(format, content of the source file, *arguments)`."""
    out = folder / "out"

    def written(ending: str, read) -> Any:
        path = out / f"set{ending}"
        return read(path) if path.exists() else None

    def load(path: Path) -> Any:
        return json.loads(path.read_text(encoding="utf-8"))

    def convert(name: str, content: Any, *arguments: str) -> Converted:
        source = folder / "in" / "set.json"
        source.parent.mkdir(exist_ok=True)
        source.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        status = main([name, str(source), "--out", str(out), *arguments])
        annotations = written(".annotations.jsonl", lambda path: list(read_annotations(path)))
        return Converted(
            status, annotations, written(".json", load), written(".report.json", load), capsys.readouterr().err
        )

    return convert


def videoxum(video_id="v_1", **changes) -> dict:
    """A VideoXum entry of two sentences, three annotators and four samples."""
    entry = {
        "video_id": video_id,
        "duration": 4.2,
        "sampled_frames": 4,
        "timestamps": [[0, 2.5], [2.1, 4.2]],
        "tsum": ["A man runs.", " He stops. "],
        "vsum": [[[0.5, 1.0]] * 3, [[2.5, 3.0], [2.5, 3.5], [3.0, 4.0]]],
        "vsum_onehot": [[1, 0, 1, 0], [1, 0, 1, 1], [1, 0, 0, 1]],
    }
    return {**entry, **changes}


def instruct(answer="\n[<f0>]A man runs.\n[<f1>]He stops.\n", task="BOTH video and text", video_id="a", **changes):
    """An Instruct-V2Xum entry of one round."""
    entry = {
        "id": video_id,
        "meta": {"duration": 20.0, "sampled_frames": 20, "token": {"<f0>": 0.0, "<f1>": 5, "<f2>": 20.0}},
        "conversations": [
            {"from": "human", "value": f"<video>\nPlease generate {task} summarization for this video."},
            {"from": "gpt", "value": answer},
        ],
        "vsum_onehot": [1, 0, 0, 0, 0, 1] + [0] * 14,
    }
    return {**entry, **changes}


def captions(**changes) -> dict:
    """An ActivityNet Captions entry."""
    entry = {"duration": 10.0, "timestamps": [[0, 4], [3.5, 10.0]], "sentences": ["A man runs.", " He stops."]}
    return {**entry, **changes}


def answers(entries) -> list[tuple[str, str]]:
    """The entries' ids and answers."""
    return [(entry["id"], entry["conversations"][1]["value"]) for entry in entries]


def reasons(report) -> list[tuple]:
    """What the report says of every rejected item: its id, place and reason."""
    return [(item["id"], item["item"], item["reason"]) for item in report["rejected"]]


def eccv16_video(frames=40, **changes) -> dict:
    """The data sets of a group of an eccv16 file: three samples, two annotators, two segments."""
    user_summary = np.zeros((2, frames), np.float32)
    user_summary[0, [0, 1, 2, frames - 1]] = 1
    video = {
        "features": np.arange(6, dtype=np.float32).reshape(3, 2),
        "gtscore": np.array([0.1, 0.5, 0.25], np.float32),
        "user_summary": user_summary,
        "change_points": np.array([[0, 19], [20, frames - 1]], np.int32),
        "n_frame_per_seg": np.array([20, frames - 20], np.int32),
        "n_frames": np.int32(frames),
        "picks": np.array([0, 15, 30], np.int64),
        "n_steps": np.int32(3),
        "gtsummary": np.array([1, 0, 0], np.float32),
    }
    return {name: value for name, value in {**video, **changes}.items() if value is not None}


def write_eccv16(path: Path, videos: dict[str, dict]) -> Path:
    """An HDF5 file with a group a video."""
    import h5py

    with h5py.File(path, "w") as file:
        for video_id, video in videos.items():
            group = file.create_group(video_id)
            for name, value in video.items():
                group[name] = value
    return path


def write_tvsum_mat(path: Path, videos: list[dict]) -> Path:
    """MATLAB 7.3: a struct array whose fields are references to arrays stored column by column, text as uint16."""
    import h5py

    def stored(value):
        return np.array([[ord(one)] for one in value], np.uint16) if isinstance(value, str) else np.asarray(value)

    with h5py.File(path, "w", userblock_size=512) as file:
        values, struct = file.create_group("#refs#"), file.create_group("tvsum50")
        for field in videos[0]:
            column = struct.create_dataset(field, (len(videos), 1), dtype=h5py.ref_dtype)
            for place, video in enumerate(videos):
                name = f"{field}{place}"
                values[name] = stored(video[field])
                column[place, 0] = values[name].ref
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64")
    return path


def tvsum_video(video_id="AwmHb44_ouw", n_frames=32, **changes) -> dict:
    """A video of TVSum's .mat with three annotators; the scores are 1 to 5 by turns."""
    scores = 1.0 + (np.arange(n_frames) + np.arange(3)[:, None]) % 5  # [A, F], as HDF5 sees MATLAB's [F, A]
    entry = {
        "video": video_id,
        "category": "VT",
        "title": "How to change a tire",
        "length": [[12.5]],
        "nframes": [[float(n_frames)]],
        "user_anno": scores,
        "gt_score": scores.mean(axis=0, keepdims=True),
    }
    return {**entry, **changes}


def write_summe(folder: Path, videos: dict[str, dict]) -> Path:
    """SumMe's folder: a MATLAB 5 file a video."""
    from scipy.io import savemat

    folder.mkdir(exist_ok=True)
    for video_id, content in videos.items():
        savemat(folder / f"{video_id}.mat", content)
    return folder


def summe_video(n_frames=32, **changes) -> dict:
    """The content of a file of SumMe with two annotators; `user_score` numbers each one's segments."""
    user_score = np.zeros((n_frames, 2))
    user_score[3:6, 0], user_score[10:12, 0], user_score[n_frames - 1, 1] = 1, 2, 1
    content = {
        "all_userIDs": np.array([[1, 2]]),
        "segments": np.array([[np.array([[0.1, 0.2]]), np.array([[1.0, 1.1]])]], dtype=object),
        "nFrames": n_frames,
        "video_duration": 1.28,
        "FPS": 25.0,
        "gt_score": (user_score > 0).mean(axis=1, keepdims=True),
        "user_score": user_score,
    }
    return {name: value for name, value in {**content, **changes}.items() if value is not None}


def youcook2(**changes) -> dict:
    """A YouCook2 file of one video."""
    steps = [{"segment": [2, 5], "id": 0, "sentence": "cut the onion"}]
    steps += [{"segment": [6, 9], "id": 1, "sentence": "fry it"}]
    entry = {"duration": 12.5, "subset": "validation", "recipe_type": "1", "video_url": "", "annotations": steps}
    return {"database": {"v1": {**entry, **changes}}}


def highlight(**changes) -> dict:
    """A query of QVHighlights: clips 1 and 2 of six are relevant."""
    entry = {
        "qid": 7,
        "query": "A dog.",
        "duration": 12,
        "vid": "v_0.0_12.0",
        "relevant_windows": [[2, 6]],
        "relevant_clip_ids": [1, 2],
        "saliency_scores": [[4, 1, 0], [3, 4, 2]],
    }
    return {name: value for name, value in {**entry, **changes}.items() if value is not None}


def vitt(*starts: int, tag: str = "Part") -> dict:
    """One annotator's line of ViTT, with sections that begin at so many milliseconds."""
    return {"id": "FmTp", "annotations": [{"timestamp": start, "tag": f"{tag} {n}"} for n, start in enumerate(starts)]}


def write_qfvs(folder: Path, shots: int = 4, **summaries: str) -> Path:
    """QFVS's two folders; the one with the summaries of P01, `Car_Food="1 3"`."""
    oracle = folder / "Query-Focused_Summaries" / "Oracle_Summaries"
    tags = folder / "Dense_per_shot_tags" / "P01"
    for one in (oracle / "P01", tags):
        one.mkdir(parents=True, exist_ok=True)
    (tags / "P01.txt").write_text("Car,Food\n" * shots)
    for query, numbers in summaries.items():
        (oracle / "P01" / f"{query}_oracle.txt").write_text("\n".join(numbers.split()) + "\n")
    return oracle


def lvsum_entry(person: str, *segments: tuple[int, int, float, str], video: str = "long_1") -> dict:
    """What one annotator of LVSum says of a video: segments of start and end in milliseconds, score, description."""
    keys = ("start_time", "end_time", "score", "description")
    return {
        "video_path": f"https://a.example/{video}.mp4", "video_id": video, "annotator_id": person,
        "summary_timestamps": [dict(zip(keys, one)) for one in segments],
    }  # fmt: skip


def lvsum_prediction(length: float, *segments: tuple, video: str = "long_1") -> dict:
    """What a system says of a video: segments of start and end in seconds or time stamps, score, description."""
    keys = ("start_time", "end_time", "score", "description")
    return {
        "video_path": f"/a/{video}.mp4", "video_id": video, "video_length": length,
        "summary_timestamps": [dict(zip(keys, one)) for one in segments],
    }  # fmt: skip


def further_forms(folder: Path) -> list[tuple[str, Path]]:
    """Small files of the forms whose readers came later: each form's name and its file."""
    files = {
        "youcook2": youcook2(),
        "paragraphs": {"v1": "A man cuts an onion. He fries it."},
        "lvsum": [lvsum_entry("p1", (0, 1500, 3.0, "A man runs."))],
        "shot2story": [{"video": "a_1.mp4", "id": 0, "whole_caption": "A man cooks.", "captions": ["A man."]}],
    }
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    (folder / "vitt.json").write_text("".join(json.dumps(vitt(0, start)) + "\n" for start in (5000, 7000)))
    (folder / "qvhighlights.jsonl").write_text(json.dumps(highlight()) + "\n")
    script = {"gtscores": np.array([[0, 1, 1]], np.float32), "text_embeddings": np.ones((1, 2, 3), np.float32)}
    return [
        *((name, folder / f"{name}.json") for name in (*files, "vitt") if name != "lvsum"),
        ("qvhighlights", folder / "qvhighlights.jsonl"),
        ("s-videoxum", write_eccv16(folder / "script.h5", {"v1": script})),
        ("lvsum", folder / "lvsum.json"),
        ("qfvs", write_qfvs(folder / "qfvs", Car_Food="1 3")),
    ]
