"""Which captioner a name stands for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.errors import V2XumError
from .captioner import BATCH_SIZE, MAX_NEW_TOKENS, MAX_SIDE, Captioner

if TYPE_CHECKING:
    from ..endpoint.endpoint import Endpoint

SHAPES = "shapes"  # the name of the captioner that ships with the package
SHAPES_FOLDER = Path(__file__).parents[2] / "shapes" / "captioner"
_HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")


def captioner_of(
    name: str,
    endpoint: Endpoint | None = None,
    *,
    device: str = "auto",
    dtype: str = "auto",
    batch_size: int = BATCH_SIZE,
    max_new_tokens: int = MAX_NEW_TOKENS,
    max_side: int = MAX_SIDE,
) -> Captioner:
    """The captioner of a name.

    Args:
        name: "shapes" for the small one of the rendered world that ships with the package, or a LLaVA-1.5
            checkpoint's folder or hub name; with an endpoint it is not looked at.
        endpoint: whose model describes the frames.
        device, dtype, batch_size: see `LlavaCaptioner`; not for an endpoint.
        max_new_tokens: where a caption is cut off, at the end of its last whole sentence.
        max_side: pixels of the longer side that frames are sent to an endpoint with; smaller ones stay as they are.

    Raises:
        V2XumError: if the name can be neither, or a number is out of range.
    """
    if endpoint is not None:
        from .vision_endpoint import EndpointCaptioner

        return EndpointCaptioner(endpoint, max_new_tokens, max_side)
    from .llava_captioner import LlavaCaptioner

    if name == SHAPES:
        return LlavaCaptioner(SHAPES_FOLDER, device, dtype, batch_size, max_new_tokens, name=SHAPES)
    path = Path(name).expanduser()
    if not name or (not path.is_dir() and (path.exists() or not _HUB_NAME.fullmatch(name))):
        raise V2XumError(f"expected {SHAPES!r}, a LLaVA-1.5 checkpoint's folder or its hub name, got {name!r}")
    return LlavaCaptioner(path if path.is_dir() else name, device, dtype, batch_size, max_new_tokens)
