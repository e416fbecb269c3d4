"""The lock files have all that setup.py asks for, environments have what is locked, and none is taken for another."""

from __future__ import annotations

import importlib.metadata
import itertools
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
LOCKS = {name: ROOT / "scripts" / f"{name}.lock" for name in ("current", "pinned")}
MADE_FOR = Path(sys.prefix) / ".made-for"
MACHINES = ["x86_64", "aarch64"]


def locked(text: str, environment: dict[str, str] | None = None) -> dict[str, str]:
    """Version by name of the lines of a lock that hold in an environment, by default this one."""
    lines = (Requirement(line) for line in text.splitlines() if re.match(r"[\w.-]+==", line))
    here = [line for line in lines if line.marker is None or line.marker.evaluate(environment)]
    versions = {canonicalize_name(line.name): str(line.specifier).removeprefix("==") for line in here}
    assert len(versions) == len(here), "a package is locked twice"
    return versions


@pytest.mark.parametrize("python, machine", itertools.product(["3.10", "3.11", "3.12"], MACHINES))
def test_the_locks_fit_what_setup_py_asks_for(python, machine):
    environment = {"python_version": python, "python_full_version": f"{python}.1", "platform_machine": machine}
    asked = [Requirement(line) for line in importlib.metadata.requires("llava_v2xum")]
    for name, extras in {"current": None, "pinned": ("", "model", "test", "metrics")}.items():
        versions = locked(LOCKS[name].read_text(), {**environment, "sys_platform": "linux"})
        wanted = [
            line
            for line in asked
            if line.marker is None
            or any(line.marker.evaluate({**environment, "extra": extra}) for extra in extras or all_extras())
        ]
        assert {"uv", "pip", "setuptools", "wheel", "llava-torch"} < {*versions} and len(wanted) > 16
        for line in wanted:
            assert Version(versions[canonicalize_name(line.name)]) in line.specifier, f"{name}.lock: {line}"


def all_extras() -> list[str]:
    return importlib.metadata.metadata("llava_v2xum").get_all("Provides-Extra")


def test_llavas_pins_are_locked():
    pins = {"torch": "2.1.2", "transformers": "4.37.2", "peft": "0.10.0", "accelerate": "0.21.0"}
    assert pins.items() <= locked(LOCKS["pinned"].read_text()).items()


@pytest.mark.parametrize("lock", LOCKS.values(), ids=LOCKS)
def test_a_lock_names_exact_versions_and_neither_a_host_nor_a_folder(lock):
    _, command, *lines = lock.read_text().splitlines()
    assert command.split() == ["#", "bash", "scripts/lock.sh"]
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9-]+==[\w.]+( ; [^/]+)?", line)] == []


@pytest.mark.pinned
@pytest.mark.every_python
@pytest.mark.skipif(not MADE_FOR.is_file(), reason="this environment was not made by the project's scripts")
def test_this_environment_has_the_locked_versions():
    versions = locked(MADE_FOR.read_text())
    found = importlib.metadata.distributions(path=[sysconfig.get_path("purelib")])  # ray brings others in a folder
    installed = {canonicalize_name(package.name): package.version for package in found}
    ours = installed.pop("llava-v2xum")
    assert ours == importlib.metadata.version("llava_v2xum") and len(installed) > 40
    assert installed == {name: versions.get(name) for name in installed}
    everything = "everything\n" in MADE_FOR.read_text()
    assert not everything or installed.keys() == versions.keys()


# how the scripts find Pythons and make environments, with stand-ins that write down what they are asked

PYTHON = """#!/bin/bash
case "$*" in
    --version) echo "Python {version}.7" ;;
    "-c import ensurepip"*) echo {version} ;;
    "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && cp "$(dirname "$0")/uv" "$3/bin/uv" ;;
    "-m pip install "*) echo "pip ${{@:3}}" >>"$LOG" ;;
    "-m pip config get global.index-url") [ -z "$OF_PIP" ] || echo "$OF_PIP" ;;
    *) exit 1 ;;
esac
"""
UV = '#!/bin/bash\necho "uv $* <$UV_DEFAULT_INDEX>" >>"$LOG"\n[ -z "$BROKEN" ]\n'


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def machine(tmp_path):
    """Runs a function of environment.sh in a project's folder, on a machine with stand-ins for Python and uv."""
    write(tmp_path / "bin" / "python3.11", PYTHON.format(version="3.11"))
    write(tmp_path / "bin" / "uv", UV)
    project = tmp_path / "project"
    write(project / "setup.py", "ranges\n")
    write(project / "current.lock", "uv==1.2.3\ntorch==2.0\n")

    def call(function: str, check: bool = True, **environment: str) -> tuple[str, list[str]]:
        log = tmp_path / "log"
        log.write_text("")
        done = subprocess.run(
            ["bash", "-euc", f". {ROOT}/scripts/environment.sh; {function}"],
            cwd=project,
            env={
                "PATH": f"{tmp_path}/bin:/usr/bin:/bin", "HOME": str(tmp_path), "LOG": str(log), "OF_PIP": "",
                "BROKEN": "", **environment,
            },
            capture_output=True,
            text=True,
        )
        assert (done.returncode == 0) == check, done.stderr
        return done.stdout.strip(), log.read_text().splitlines()

    call.folder = tmp_path
    return call


def test_pythons_are_found_on_the_path_and_in_pyenvs_folder(machine):
    shim = write(machine.folder / "bin" / "python3.9", "#!/bin/bash\nexit 127\n")  # pyenv's, of one not selected
    assert machine("find_python 3.9 3.11")[0] == str(machine.folder / "bin" / "python3.11")
    assert machine("find_python 3.9", check=False) == ("", [])
    hidden = write(machine.folder / ".pyenv" / "versions" / "3.9.18" / "bin" / "python", PYTHON.format(version="3.9"))
    assert machine("find_python 3.9 3.11")[0] == str(hidden) != str(shim)
    moved = machine.folder / "elsewhere"
    os.rename(machine.folder / ".pyenv", moved)
    assert machine("find_python 3.9", PYENV_ROOT=str(moved))[0] == str(moved / hidden.relative_to(hidden.parents[3]))


MAKE = "make_environment .venv python3.11 current.lock"


def test_an_environment_is_made_by_the_locks_uv_and_used_again(machine):
    _, log = machine(MAKE)
    assert log[0].startswith("pip install") and log[0].endswith(" uv==1.2.3")
    assert len(log) == 2 and "--no-deps --requirements current.lock --python .venv/bin/python" in log[1]
    assert "--build-constraints current.lock --editable .[model] " in log[1]
    assert machine(MAKE)[1] == []
    log = machine(f"{MAKE} llava-torch pip")[1]  # other packages
    assert len(log) == 2 and "--constraints current.lock llava-torch pip" in log[1] and "--no-deps" not in log[1]


@pytest.mark.parametrize("changed", ["setup.py", "current.lock"])
def test_an_environment_is_made_anew_for_another_lock_or_setup_py(machine, changed):
    machine(MAKE)
    (machine.folder / "project" / ".venv" / "stale").touch()
    with open(machine.folder / "project" / changed, "a") as file:
        file.write("numpy==2\n")
    assert len(machine(MAKE)[1]) == 2 and machine(MAKE)[1] == []
    assert not (machine.folder / "project" / ".venv" / "stale").exists()


def test_a_copy_of_the_project_gets_environments_of_its_own(machine):
    machine(MAKE)
    shutil.copytree(machine.folder / "project", machine.folder / "copy")
    assert len(machine(f"cd ../copy && {MAKE}")[1]) == 2  # the copied one has the first folder's package
    assert machine(MAKE)[1] == []


def test_a_half_made_environment_is_not_taken_for_whole(machine):
    machine(MAKE, check=False, BROKEN="yes")
    assert not (machine.folder / "project" / ".venv" / ".made-for").exists()
    assert len(machine(MAKE)[1]) == 2
    machine(f"{MAKE} numpy", check=False, BROKEN="yes")  # over a whole one
    assert len(machine(MAKE)[1]) == 2


def test_uv_looks_where_pip_is_set_to_look(machine):
    index = {"OF_PIP": "https://a.example", "PIP_INDEX_URL": "https://b.example", "UV_DEFAULT_INDEX": "https://c.example"}
    expected = ["<>", *(f"<{url}>" for url in index.values())]
    for count, wanted in enumerate(expected):
        log = machine(f"{MAKE} of-{count}", **dict(itertools.islice(index.items(), count)))[1]
        assert log[1].endswith(wanted)
