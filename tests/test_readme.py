"""The code of the READMEs is run as it is printed there (`readme_blocks.py` says what a mark exempts it from).

The blocks of a file are run in order in one folder, without a network, and so use what earlier ones have made. The
folder has what a user would have: the project's own folders, a clip, folders of videos, downloaded annotations of them
(all from the rendered world), a checkpoint (the demo), LLaVA.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from pathlib import Path

import pytest
import readme_runs
from readme_blocks import Block, read_blocks
from readme_runs import first_missing, printed, program_of, run

ROOT = Path(__file__).parents[1]
PLACES = ("README.md", "scripts/**/*.md", "patches/*.md")
FILES = [path.relative_to(ROOT).as_posix() for name in PLACES for path in sorted(ROOT.glob(name))]
BLOCKS = [block for file in FILES for block in read_blocks(file, (ROOT / file).read_text(encoding="utf-8"))]
QUICK = re.compile(r"python -m llava_v2xum\.(infer|shapes|convert|evaluate) ")
RUNS = "test_the_code_runs_as_printed"
CLIPS = 4
DEMO_CLIP = "llava_v2xum/shapes/clips/demo.mp4"
DEMO_NOTE = "note: this demo checkpoint knows only rendered moving shapes; for real videos give --model-path\n"


def is_quick(block: Block) -> bool:
    """Whether a block belongs to what every Python runs: the README's Python, and its commands of seconds."""
    commands = [command.text for command in block.commands if not command.not_run]
    return block.file == "README.md" and (block.language == "python" or all(map(QUICK.match, commands)))


@pytest.fixture(scope="session")
def rendered(tmp_path_factory) -> Path:
    """The first clips of series 7, with their truth."""
    folder = tmp_path_factory.mktemp("rendered")
    command = [sys.executable, "-m", "llava_v2xum.shapes", "--videos", str(CLIPS), "--seed", "7", "--out", str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def outcomes(request, rendered, tmp_path_factory) -> Iterator[dict[Block, Future]]:
    """Each chosen block's run: two files at a time (most commands keep one core busy), a file's blocks in turn."""
    chosen = [item.callspec.params["block"] for item in request.session.items if item.name.startswith(f"{RUNS}[")]
    futures = {block: Future() for block in chosen}

    def run_file(blocks: list[Block], world: Path) -> None:
        for block in blocks:
            try:
                futures[block].set_result(run(block, world))
            except BaseException as error:  # told by the block's test
                futures[block].set_exception(error)

    with ThreadPoolExecutor(2) as pool:
        for _, blocks in groupby(chosen, lambda block: block.file):
            pool.submit(run_file, list(blocks), make_world(tmp_path_factory.mktemp("world"), rendered))
        yield futures


def make_world(world: Path, rendered: Path) -> Path:
    """Put into a folder what the READMEs take for granted."""
    for name in ("llava_v2xum", "scripts", "patches"):
        (world / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / DEMO_CLIP, world / "clip.mp4")
    for folder in ("videos", "videos_test", "clips/videos", "series_7/videos"):
        shutil.copytree(rendered / "videos", world / folder)
    (world / "data").mkdir()
    for name in ("train_videoxum", "val_videoxum", "test_videoxum"):
        shutil.copy(rendered / "videoxum.json", world / f"{name}.json")
    for name in ("instruct_v2xum_train.json", "data/train.json", "data/test.json", "answers.jsonl"):
        shutil.copy(rendered / "instruct.json", world / name)
    checkpoint = ROOT / "llava_v2xum" / "shapes" / "checkpoint"
    for name in ("checkpoints/v2xum-7b", "vicuna"):
        (world / name).parent.mkdir(exist_ok=True)
        (world / name).symlink_to(checkpoint)
    llava = Path(importlib.util.find_spec("llava").origin).parent
    shutil.copytree(llava, world / "LLaVA" / "llava", ignore=shutil.ignore_patterns("__pycache__"))
    return world


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(block, id=block.place, marks=[pytest.mark.every_python] if is_quick(block) else [])
        for block in BLOCKS
        if not block.not_run
    ],
)
def test_the_code_runs_as_printed(block, outcomes):
    outcomes[block].result()


def test_commands_that_are_not_run_have_arguments_that_their_programs_take(tmp_path):
    """This project's, which want a network, a GPU or hours, are started and end once they have read their arguments."""
    commands = [command for block in BLOCKS if block.language == "bash" for command in block.commands]
    programs = [found for command in commands if command.not_run and (found := program_of(command.text))]
    assert len(programs) > 5
    file = tmp_path / "programs.json"
    file.write_text(json.dumps([*programs, ["llava_v2xum.infer", "clip.mp4", "--tasks", "text"]]))
    command = [sys.executable, readme_runs.__file__, str(file)]
    done = subprocess.run(command, cwd=ROOT, env=readme_runs.environment(tmp_path), capture_output=True, text=True)
    read = [json.loads(line) for line in done.stdout.splitlines()]
    assert [program for program, status in read if status] == [["llava_v2xum.infer", "clip.mp4", "--tasks", "text"]], (
        done.stderr[-3000:]
    )
    assert len(read) == len(programs) + 1


@pytest.mark.every_python
def test_extras_that_are_named_are_there():
    named = {
        name
        for file in FILES
        for names in re.findall(r'-e "\.\[(.+?)\]"', (ROOT / file).read_text(encoding="utf-8"))
        for name in names.split(",")
    }
    assert {"train", "metrics", "curate"} <= named
    assert named <= set(importlib.metadata.metadata("llava_v2xum").get_all("Provides-Extra"))


@pytest.mark.every_python
def test_the_demo_command_says_no_more_than_it_means_to(tmp_path):
    command = [sys.executable, "-m", "llava_v2xum.infer", str(ROOT / DEMO_CLIP)]
    done = subprocess.run(command, cwd=tmp_path, env=readme_runs.environment(tmp_path), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, f"{DEMO_NOTE}page: {Path('summaries', 'index.html')}\n")
    assert done.stdout.startswith("demo  (28.2 s, 25 fps, BOTH summary)\n")
    assert len(re.findall(r"\n +key frames \d", done.stdout)) == 5


# --- what reads and runs the code ------------------------------------------------------------------------------


def only_block(text: str) -> Block:
    (block,) = read_blocks("GUIDE.md", text)
    return block


@pytest.mark.parametrize(
    "code, message",
    [
        ("```bash\ntrue\n\nfalse \\\n    --at all\n```", "GUIDE.md:4"),
        ("```bash\necho said | grep -q unsaid | cat\n```", "GUIDE.md:2"),
        ("\n```python\nhere = 1\n\nhere / 0\n```", r'GUIDE.md", line 5.*ZeroDivisionError'),
        ('```bash\npip install -e ".[train]" setuptools==1.2.3\n```', "GUIDE.md:2"),
        ('```python\nimport urllib.request\nurllib.request.urlopen("http://example.org")\n```', "Connection refused"),
        ('```bash\npython -c "import warnings; warnings.warn(\'old\', FutureWarning)"\n```', "not meant for the user"),
        ("```bash\necho one\n```\n\n```\ntwo\n```", "shown and not printed: 'two'"),
    ],
    ids=["bash", "pipe", "python", "pip", "network", "warning", "output"],
)
def test_code_that_fails_or_needs_a_network_is_told_with_its_place(code, message, tmp_path):
    with pytest.raises(AssertionError) as told:
        run(only_block(code), tmp_path)
    assert re.search(message, str(told.value), re.DOTALL)


def test_a_hub_name_is_not_to_be_had(tmp_path):
    code = 'import huggingface_hub as hub\nhub.hf_hub_download("lmsys/vicuna-7b-v1.5", "config.json")'
    with pytest.raises(AssertionError, match='GUIDE.md", line 3'):
        run(only_block(f"```python\n{code}\n```"), tmp_path)


def test_what_is_marked_is_not_run_and_the_rest_is(tmp_path):
    marks = "<!-- not run, falsehood: it fails -->\n<!-- run with one for eleven: shorter -->\n"
    code = "echo eleven \\\n    >made\n\nfalsehood \\\n    --made\ncat made"
    block = only_block(f"{marks}```bash\n{code}\n```\n\n```\none\n```")
    assert [(command.line, command.not_run) for command in block.commands] == [(4, ""), (7, "it fails"), (9, "")]
    assert not block.not_run
    run(block, tmp_path)
    assert (tmp_path / "made").read_text() == "one\n"
    assert only_block("<!-- not run: not now -->\n```python\n1\n```").not_run == "not now"
    assert only_block("<!-- not run, 1: not now -->\n```bash\n1\n11\n```").not_run == "not now"


@pytest.mark.parametrize(
    "text, message",
    [
        ("<!-- not run: -->\n```bash\ntrue\n```", "GUIDE.md:1: expected a mark with its reason"),
        ("<!-- not run -->\n```bash\ntrue\n```", "GUIDE.md:1: expected a mark with its reason"),
        ("<!-- seldom run: slow -->\n```bash\ntrue\n```", "GUIDE.md:1: expected a mark with its reason"),
        ("<!-- not run: slow -->\n\n```bash\ntrue\n```", "GUIDE.md:2: expected a block behind its mark"),
        ("<!-- not run: slow -->", "expected a block behind the last mark"),
        ("<!-- not run, false: slow -->\n```bash\ntrue\n```", "GUIDE.md:3: 'false' is not in the code"),
        ("<!-- run with 1 for 2: slow -->\n```bash\ntrue\n```", "GUIDE.md:3: '2' is not in the code"),
        ("<!-- not run: slow -->\n```text\ntrue\n```", "GUIDE.md:3: marks are for code"),
        ("So:\n\n    bash demo.sh\n", "GUIDE.md:3: code that nobody runs"),
        ("- So:\n\n  ```bash\n  bash demo.sh\n  ```\n", "GUIDE.md:3: code that nobody runs"),
        ("```shell\ntrue\n```", "GUIDE.md:2: expected one of bash, python"),
        ("```\ntrue\n```", "GUIDE.md:2: output of no code"),
        ("```bash\ntrue\n", "GUIDE.md:1: the fence has no end"),
    ],
)
def test_code_that_nobody_would_run_and_marks_without_sense_are_refused(text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        read_blocks("GUIDE.md", text)


def test_an_excerpt_of_an_output_is_found_in_order():
    lines = printed("first\n\n 50%|#  |\rloss 0.3483, step 1 \nof the last\n")
    assert lines == ["first", "loss 0.3483, step 1", "of the last"]
    assert first_missing(["first", "...", "of the last"], lines) is None
    assert first_missing(["loss 0.3490, step 1", "of the last"], lines) is None
    assert first_missing(["loss 0.3690, step 1"], lines) == "loss 0.3690, step 1"
    assert first_missing(["loss 0.3483, step 2"], lines) == "loss 0.3483, step 2"
    assert first_missing(["first", "of the last"], lines) == "of the last"
    assert first_missing(["of the last", "...", "first"], lines) == "first"


def test_the_program_and_arguments_of_a_command():
    ranks = "deepspeed --hostfile hosts --module llava_v2xum.infer videos/ # all"
    assert program_of(ranks) == ["llava_v2xum.infer", "videos/"]
    assert program_of("deepspeed scripts/finetune_v2xum.sh \\\n  --bits 4") == ["llava_v2xum.train", "--bits", "4"]
    assert program_of("python scripts/shapes/train_demo.py --out x") == ["scripts/shapes/train_demo.py", "--out", "x"]
    assert program_of("pip install -e .") is None
