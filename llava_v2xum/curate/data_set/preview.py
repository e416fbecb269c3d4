"""A page of random samples for a person to judge: frames beside their sentences, and what the filter took out.

The page is one file that asks for nothing: pictures are in it, there is no script, and its policy forbids both
requests and scripts. All text is escaped, as ids and captions are other people's and models'.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...core.atomic import replacing
from ...core.errors import V2XumError
from ...evaluate.models.frames import Second, read_moments
from ...media.figures import evenly_chosen, time_label
from ...media.video import VideoError
from ..store.stage import Source
from .entries import clean_text

log = logging.getLogger(__name__)

SAMPLES = 12
PICTURE_PIXELS = 320  # the longer side
MOST_PICTURES = 60  # of a video; further frames have their text alone
JPEG_QUALITY = 75

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2026; --faint: #636b75; --paper: #fff; --card: #f3f4f6; --accent: #1a5fb4 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8eb; --faint: #9aa3ad; --paper: #15181c; --card: #20252b; --accent: #7fb2ff }
}
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1rem; max-width: 80rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.45 system-ui, sans-serif; overflow-wrap: anywhere }
h1 { font-size: 1.4rem; margin: 0 0 .25rem } h2 { font-size: 1.15rem; margin: 2.5rem 0 0 }
p { margin: .25rem 0 } .faint, summary, small { color: var(--faint) }
ol { list-style: none; margin: .75rem 0 0; padding: 0; display: grid; gap: .75rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 15rem), 1fr)) }
li { background: var(--card); border-radius: .5rem; overflow: hidden; padding-bottom: .5rem }
li > :not(img) { margin: .5rem .75rem 0 } img { display: block; width: 100%; height: 11rem; object-fit: contain;
  background: #000 }
.time { color: var(--accent); font-weight: 600; font-variant-numeric: tabular-nums }
.dropped img { opacity: .45 } .dropped s { color: var(--faint) } .problem { color: #c64600 }
details { font-size: .875rem } summary { cursor: pointer }
li [dir] { display: block; max-height: 20rem; overflow-y: auto }
@media (max-width: 36rem) { ol { grid-template-columns: 1fr 1fr; gap: .5rem; font-size: .9rem } img { height: 7rem } }
"""


@dataclass(frozen=True)
class Sample:
    """A video of the page.

    Args:
        source: its id and its file.
        results: of its stages, by their names.
    """

    source: Source
    results: Mapping[str, Any]


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
        OSError: if the page cannot be written.
    """
    told = f"{len(samples):,} of {total:,} videos, drawn at random. Struck through: captions that the filter took out."
    with replacing(path) as part, open(part, "w", encoding="utf-8", errors="replace") as page:
        page.write(
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            '<meta http-equiv="Content-Security-Policy" '
            "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n"
            f"<title>{escaped(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
            f'<h1>{escaped(title)}</h1>\n<p class="faint">{escaped(told)}</p>\n'
        )
        for sample in samples:
            page.write(_section(sample))
        page.write("</body>\n</html>\n")
    return Path(path)


def escaped(text: str) -> str:
    """Text as HTML shows it; what cannot be shown is a replacement character."""
    shown = "".join(one if one.isprintable() or one in " \u200c\u200d" else "\ufffd" for one in " ".join(text.split()))
    return html.escape(shown)


def _section(sample: Sample) -> str:
    """A video: its head, and its chosen frames in order of time."""
    results = sample.results
    kept, dropped = results["filter"]["frames"], {one["frame"]: one for one in results["filter"]["dropped"]}
    shown = sorted({*kept, *dropped})
    pictures, problem = _pictures(sample.source.path, evenly_chosen(shown, MOST_PICTURES))
    duration, samples = results["select"]["duration"], results["select"]["sampled_frames"]
    facts = [time_label(duration), f"{len(kept)} key frames of {samples} ({len(kept) / samples:.1%})"]
    if dropped:
        facts.append(f"{len(dropped)} taken out")
    if len(shown) > MOST_PICTURES:
        facts.append(f"with the pictures of {MOST_PICTURES}")
    if not results["refine"]["refined"]:
        facts.append(f"not refined: {results['refine']['why'] or 'no reason given'}")
    name = escaped(sample.source.video_id)
    lines = [f'<section>\n<h2><bdi>{name}</bdi></h2>\n<p class="faint">{escaped(", ".join(facts))}</p>\n']
    if problem:
        lines.append(f'<p class="problem">{escaped(problem)}</p>\n')
    lines.append("<ol>\n")
    sentences = dict(zip(kept, results["refine"]["sentences"]))
    for frame in shown:
        caption = results["caption"]["captions"][frame]
        picture = pictures.get(frame, "")
        if frame in sentences:
            lines.append(_kept(frame, picture, sentences[frame], caption))
        else:
            lines.append(_dropped(frame, picture, caption, dropped[frame]))
    lines.append("</ol>\n</section>\n")
    return "".join(lines)


def _kept(frame: int, picture: str, sentence: str, caption: str) -> str:
    written = clean_text(sentence)
    before = ""
    if clean_text(caption) != written:
        before = f'<details><summary>caption</summary><span dir="auto">{escaped(caption)}</span></details>'
    return (
        f'<li>{picture}<p class="time">{time_label(frame)}</p><p dir="auto">{escaped(written)}</p>{before}</li>\n'
    )


def _dropped(frame: int, picture: str, caption: str, why: Mapping[str, Any]) -> str:
    like = f"like {time_label(why['like'])}, score {why['score']:.3f}"
    return (
        f'<li class="dropped">{picture}<p><span class="time">{time_label(frame)}</span> <small>{escaped(like)}</small>'
        f'</p><p dir="auto"><s>{escaped(caption)}</s></p></li>\n'
    )


def _pictures(path: Path, seconds: Sequence[int]) -> tuple[dict[int, str], str]:
    """The frames of these seconds as `<img>`, and what is wrong where they are not all there."""
    found: dict[int, str] = {}
    try:
        if not path.is_file():
            raise FileNotFoundError(path)
        for places, frames in read_moments(path, [Second(second) for second in seconds]):
            for place, frame in zip(places.tolist(), frames):
                found[seconds[place]] = _picture(frame, seconds[place])
    except FileNotFoundError:
        log.warning("%s: the file is gone; the preview shows no frames of it", path)
        return found, "The video's file is not there any more: its frames are not shown."
    except (VideoError, OSError, V2XumError) as error:
        log.warning("%s: the preview lacks frames of it: %s", path, error)
        return found, "The video's file cannot be read any more: not all of its frames are shown."
    return found, ""


def _picture(frame: np.ndarray, second: int) -> str:
    """A frame [H, W, 3] as an `<img>` with a small JPEG in it."""
    image = Image.fromarray(frame)
    image.thumbnail((PICTURE_PIXELS, PICTURE_PIXELS))
    written = io.BytesIO()
    image.save(written, "JPEG", quality=JPEG_QUALITY, optimize=True)
    data = base64.b64encode(written.getvalue()).decode()
    size = f'width="{image.width}" height="{image.height}"'
    return f'<img {size} alt="frame at {time_label(second)}" loading="lazy" src="data:image/jpeg;base64,{data}">'
