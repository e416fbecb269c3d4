"""`test.sh --newest`: the table blames the package that breaks a test, and says when it is no single package."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "drift.py"
DIRECT = {"av", "numpy", "torch"}
MOVED = ["tokenizers", "av", "torch"]


@pytest.fixture(scope="module")
def drift():
    spec = importlib.util.spec_from_file_location("drift", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Runs:
    """Environments in which tests fail by what is at its newest; `asked` is what was run in them."""

    def __init__(self, **fails: set[str]):
        self.fails, self.asked = fails, []

    def __call__(self, package: str | None, tests: set[str]) -> set[str]:
        self.asked.append((package, tests))
        return self.fails.get(package or "locked", set()) & tests


def test_each_failing_test_is_put_down_to_the_package_that_breaks_it(drift):
    run = Runs(av={"read", "cut"}, torch={"cut"}, locked={"flaky"})
    causes = drift.attribute({"read", "cut", "flaky"}, MOVED, DIRECT, run)
    assert causes == {
        drift.ANYWAY: {"flaky"}, "av": {"read", "cut"}, "torch": {"cut"}, "tokenizers": set(), drift.TOGETHER: set()
    }
    # what fails anyway is nobody's; a direct dependency is tried on all that is left, the others on what has no cause
    assert run.asked == [(None, {"read", "cut", "flaky"}), ("av", {"read", "cut"}), ("torch", {"read", "cut"})]


def test_what_no_direct_dependency_explains_is_tried_with_the_packages_beneath(drift):
    run = Runs(av={"read"}, tokenizers={"ids"})
    causes = drift.attribute({"read", "ids", "both"}, MOVED, DIRECT, run)
    assert causes["tokenizers"] == {"ids"} and causes[drift.TOGETHER] == {"both"}
    assert run.asked[-1] == ("tokenizers", {"ids", "both"})


def test_nothing_is_run_again_where_all_passes(drift):
    run = Runs()
    causes = drift.attribute(set(), MOVED, DIRECT, run)
    assert run.asked == [] and not any(causes.values()) and {*MOVED} < {*causes}


def test_the_table(drift):
    many = {f"tests/test_a.py::test_{number}" for number in range(drift.NAMED + 2)}
    causes = {drift.ANYWAY: {"b[x|y]"}, "av": many, "torch": set(), "tokenizers": set(), drift.TOGETHER: set()}
    locked = {"av": "18.1.0", "numpy": "2.5.5", "torch": "2.14.1"}
    lines = drift.table(locked, {**locked, "av": "19.0.2", "torch": "2.15.0", "tokenizers": "0.23"}, DIRECT, causes)
    rows = [[cell.strip() for cell in line[2:-2].split(" | ")] for line in lines.splitlines()]
    assert rows[0] == ["package", "locked", "newest", "result"] and set(rows[1]) == {"---"}
    assert rows[2] == ["av", "18.1.0", "19.0.2", f"fails: {', '.join(sorted(many)[: drift.NAMED])}, and 2 more"]
    assert rows[3:6] == [
        ["numpy", "2.5.5", "2.5.5", "has not moved"],
        ["tokenizers", "-", "0.23", "passes"],
        ["torch", "2.14.1", "2.15.0", "passes"],
    ]
    assert rows[6:] == [[drift.ANYWAY, "", "", "fails: b[x\\|y]"]]


@pytest.fixture
def suite(tmp_path, monkeypatch) -> Path:
    """A folder with a suite of its own: one test passes, one fails, a fixture fails, a file cannot be collected."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "ruff.toml").write_text('lint.select = ["F"]\n')
    (tmp_path / "test_one.py").write_text(
        "import pytest\n"
        "@pytest.fixture\ndef broken():\n    raise OSError\n"
        "def test_good():\n    pass\n"
        "@pytest.mark.parametrize('of', ['a', 'b c'])\ndef test_bad(of):\n    assert of == 'a'\n"
        "def test_error(broken):\n    pass\n"
    )
    (tmp_path / "test_two.py").write_text("from no_such_module import thing\n\ndef test_two():\n    thing()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # they take their time to load
    return tmp_path


def run_suite(drift, *arguments: str, among: set[str] | None = None) -> set[str]:
    return drift.failing_tests(Path(sys.prefix), [*arguments], among)


def test_failures_errors_and_files_that_cannot_be_collected_are_named(drift, suite):
    assert run_suite(drift) == {"test_one.py::test_bad[b c]", "test_one.py::test_error", "test_two.py"}
    assert run_suite(drift, "test_one.py", "-k", "good") == set()


def test_only_what_failed_is_run_again_and_told(drift, suite):
    failed = {"test_one.py::test_bad[b c]", "test_one.py::test_good"}
    assert run_suite(drift, among=failed) == {"test_one.py::test_bad[b c]"}
    # a file that is not collected here stands for its tests, and tests that fail here for a file that was not there
    assert run_suite(drift, among={"test_two.py::test_two"}) == {"test_two.py::test_two"}
    assert run_suite(drift, among={"test_one.py"}) == {"test_one.py"}


def test_a_suite_that_does_not_start_fails_as_a_whole(drift, suite):
    (suite / "conftest.py").write_text("from no_such_module import thing\n\nthing()\n")
    assert run_suite(drift) == {drift.WHOLE}
    assert run_suite(drift, among={"test_one.py::test_good"}) == {"test_one.py::test_good"}
    (suite / "conftest.py").unlink()
    (suite / "test_two.py").unlink()
    assert run_suite(drift, "-k", "good", among={drift.WHOLE}) == set()


def test_the_style_is_checked_beside_the_tests(drift, suite):
    written = (suite / "test_one.py").read_text()
    (suite / "test_one.py").write_text(f"import os\n{written}")
    assert run_suite(drift, "test_one.py", "-k", "good") == {drift.STYLE}
    assert run_suite(drift, among={drift.STYLE, "test_one.py::test_good"}) == {drift.STYLE}
    (suite / "test_one.py").write_text(written)
    assert run_suite(drift, among={drift.STYLE}) == set()


def test_the_direct_dependencies_are_those_of_setup_py(drift):
    found = drift.direct_dependencies()
    assert {"av", "bert-score", "huggingface-hub", "llava-torch", "open-clip-torch", "ray", "ruff"} <= found
    assert not {"tokenizers", "nvidia-cublas", "llava-v2xum"} & found
