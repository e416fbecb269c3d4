"""Templates -> pages of one file each: styles and scripts are in them, and their policy lets nothing else run or load.

Text of models, captions and file names is other people's: Jinja escapes all of it, and `shown` takes out what cannot be
shown. The policy names the page's own script and style by their hashes, so that nothing that got through would run.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterable
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ...core.atomic import replacing

if TYPE_CHECKING:
    from jinja2 import Environment


def shown(value: Any) -> Any:
    """A value as a page has it: text on one line, with a replacement character for what cannot be shown."""
    if type(value) is not str:  # a number, or what a template calls safe
        return value
    return "".join(
        one if one.isprintable() or one in " \u200c\u200d" else "\ufffd" for one in " ".join(value.split())
    )


def write_page(path: str | os.PathLike[str], template: str, script: str, **values: Any) -> None:
    """Write a page, whole or not at all.

    Args:
        template, script: files beside this one.
        values: of the template.

    Raises:
        OSError: if it cannot be written.
    """
    from markupsafe import Markup

    style, code = _file("page.css"), _file(script)
    policy = (
        "default-src 'none'; img-src 'self' file: data:; media-src 'self' file: blob:; base-uri 'none'; "
        f"form-action 'none'; style-src '{_hash(style)}'; script-src '{_hash(code)}'"
    )
    page = _environment().get_template(template)
    with replacing(path) as part, open(part, "w", encoding="utf-8", errors="replace") as file:
        file.writelines(page.generate(policy=policy, style=Markup(style), script=Markup(code), **values))


def link(target: str | os.PathLike[str], folder: str | os.PathLike[str]) -> str | None:
    """The URL of a file relative to a folder's pages; None where there is no way (another drive)."""
    try:
        relative = os.path.relpath(os.path.abspath(target), os.path.abspath(folder))
    except ValueError:
        return None
    return quote(Path(relative).as_posix())


def picture(image: Any, quality: int) -> str:
    """A Pillow image as a JPEG for `src`."""
    import io

    written = io.BytesIO()
    image.save(written, "JPEG", quality=quality, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(written.getvalue()).decode()}"


def spans_text(spans: Iterable[tuple[float, float]]) -> str:
    """Spans for a page's script: `2.840000-5.120000 7.080000-7.960000`."""
    return " ".join(f"{start:.6f}-{end:.6f}" for start, end in spans)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    return Environment(
        loader=FunctionLoader(_file), autoescape=True, finalize=shown, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip


@cache
def _file(name: str) -> str:
    return (resources.files(__package__) / name).read_text("utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
