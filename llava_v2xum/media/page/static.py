"""Pages for a person to judge data by: one HTML file that asks for nothing, with its pictures in it and no script."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...core.atomic import replacing
from ...core.extras import MODEL, require
from .html import shown

PICTURE_PIXELS = 320  # the longer side
JPEG_QUALITY = 75


def write_static_page(path: str | os.PathLike[str], template: str, values: Mapping[str, Any]) -> Path:
    """Write a page, whole or not at all.

    Args:
        path: of the page.
        template: Jinja's; autoescaped, of its values text is made presentable (`shown`).
        values: of the template; iterators are taken one item at a time.

    Returns:
        The path.

    Raises:
        MissingExtra: if Jinja is not installed.
        OSError: if the page cannot be written.
    """
    world = require("jinja2", MODEL).Environment(
        autoescape=True, finalize=shown, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    with replacing(path) as part, open(part, "w", encoding="utf-8", errors="replace") as page:
        page.writelines(world.from_string(template).generate(**values))
    return Path(path)


def picture(frame: np.ndarray, pixels: int = PICTURE_PIXELS) -> dict[str, Any]:
    """A frame [H, W, 3] as a small JPEG in base64, with its size."""
    image = Image.fromarray(frame)
    image.thumbnail((pixels, pixels))
    written = io.BytesIO()
    image.save(written, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return {"width": image.width, "height": image.height, "jpeg": base64.b64encode(written.getvalue()).decode()}
