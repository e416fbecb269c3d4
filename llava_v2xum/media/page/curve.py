"""The importance of a video's frames over its time, as the outline of an SVG picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...core.spans import Span

WIDTH, HEIGHT = 1000, 100  # of the curve; 0 is the video's begin, and the top is its highest importance
STRIP = 14  # under it, of what is in the summary


def outline(steps: Sequence[tuple[Span, float]], duration_seconds: float) -> str:
    """The steps as the `d` of an SVG path."""
    if not steps or duration_seconds <= 0:
        return ""
    parts = [f"M{_x(steps[0][0][0], duration_seconds)} {HEIGHT}"]
    for (start, end), height in steps:
        parts.append(f"H{_x(start, duration_seconds)}V{round(HEIGHT * (1 - height), 1):g}H{_x(end, duration_seconds)}")
    return "".join([*parts, f"V{HEIGHT}Z"])


def bands(spans: Sequence[Span], duration_seconds: float) -> list[dict[str, float]]:
    """Spans as the places of rectangles."""
    found = []
    for start, end in spans:
        left, right = _x(start, duration_seconds), _x(end, duration_seconds)
        found.append({"x": left, "width": round(max(right - left, 1), 2)})  # a moment is seen too
    return found


def _x(second: float, duration_seconds: float) -> float:
    return round(float(np.clip(second / max(duration_seconds, 1e-6), 0, 1)) * WIDTH, 2)
