"""Packages that the proof needs and a machine may lack, installed beside it from a folder of wheels."""

from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path

MODULES = {  # by the name of their package; gpu_wheels.sh makes the folder
    "llava-torch": "llava",
    "peft": "peft",
    "av": "av",
    "open-clip-torch": "open_clip",
    "ftfy": "ftfy",
    "wcwidth": "wcwidth",
    "timm": "timm",
    "bitsandbytes": "bitsandbytes",
}


def missing_packages() -> list[str]:
    """Those of `MODULES` that cannot be imported here."""
    importlib.invalidate_caches()
    return [package for package, module in MODULES.items() if importlib.util.find_spec(module) is None]


def install(wheels: Path, folder: Path) -> str | None:
    """Install wheels of missing packages into a folder that this process and those it starts import from.

    Returns:
        what went wrong, in a line.
    """
    wanted = [name.replace("-", "_") for name in missing_packages()]
    files = [str(file) for file in sorted(wheels.glob("*.whl")) if file.name.split("-")[0] in wanted]
    if not files:
        return None
    if importlib.util.find_spec("pip") is None:  # uv's environments have none; these wheels need no more than unpacking
        for file in files:
            zipfile.ZipFile(file).extractall(folder)
        take_from(folder)
        return None
    # no dependencies: LLaVA's metadata pins an old PyTorch
    call = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--find-links", str(wheels)]
    done = subprocess.run([*call, "--target", str(folder), "--upgrade", *files], capture_output=True, text=True)
    take_from(folder)
    return None if done.returncode == 0 else f"wheels were not installed: {done.stderr.strip().splitlines()[-1]}"


def take_from(folder: Path) -> None:
    """Import from a folder, here and in processes that are started."""
    sys.path.append(str(folder))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(folder)]))
