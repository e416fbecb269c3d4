"""The contract with upstream packages holds for the releases that are installed, and is of this project's code."""

from __future__ import annotations

import re

import pytest
from upstream.__main__ import main
from upstream.check import Check
from upstream.contract import USES, load_hand, private_names, project_uses, stale
from upstream.reader import read_uses
from upstream.uses import PACKAGES, Uses

pytestmark = pytest.mark.pinned

WHAT_TO_DO = """mend it, or say in tests/upstream/by_hand.json
  only: which releases have it; handed_in: who takes what is new; told_by: which module reads it in another way;
  stands_for: that a variable of this name holds something else in this file"""

BY_HAND = {
    "stands_for": {}, "stands_above": {}, "replaced": [], "ours": [], "only": {}, "told_by": {}, "handed_in": {},
    "in_strings": {}, "read_by": {}, "private": {},
}  # fmt: skip


@pytest.fixture(scope="module")
def hand():
    return load_hand()


@pytest.fixture(scope="module")
def uses(hand):
    return project_uses(hand)


@pytest.fixture(scope="module")
def check(uses, hand):
    return Check(uses, hand)


def test_the_contract_is_of_this_code(uses):
    assert USES.read_text() == uses.as_text(), "uses.json is of other code: python -m tests.upstream --write"


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_that_is_relied_on_has_moved(check, package):
    if package not in check.versions:
        pytest.skip(f"{package} is not installed")
    moved = check.lines(package)
    assert not moved, "\n".join(["moved:", *moved, WHAT_TO_DO])


def test_what_is_kept_by_hand_is_of_this_code_too(check, uses, hand):
    assert not list(stale(uses, check.of_llava, hand)), "by_hand.json speaks of what the code no longer has"


def test_private_names_have_a_reason(uses, hand):
    """A new one is to be weighed: by_hand.json says of each why it is used."""
    assert set(private_names(uses)) == set(hand["private"])


# The checker itself, on a release that was made up.

OLD = """
from dataclasses import dataclass
from .inner import moved as given_out

LIMIT = 3

def open(file, mode="r", **kwargs):
    return kwargs.pop("errors", None)

def load(name, *, strict=True): ...

@dataclass
class Settings:
    size: int
    depth: int = 1

class Base:
    def __init__(self):
        self.table = {}

class Model(Base):
    weight: float
    @property
    def device(self): ...
    def step(self, batch): ...
    def save(self, folder, safe=True): ...
"""

OURS = '''
import peft
from peft import Model, Settings, load

class Better(Model):
    kept = None

    def step(self, batch):
        self.own = self.weight, self.table
        return super().step(batch)

def run(model: Model | None, other):
    with peft.open("x", errors=peft.LIMIT) as file:
        load("y", strict=False)
    getattr(model, "device", None)
    made = Better()
    made.save("z", safe=True)
    other._hidden = Settings(size=peft.given_out)
'''


def releases(folder, source: str = OLD, inner: str = "moved = 1", code: str = OURS, **hand) -> list[str]:
    """What the checker says of this code and a made-up peft."""
    (folder / "code").mkdir()
    (folder / "code" / "ours.py").write_text(code)
    (folder / "site" / "peft").mkdir(parents=True)
    (folder / "site" / "peft" / "__init__.py").write_text(source)
    (folder / "site" / "peft" / "inner.py").write_text(inner)
    (folder / "site" / "peft-9.1.dist-info").mkdir()
    (folder / "site" / "peft-9.1.dist-info" / "METADATA").write_text("Name: peft\nVersion: 9.1\n")
    hand = {**BY_HAND, **hand}
    uses = read_uses(folder / "code", [folder / "code" / "ours.py"], hand)
    return Check(uses, hand, str(folder / "site")).lines("peft")


def test_what_the_code_uses_is_found_in_it(tmp_path):
    (tmp_path / "ours.py").write_text(OURS)
    found = read_uses(tmp_path, [tmp_path / "ours.py"], BY_HAND)
    assert {(path, shape) for path, shape in found.places if shape or path == "peft.Model.device"} == {
        ("peft.Model.step", "def (batch)"),
        ("peft.Model.step", "(_)"),
        ("peft.Model.save", "(_, safe=)"),
        ("peft.Model.device", ""),
        ("peft.open", "(_, errors=)"),
        ("peft.load", "(_, strict=)"),
        ("peft.Settings", "(size=)"),
    }
    alone = {path for path, shape in found.places if not shape}
    assert {"peft.LIMIT", "peft.given_out", "peft.Model.weight"} <= alone
    assert found.places["peft.Model.save", "(_, safe=)"] == ["ours.py:17"]
    assert private_names(found) == {"?._hidden": ["ours.py:18"]}


def test_where_nothing_has_moved_nothing_is_said(tmp_path):
    assert releases(tmp_path) == []


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("LIMIT = 3", "MOST = 3", "peft.LIMIT is no more (ours.py:13)"),
        ("from .inner import moved as given_out", "", "peft.given_out is no more (ours.py:18)"),
        ("moved as given_out", "gone as given_out", "peft.given_out is no more (ours.py:18)"),
        ('kwargs.pop("errors", None)', "None", "peft.open takes no errors= (ours.py:13)"),
        ("strict=True", "exact=True", "peft.load takes no strict= (ours.py:14)"),
        ("def load(name, *,", "def load(name, place, *,", "peft.load asks for place (ours.py:14)"),
        ("def load(name, *,", "def load(*,", "peft.load takes 0 positions, 1 are given (ours.py:14)"),
        ("size: int", "width: int", "peft.Settings asks for width (ours.py:18)"),
        ("self.table = {}", "self.tables = {}", "peft.Model.table is no more (ours.py:9)"),
        ("weight: float", "mass: float", "peft.Model.weight is no more (ours.py:9)"),
        ("def device(self)", "def place(self)", "peft.Model.device is no more (ours.py:15)"),
        (
            "def step(self, batch)",
            "def step(self, batch, rows=None)",
            "peft.Model.step is given rows, which the method in its place does not take (ours.py:8)",
        ),
        (
            "weight: float",
            "weight: float\n    kept: int",
            "peft.Model.kept has the name of one of ours, which takes its place (ours.py:6)",
        ),
    ],
)
def test_what_has_moved_is_named_with_the_place_in_our_code(tmp_path, old, new, line):
    assert old in OLD
    assert f"peft 9.1: {line}" in releases(tmp_path, OLD.replace(old, new))


def test_of_overloads_a_call_need_fit_one_alone(tmp_path):
    two = "@overload\ndef load(name): ...\n@overload\ndef load(name, *, strict): ..."
    assert releases(tmp_path, OLD.replace("def load(name, *, strict=True): ...", two)) == []


def test_a_name_may_be_relied_on_for_some_releases_alone(tmp_path):
    source = OLD.replace("LIMIT = 3", "").replace("strict=True", "exact=True")
    assert releases(tmp_path, source, only={"peft.LIMIT": "peft<9", "peft.load(strict=)": "peft<9"}) == []


def test_a_name_that_is_there_for_longer_than_was_said_is_told(tmp_path):
    said = releases(tmp_path, only={"peft.LIMIT": "peft<9"})
    assert said == ["peft 9.1: peft.LIMIT is there, where by_hand.json has it for peft<9 alone (ours.py:13)"]


def test_what_a_mend_takes_is_no_news(tmp_path):
    source = OLD.replace("def step(self, batch)", "def step(self, batch, rows=None)")
    assert releases(tmp_path, source, handed_in={"peft.Model.step": {"rows": "a mend takes it"}}) == []


def test_names_in_strings_and_names_that_upstream_reads_of_ours_are_held_too(tmp_path):
    hand = {
        "in_strings": {"peft.Model.heavy": "ours.py", "peft.load(fast=)": "ours.py"},
        "read_by": {"peft.Model.step": {"rows": "ours.py"}},
    }
    assert releases(tmp_path, **hand) == [
        "peft 9.1: peft.Model.heavy is no more (ours.py)",
        "peft 9.1: peft.load takes no fast= (ours.py)",
        "peft 9.1: peft.Model.step asks for rows no more (ours.py)",
    ]


def test_what_stands_for_says_is_true_in_its_file_alone(tmp_path):
    code = "def run(model, part):\n    return model.weight, part.mass, model()"
    hints = {"model": "peft.Model", "ours.py:part": "peft.Model", "other.py:model": "", ".unseen": "peft.Model"}
    assert releases(tmp_path, code=code, stands_for=hints) == [
        "peft 9.1: peft.Model.__call__ is no more (ours.py:2)",
        "peft 9.1: peft.Model.mass is no more (ours.py:2)",
    ]
    uses = read_uses(tmp_path / "code", [tmp_path / "code" / "ours.py"], {**BY_HAND, "stands_for": hints})
    assert list(stale(uses, Uses(), {**BY_HAND, "stands_for": hints}, tmp_path / "code")) == [
        "stands_for: .unseen", "stands_for: other.py:model",
    ]  # fmt: skip


def test_the_command_names_what_another_release_lacks(tmp_path, uses, monkeypatch, capsys):
    """A peft with nothing in it before the installed one."""
    of_peft = Uses(places={key: places for key, places in uses.places.items() if key[0].startswith("peft.")})
    monkeypatch.setattr("upstream.__main__.project_uses", lambda hand: of_peft)
    (tmp_path / "peft").mkdir()
    (tmp_path / "peft" / "__init__.py").write_text("__version__ = '99'")
    monkeypatch.setattr("sys.argv", ["upstream", "peft", "--site", str(tmp_path)])
    assert main() == 1
    said = capsys.readouterr().out
    assert all(line.startswith("peft ") for line in said.splitlines())
    assert re.search(r"^peft \S+: peft.LoraConfig is no more \(.*checkpoint/lora.py:\d+.*\)$", said, re.MULTILINE)
