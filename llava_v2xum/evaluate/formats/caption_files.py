"""Text as other systems and scorers keep it: COCO captions, and the "results" of dense captioning.

- COCO: `[{"image_id": id, "caption": text}, ...]`, one a video. Ids stay text: pycocotools takes any value that can
  be a key, and only asks that results and ground truth use the same.
- Dense results (ActivityNet Captions' challenge): `{"results": {id: [{"sentence", "timestamp": [start, end]}, ...]}}`,
  in seconds. Ids are taken as they stand: none gets or loses a `v_`.

Neither says N, which text does not depend on.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ...core.annotations import Annotation
from ...core.atomic import write_whole
from ...core.errors import V2XumError
from ...core.readers import checked_list, checked_object, described, load_list, load_object, shown
from ...core.timeline import DEFAULT_NUM_FRAMES
from .format import ANNOTATIONS, Format, Written, check_any, naming, once
from .prediction_records import joined
from .predictions import PredictedSentence, Prediction

_REASON = "no text"


def _read_coco(path: Path, num_frames: int | None = None) -> dict[str, Prediction]:
    """Read COCO caption results; brackets in a caption are another system's words, no citations."""
    predictions: dict[str, Prediction] = {}
    for place, entry in enumerate(load_list(path, "captions")):
        try:
            entry = checked_object(entry, "image_id", "caption")
            video_id = entry["image_id"]
            if isinstance(video_id, bool) or not isinstance(video_id, (str, int)):
                raise V2XumError(f"image_id must be text or an integer, got {video_id!r}")
        except V2XumError as error:
            raise V2XumError(f"{path}: entry {place}: {error}") from error
        video_id = once(path, str(video_id), predictions)
        with naming(path, video_id):
            text = _text("caption", entry["caption"])
            predictions[video_id] = Prediction(video_id, num_frames or DEFAULT_NUM_FRAMES, text=text)
    return predictions


def _write_coco(path: Path, predictions: Iterable[Prediction]) -> Written:
    """Write COCO caption results, all or nothing; videos without a text are left out."""
    predictions = list(predictions)
    entries = [{"image_id": one.video_id, "caption": one.text} for one in predictions if one.text is not None]
    check_any(entries, len(predictions), _REASON)
    _write(path, entries)
    return Written(len(entries), "videos", len(predictions) - len(entries), _REASON)


def _write_coco_references(path: Path, annotations: Iterable[Annotation]) -> Written:
    """Write the ground truth that COCO's scorers read beside the results, all or nothing.

    A video's one reference is its text summary: `text`, or its sentences joined by one blank. Videos without one are
    left out.
    """
    annotations = list(annotations)
    texts = {one.video_id: one.text or joined(each.text for each in one.sentences) for one in annotations}
    texts = {video_id: text for video_id, text in texts.items() if text}
    check_any(texts, len(annotations), _REASON)
    entries = [{"id": number, "image_id": one, "caption": texts[one]} for number, one in enumerate(texts, 1)]
    content = {
        "info": {"description": "text summaries"},
        "licenses": [],
        "type": "captions",
        "images": [{"id": video_id} for video_id in texts],
        "annotations": entries,
    }
    _write(path, content)
    return Written(len(texts), "videos", len(annotations) - len(texts), _REASON)


def _read_dense(path: Path, num_frames: int | None = None) -> dict[str, Prediction]:
    """Read dense-caption results: sentences with their seconds, and the text that they make together."""
    content = dict(load_object(path, "dense-caption results"))
    if not isinstance(content.get("results"), dict) or not content["results"]:
        raise V2XumError(f"{path}: expected results, an object of sentences by video id, "
            f"got {described(content.get('results'))}")  # fmt: skip
    results = content["results"]
    predictions: dict[str, Prediction] = {}
    for video_id, entries in getattr(results, "pairs", results.items()):
        with naming(path, once(path, video_id, predictions)):
            if not isinstance(entries, list):
                raise V2XumError(f"expected a list of sentences, got {described(entries)}")
            sentences = [_sentence(f"sentence {place}", entry) for place, entry in enumerate(entries)]
            text = joined(one.text for one in sentences)
            predictions[video_id] = Prediction(
                video_id, num_frames or DEFAULT_NUM_FRAMES, text=text, sentences=tuple(sentences)
            )
    return predictions


def _write_dense(path: Path, predictions: Iterable[Prediction]) -> Written:
    """Write dense-caption results, all or nothing; sentences without a text or seconds are left out.

    A video stays, with an empty list, where nothing of it is left; one without sentences is not in the file.
    """
    predictions = list(predictions)
    results: dict[str, list[dict[str, Any]]] = {}
    left_out = 0
    for one in predictions:
        if one.sentences is None:
            continue
        timed = [each for each in one.sentences if each.text and each.start_seconds is not None]
        left_out += len(one.sentences) - len(timed)
        results[one.video_id] = [
            {"sentence": each.text, "timestamp": [each.start_seconds, each.end_seconds]} for each in timed
        ]
    check_any(results, len(predictions), "no sentences")
    if left_out and not any(results.values()):
        raise V2XumError(f"nothing to write: none of {left_out} sentences has a text and seconds; --annotations tells "
            "how long the videos are, by which the frames that sentences cite have theirs")  # fmt: skip
    _write(path, {"version": "VERSION 1.0", "results": results, "external_data": {"used": False, "details": ""}})
    return Written(sum(map(len, results.values())), "sentences", left_out, "no text or no seconds")


def _sentence(name: str, entry: Any) -> PredictedSentence:
    try:
        entry = checked_object(entry, "sentence", "timestamp")
        span = checked_list("timestamp", entry["timestamp"], 2)
        return PredictedSentence(_text("sentence", entry["sentence"]), (), *span)
    except V2XumError as error:
        raise V2XumError(f"{name}: {error}") from error


def _text(name: str, text: Any) -> str:
    if not isinstance(text, str):
        raise V2XumError(f"{name} must be text, got {shown(text)}")
    return text


def _write(path: Path, content: Any) -> None:
    write_whole(path, json.dumps(content, ensure_ascii=False) + "\n")


COCO_CAPTIONS = Format(
    *("coco-captions", "text: COCO's [{image_id, caption}, ...]", _read_coco, _write_coco),
    looks=lambda look: look.is_json(list, "image_id", "caption"),
    sign="the image_id and caption of its first entry",
    endings=(".json",),
)
DENSE_CAPTIONS = Format(
    "dense-captions",
    "sentences with their seconds: {results: {id: [{sentence, timestamp: [start, end]}, ...]}}",
    *(_read_dense, _write_dense),
    looks=lambda look: look.is_json(dict) and isinstance(look.content.get("results"), dict),
    sign="its results",
    endings=(".json",),
)
COCO_REFERENCES = Format(
    *("coco-references", "annotated texts as COCO's ground truth; SRC are annotations", None, _write_coco_references),
    made_of=ANNOTATIONS,
)
