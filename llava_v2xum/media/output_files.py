"""What a summary's files are called. Importing this module loads nothing that decodes or draws."""

from __future__ import annotations

FILE_NAMES = {  # by format, in a video's folder
    "json": "summary.json",
    "sheet": "keyframes.png",
    "plot": "importance.png",
    "clip": "summary.mp4",
}
