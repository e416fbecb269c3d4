"""Which LLaVA is there, and whether it is one that can take the video type: read from its source, nothing is imported.

So it can be told in one line before an import fails somewhere inside, and while LLaVA is still at its own imports.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import os
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from ..core.errors import V2XumError

PACKAGE = os.environ.get("V2XUM_LLAVA_PACKAGE", "llava")  # a fork that renamed the package (patches/README.md)
NEEDED = "LLaVA 1.2.0 to 1.2.2, its main branch, or a fork of these (patches/README.md has the list)"
INSTALL = "pip install --no-deps llava-torch==1.2.2.post1"

_LLAMA, _ARCH = "llava.model.language_model.llava_llama", "llava.model.llava_arch"
_SPLICING = "prepare_inputs_labels_for_multimodal"
_SPLICING_TAKES = ["self", "input_ids", "position_ids", "attention_mask", "past_key_values", "labels", "images"]


class UnfitLlava(V2XumError):
    """The LLaVA that is there cannot take the video type; the message says what it is and what is needed."""


def in_package(name: str) -> str:
    """`llava.constants` -> the same module in the package that stands for LLaVA here."""
    return PACKAGE + name.removeprefix("llava")


def check_llava(homes: Iterable[tuple[str, str]], what: str = "take") -> None:
    """Refuse a LLaVA that lacks what the video type builds upon.

    Args:
        homes: pairs of a name and LLaVA's module that must have it.
        what: it cannot do with videos then.

    Raises:
        UnfitLlava: in one line: version, folder, the first things that do not fit, and what is needed.
    """
    folder = _folder()
    problems = [*_unlike(folder)]
    for name, home in homes:
        tree = _source(folder, home)
        if tree is None:
            problems.append(f"it has no {in_package(home)}")
        elif name not in _names(tree):
            problems.append(f"{in_package(home)} has no {name}")
    problems = list(dict.fromkeys(problems))
    if problems:
        more = f" (and {len(problems) - 2} more)" if len(problems) > 2 else ""
        raise UnfitLlava(f"{found_llava()} cannot {what} videos: {'; '.join(problems[:2])}{more}; needed is {NEEDED}")


def found_llava() -> str:
    """The package that stands for LLaVA, its version and its folder, in words."""
    folder = _folder()
    return f"{PACKAGE} {_version(folder) or 'of an unknown version'} in {folder}"


@functools.cache
def _folder() -> Path:
    """The package's folder.

    Raises:
        UnfitLlava: if there is none, or a folder of that name which is no package.
    """
    module = sys.modules.get(PACKAGE)
    spec = getattr(module, "__spec__", None) if module else importlib.util.find_spec(PACKAGE)
    if spec is None:
        raise UnfitLlava(f"no package {PACKAGE!r} is installed; needed is {NEEDED}: {INSTALL}")
    if not spec.origin:
        places = ", ".join(spec.submodule_search_locations or ())
        raise UnfitLlava(f"{places}: a folder {PACKAGE!r} without a package hides LLaVA; needed is {NEEDED}: {INSTALL}")
    return Path(spec.origin).parent


def _version(folder: Path) -> str | None:
    """As the checkout says that holds the folder, else as the installed distribution does."""
    project = folder.parent / "pyproject.toml"
    if project.is_file():
        for line in project.read_text(encoding="utf-8").splitlines():
            if line.startswith("version"):
                return line.partition("=")[2].strip(" \"'")
    for name in (PACKAGE, f"{PACKAGE}-torch"):
        for found in metadata.distributions(name=name):
            if Path(str(found.locate_file(PACKAGE))) == folder:
                return found.version
    return None


@functools.cache
def _source(folder: Path, home: str) -> ast.Module | None:
    file = folder.joinpath(*home.split(".")[1:])
    for candidate in (file.with_suffix(".py"), file / "__init__.py"):
        if candidate.is_file():
            return ast.parse(candidate.read_bytes())
    return None


def _names(tree: ast.Module) -> set[str]:
    """What a module binds, anywhere in its source; `*` does not count."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.alias):
            found.add(node.asname or node.name)
    return found


def _unlike(folder: Path) -> Iterable[str]:
    """What is there under the right name, and is not what this plugin builds upon."""
    for home, name in ((_LLAMA, "model_type"), (_ARCH, _SPLICING)):
        tree = _source(folder, home)
        for node in ast.walk(tree) if tree else ():
            if isinstance(node, ast.Assign) and name == "model_type" and ast.unparse(node) == "model_type = 'llava'":
                yield "its model type 'llava' is transformers' own since 4.36"
            if isinstance(node, ast.FunctionDef) and node.name == name:
                takes = [argument.arg for argument in node.args.args]
                if takes[: len(_SPLICING_TAKES)] != _SPLICING_TAKES:
                    yield f"{name} takes ({', '.join(takes[1:])}), expected ({', '.join(_SPLICING_TAKES[1:])}, ...)"
