"""Which LLaVA codebases take videos by the patch: a table of what came out when each was patched and run.

    LLAVA_CHECKOUTS=LLaVA:LLaVA-NeXT python patches/forks.py
    python patches/forks.py LLaVA LLaVA-NeXT --python pinned/bin/python --python current/bin/python

Each checkout's package is copied, the copy patched, and tiny weights run through it on the CPU: stock chat on an image
before and after the patch, an answer on a video against the LLaVA that is installed, and two steps of its `train()`.
What a fork needs of other packages must be installed or on PYTHONPATH. No checkout is changed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PATCH, PROBE = HERE / "llava.patch", HERE / "probe.py"
ENTRY_POINT = "[llava.plugins]\nv2xum = llava_v2xum.train.hooks:register\n"
CLOSE = 1e-4  # of two logits: other orders of adding up
SLOW = 900  # seconds of one run


@dataclass
class Fork:
    """A row of the table.

    Attributes:
        checkout: the folder that was given.
        package: LLaVA's package in it, wherever it lies and whatever its name.
        cells: column -> one result for each Python.
        notes: what was said where something did not come out.
    """

    checkout: Path
    package: Path
    patch: str = ""
    cells: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, column: str, result: str, said: str = "") -> None:
        self.cells.setdefault(column, []).append(result)
        self.note(said)

    def note(self, said: str) -> None:
        if said and said not in self.notes:
            self.notes.append(said)

    def row(self) -> str:
        commit = subprocess.run(
            ["git", "-C", str(self.checkout), "rev-parse", "--short=7", "HEAD"], capture_output=True, text=True
        )
        name = self.checkout.name + ("" if self.package.name == "llava" else f" (`{self.package.name}`)")
        told = [" / ".join(dict.fromkeys(self.cells[column])) for column in ("chat", "video", "train")]
        return " | ".join(["", name, commit.stdout.strip(), self.patch, *told, "; ".join(self.notes), ""]).strip()


def find_package(checkout: Path) -> Path:
    """The folder of LLaVA's package in a checkout: that with `model/builder.py`, of the shortest path."""
    found = sorted(checkout.glob("**/model/builder.py"), key=lambda file: len(file.parts))
    if not found:
        raise SystemExit(f"{checkout}: expected a checkout of LLaVA (a package with model/builder.py), found none")
    return found[0].parents[1]


def apply_patch(package: Path) -> str:
    """Patch a copy of a package, file by file; what came out, in words."""
    patch = re.sub(r"\bllava/", f"{package.name}/", PATCH.read_text())
    patch = patch.replace("from llava import", f"from {package.name} import")
    lacking, failed = [], []
    for file in re.findall(r"^\+\+\+ b/(.+)$", patch, re.MULTILINE):
        if not (package.parent / file).is_file():
            lacking.append(file)
            continue
        command = ["git", "apply", f"--include={file}", "-"]
        if subprocess.run(command, input=patch, cwd=package.parent, text=True, capture_output=True).returncode:
            failed.append(file)
    if failed:
        return f"no: {', '.join(failed)}"
    return "yes" + (f", without {', '.join(lacking)}" if lacking else "")


def run(python: str, kinds: str, folder: Path, package: Path | None, *paths: Path) -> dict[str, dict]:
    """What the probe found of each kind; `error` and `said` where it failed."""
    path = [*([package.parent] if package else []), ROOT, *paths, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path)), "V2XUM_LLAVA_PACKAGE": "llava"}
    if package:
        environment["V2XUM_LLAVA_PACKAGE"] = package.name
    environment.update(WANDB_MODE="disabled", HF_HUB_OFFLINE="1", CUDA_VISIBLE_DEVICES="")
    command = [python, str(PROBE), kinds, str(folder)]
    try:
        done = subprocess.run(
            command, env=environment, cwd=folder, capture_output=True, text=True, timeout=SLOW, stdin=subprocess.DEVNULL
        )
        said = (done.stderr.splitlines() or [f"exit status {done.returncode}"])[-1]
    except subprocess.TimeoutExpired:
        done, said = None, f"not done in {SLOW} s"
    if done is None or done.returncode:
        return {kind: {"error": "Ended", "said": said} for kind in kinds.split(",")}
    return json.loads(done.stdout.splitlines()[-1])


def verdict(found: dict, is_right: bool) -> str:
    return "yes" if is_right else "refused" if found.get("error") == "UnfitLlava" else "no"


def short(found: dict) -> str:
    """An error's line without the path of the copy, and without what all refusals end with."""
    said = re.sub(r" in /\S+|; needed is .*| \(/\S+\)", "", found.get("said", "")).replace("|", "/")
    return said[:240] or found.get("error", "")


def same(one: dict, other: dict) -> bool:
    if "error" in one or "error" in other or (None not in (one["ids"], other["ids"]) and one["ids"] != other["ids"]):
        return False
    return all(abs(a - b) <= CLOSE for a, b in zip(one["logits"], other["logits"], strict=True))


def try_fork(fork: Fork, pythons: list[str], weights: Path, expected: dict[str, dict]) -> None:
    """Patch a copy of the fork, run it with each Python, and fill its row."""
    with tempfile.TemporaryDirectory() as name:
        stock, patched, entry = (Path(name, part) for part in ("stock", "patched", "entry"))
        for copy in (stock, patched):
            shutil.copytree(fork.package, copy / fork.package.name, ignore=shutil.ignore_patterns("__pycache__"))
            project = fork.package.parent / "pyproject.toml"
            if project.is_file():  # says its version
                shutil.copy(project, copy)
        stock, patched = stock / fork.package.name, patched / fork.package.name
        fork.patch = apply_patch(patched)
        info = entry / "llava_v2xum-0.dist-info"  # as pip leaves it
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: llava_v2xum\nVersion: 0\n")
        (info / "entry_points.txt").write_text(ENTRY_POINT)
        run_there = (stock,) if fork.patch.startswith("no") else (patched, entry)
        for python in pythons:
            before = run(python, "chat", weights, stock)["chat"]
            if fork.patch.startswith("no"):
                after = run(python, "expected,train", weights, *run_there)
                fork.note("video and training: by this package's own commands")
            else:
                after = run(python, "chat,video,train", weights, *run_there)
            if "chat" not in after:
                fork.add("chat", "-")
            elif "error" in before:
                fork.add("chat", "fails itself", f"stock: {short(before)}")
            elif before["ids"] is None and same(before, after["chat"]):
                fork.add("chat", "logits; stock cannot generate")
            else:
                fork.add("chat", "yes" if same(before, after["chat"]) else "no", short(after["chat"]))
            found = after.get("video") or after["expected"]
            fork.add("video", verdict(found, same(found, expected[python])), short(found))
            trained = after["train"]
            if trained.get("error", "UnfitLlava") != "UnfitLlava":  # some forks train nothing but LoRA
                trained = {**run(python, "lora", weights, *run_there)["lora"], "how": "LoRA alone"}
            is_right = trained.get("model_type") == "llava_v2xum" and len(trained["losses"]) == 2
            done = trained.get("how", "yes") if is_right else verdict(trained, False)
            fork.add("train", done, "" if is_right else short(trained))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = [folder for folder in os.environ.get("LLAVA_CHECKOUTS", "").split(os.pathsep) if folder]
    parser.add_argument("checkouts", nargs="*", type=Path, help="folders; those of LLAVA_CHECKOUTS where none is given")
    parser.add_argument("--python", action="append", help="to run them with, once for each stack; this one")
    asked = parser.parse_args()
    checkouts, pythons = asked.checkouts or list(map(Path, default)), asked.python or [sys.executable]
    if not checkouts:
        parser.error("no checkouts: name their folders, or set LLAVA_CHECKOUTS")
    with tempfile.TemporaryDirectory() as name:
        weights = Path(name)
        made = run(pythons[0], "make", weights, None)["make"]
        expected = {python: run(python, "expected", weights, None)["expected"] for python in pythons}
        for found in (made, *expected.values()):
            if "error" in found:
                raise SystemExit(f"there is nothing to compare with: {found['said']}")
        print("| fork | commit | patch applies | image chat equal | video | training | what is said |")
        print("|---|---|---|---|---|---|---|", flush=True)
        for checkout in checkouts:
            fork = Fork(checkout.resolve(), find_package(checkout.resolve()))
            try_fork(fork, pythons, weights, expected)
            print(fork.row(), flush=True)


if __name__ == "__main__":
    main()
