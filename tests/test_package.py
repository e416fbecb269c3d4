"""What a wheel has in it: all that the package's folder has, `py.typed` among it, by which type checkers know it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def files_in(folder: Path) -> set[Path]:
    return {file.relative_to(folder) for file in folder.rglob("*") if file.is_file() and file.suffix != ".pyc"}


def test_every_file_of_the_package_is_shipped(tmp_path):
    steps = ["egg_info", "--egg-base", tmp_path, "build_py", "--build-lib", tmp_path]
    subprocess.run([sys.executable, "setup.py", "-q", *steps], cwd=ROOT, check=True)
    shipped = files_in(tmp_path / "llava_v2xum")
    assert shipped == files_in(ROOT / "llava_v2xum") and Path("py.typed") in shipped
