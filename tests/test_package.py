"""What a wheel has in it, and what installing it brings: all files of the package, `py.typed` among them, by which type
checkers know it; the light core and its extras, and what a command says where a package of the model is not there."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
HEAVY = {"accelerate", "av", "open_clip_torch", "peft", "safetensors", "torch", "torchvision", "transformers"}
WITHOUT_MODEL = (
    "import runpy, sys\n"
    "sys.modules.update(dict.fromkeys(['av', 'llava', 'open_clip', 'peft', 'torch', 'torchvision', 'transformers']))\n"
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)


def files_in(folder: Path) -> set[Path]:
    return {file.relative_to(folder) for file in folder.rglob("*") if file.is_file() and file.suffix != ".pyc"}


def asked_for(extras: set[str]) -> set[str]:
    """The names that setup.py asks for with these extras."""
    lines = map(Requirement, importlib.metadata.requires("llava_v2xum"))
    of_extras = [{"extra": extra} for extra in ("", *extras)]
    return {line.name for line in lines if line.marker is None or any(map(line.marker.evaluate, of_extras))}


def brought_by(names: set[str]) -> set[str]:
    """These distributions and all that they need, by their normalized names, as installed here."""
    found: set[str] = set()
    waiting = {re.sub(r"[-_.]+", "-", name).lower() for name in names}
    while waiting:
        found.add(name := waiting.pop())
        needed = map(Requirement, importlib.metadata.requires(name) or ())
        here = {one.name for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})}
        waiting |= {re.sub(r"[-_.]+", "-", one).lower() for one in here} - found
    return found


def without_model(*command: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", WITHOUT_MODEL, *command], capture_output=True, text=True)


def test_every_file_of_the_package_is_shipped(tmp_path):
    steps = ["egg_info", "--egg-base", tmp_path, "build_py", "--build-lib", tmp_path]
    subprocess.run([sys.executable, "setup.py", "-q", *steps], cwd=ROOT, check=True)
    shipped = files_in(tmp_path / "llava_v2xum")
    assert shipped == files_in(ROOT / "llava_v2xum") and Path("py.typed") in shipped


def test_the_evaluators_stand_alone():
    assert asked_for(set()) == {"numpy", "tqdm"}
    light = brought_by(asked_for({"metrics"}))
    assert {"h5py", "matplotlib", "pycocoevalcap", "ruptures", "scipy"} < light
    assert not light & {name.replace("_", "-") for name in HEAVY} and len(light) < 25


@pytest.mark.parametrize("extra", ["model", "train", "qlora", "curate", "ray", "quality"])
def test_who_runs_the_model_gets_it_with_one_extra(extra):
    assert asked_for({extra}) > HEAVY | {"numpy"}


@pytest.mark.parametrize(
    "command, lacking",
    [
        ("infer clip.mp4", "av, torch, transformers are"),
        ("features videos --out store", "av, torch, transformers are"),
        ("curate videos --out data --endpoint http://localhost:9/v1 --model m", "av, torch, transformers are"),
        ("merge --model-path lora --out merged", "torch, transformers are"),
        ("drafting answers.jsonl --tokenizer . --out table.json", "torch, transformers are"),
        ("shapes --out clips", "av is"),
    ],
)
def test_a_command_tells_what_lacks_and_what_brings_it(command, lacking, tmp_path):
    name, *arguments = command.replace("clips", str(tmp_path / "clips")).split()
    done = without_model(f"llava_v2xum.{name}", *arguments)
    line = f'error: {lacking} needed here and not installed: pip install "llava_v2xum[model]"\n'
    assert (done.returncode, done.stderr) == (2, line)


def test_training_tells_it_too(tmp_path):
    (tmp_path / "data.json").write_text("[]")
    files = f"--data_path {tmp_path}/data.json --video_folder {tmp_path} --output_dir {tmp_path}/out".split()
    done = without_model("llava_v2xum.train", "--model_name_or_path", "lmsys/vicuna-7b-v1.5", *files)
    assert done.returncode == 2 and done.stderr.endswith('not installed: pip install "llava_v2xum[model]"\n')
    assert len(done.stderr.splitlines()) == 1


def test_a_public_name_that_wants_the_model_tells_it_too():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from llava_v2xum import Timeline, parse_answer\n"
        "try:\n    import llava_v2xum; llava_v2xum.build_input_ids\n"
        "except ImportError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == 'torch is needed here and not installed: pip install "llava_v2xum[model]"\n'
