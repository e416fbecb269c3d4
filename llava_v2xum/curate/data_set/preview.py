"""A page of random samples for a person to judge: frames beside their sentences, and what the filter took out.

How such a page is made safe to open is in `media/page`.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from ...core.errors import V2XumError
from ...evaluate.models.frames import Second, read_moments
from ...media.figures import evenly_chosen, time_label
from ...media.page.static import picture, write_static_page
from ...media.video import VideoError
from ..store.stage import Source
from .entries import clean_text

log = logging.getLogger(__name__)

SAMPLES = 12
MOST_PICTURES = 60  # of a video; further frames have their text alone


@dataclass(frozen=True)
class Sample:
    """A video of the page.

    Args:
        source: its id and its file.
        results: of its stages, by their names.
        track: the video track that they are of.
    """

    source: Source
    results: Mapping[str, Any]
    track: int | None = None


def choose(video_ids: Iterable[str], count: int = SAMPLES, seed: int = 0) -> list[str]:
    """Random videos, in the order of their ids; the same ones in whatever order all come."""

    def draw(video_id: str) -> str:
        return hashlib.sha256(f"{seed}:{video_id}".encode("utf-8", "surrogatepass")).hexdigest()

    return sorted(sorted(set(video_ids), key=lambda video_id: (draw(video_id), video_id))[:count])


def write_preview(
    path: str | os.PathLike[str], samples: Sequence[Sample], total: int, title: str = "Preview of the data set"
) -> Path:
    """Write the page, whole or not at all. It says so where a video's frames cannot be read any more.

    Args:
        path: of the page.
        samples: `choose`'s.
        total: how many videos they are drawn from.
        title: of the page.

    Returns:
        The path.

    Raises:
        MissingExtra: if Jinja is not installed.
        OSError: if the page cannot be written.
    """
    told = f"{len(samples):,} of {total:,} videos, drawn at random. Struck through: captions that the filter took out."
    template = (resources.files(__package__) / "preview.html").read_text("utf-8")
    return write_static_page(path, template, {"title": title, "told": told, "videos": map(_video, samples)})


def _video(sample: Sample) -> dict[str, Any]:
    """What the page tells of a video: its facts, and its chosen frames in order of time."""
    results = sample.results
    kept, dropped = results["filter"]["frames"], {one["frame"]: one for one in results["filter"]["dropped"]}
    chosen = sorted({*kept, *dropped})
    pictures, problem = _pictures(sample.source.path, evenly_chosen(chosen, MOST_PICTURES), sample.track)
    duration, samples = results["select"]["duration"], results["select"]["sampled_frames"]
    facts = [time_label(duration), f"{len(kept)} key frames of {samples} ({len(kept) / samples:.1%})"]
    if dropped:
        facts.append(f"{len(dropped)} taken out")
    if len(chosen) > MOST_PICTURES:
        facts.append(f"with the pictures of {MOST_PICTURES}")
    if not results["refine"]["refined"]:
        facts.append(f"not refined: {results['refine']['why'] or 'no reason given'}")
    sentences = dict(zip(kept, results["refine"]["sentences"]))
    items = []
    for frame in chosen:
        caption = results["caption"]["captions"][frame]
        item = {"time": time_label(frame), "picture": pictures.get(frame)}
        if frame in sentences:
            sentence = clean_text(sentences[frame])
            items.append({**item, "sentence": sentence, "caption": clean_text(caption) != sentence and caption})
        else:
            like = f"like {time_label(dropped[frame]['like'])}, score {dropped[frame]['score']:.3f}"
            items.append({**item, "caption": caption, "like": like})
    return {"name": sample.source.video_id, "facts": ", ".join(facts), "problem": problem, "frames": items}


def _pictures(path: Path, seconds: Sequence[int], track: int | None) -> tuple[dict[int, dict[str, Any]], str]:
    """The frames of these seconds, and what is wrong where they are not all there."""
    found = {}
    try:
        if not path.is_file():
            raise FileNotFoundError(path)
        for places, frames in read_moments(path, [Second(second) for second in seconds], track=track):
            for place, frame in zip(places.tolist(), frames):
                found[seconds[place]] = picture(frame)
    except FileNotFoundError:
        log.warning("%s: the file is gone; the preview shows no frames of it", path)
        return found, "The video's file is not there any more: its frames are not shown."
    except (VideoError, OSError, V2XumError) as error:
        log.warning("%s: the preview lacks frames of it: %s", path, error)
        return found, "The video's file cannot be read any more: not all of its frames are shown."
    return found, ""
