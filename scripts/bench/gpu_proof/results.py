"""What was found so far: written as it comes, so that being cut off loses only the rest."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

from gpu_proof.report import markdown
from gpu_proof.rows import Row
from gpu_proof.steps import Step
from llava_v2xum.core.atomic import write_whole


class Results:
    """`gpu.json` and `gpu.md` of a folder.

    Args:
        folder: for both; what an earlier run left is replaced.
        notes: lines above the table.

    Attributes:
        found: {"notes": [...], "steps": {name: {"title", "state", "rows", "seconds"}}}; a state is "waits", "runs",
            "done", or why there is no more.
    """

    def __init__(self, folder: Path, steps: Sequence[Step], notes: Sequence[str]) -> None:
        self.folder = folder
        waiting = {step.name: {"title": step.title, "state": "waits", "rows": []} for step in steps}
        self.found = {"notes": list(notes), "steps": waiting}
        self._began = time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)
        self.write()

    def begin(self, name: str) -> None:
        """A step runs from now on."""
        self._began = time.monotonic()
        self.found["steps"][name]["state"] = "runs"
        self.write()

    def add(self, name: str, row: Row) -> None:
        """A row of a step."""
        self.found["steps"][name]["rows"].append(row)
        self.write()

    def end(self, name: str, state: str) -> None:
        """A step is over, or never began."""
        step = self.found["steps"][name]
        if step["state"] == "runs":
            step["seconds"] = round(time.monotonic() - self._began, 1)
        step["state"] = state
        self.write()

    def wrong(self) -> list[str]:
        """What failed: steps, measurements and checks, a line each."""
        lines = []
        for name, step in self.found["steps"].items():
            if step["state"].startswith("failed"):
                lines.append(f"{name}: {step['state']}")
            for row in step["rows"]:
                if "fault" in row:
                    lines.append(f"{name}, {row['what']}: {row['fault']}")
                elif not row.get("right", True):
                    lines.append(f"{name}, {row['what']}: not as it should be")
        return lines

    def write(self) -> None:
        """Both files, each whole."""
        write_whole(self.folder / "gpu.json", json.dumps(self.found, indent=1) + "\n")
        write_whole(self.folder / "gpu.md", markdown(self.found))
