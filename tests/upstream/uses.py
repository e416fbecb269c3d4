"""What was found that this project uses of upstream packages."""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass, field

from .modules import Module

PACKAGES = ("accelerate", "av", "deepspeed", "llava", "open_clip", "peft", "transformers")


@dataclass(frozen=True)
class Value:
    """What an expression stands for: a dotted name, or an instance of the class of that name."""

    path: str
    is_instance: bool = False


OTHER = Value("builtins", True)  # an instance of neither an upstream class nor one of ours above which there is one


@dataclass
class Ours:
    """A class of this project: its bases' dotted names, and its own attributes with the place of each."""

    bases: list[str]
    own: dict[str, str]


@dataclass
class Uses:
    """What was found.

    Attributes:
        packages: those that are upstream.
        places: (dotted upstream name, how it is used) -> "file:line" of each use. How: "" for a name alone,
            `(_, name=, **)` for a call, `def (name, **)` for a method of ours in its place, `=` for another value.
        underscored: attributes that begin with an underscore, with "?" before those of what is not known, and modules
            in strings that do -> "file:line" of each.
        hints: the keys of `stands_for` that said something.
        classes: this project's classes by their dotted names.
        modules: those that were read.
    """

    packages: tuple[str, ...] = PACKAGES
    places: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    underscored: dict[str, list[str]] = field(default_factory=dict)
    hints: set[str] = field(default_factory=set)
    classes: dict[str, Ours] = field(default_factory=dict)
    modules: list[Module] = field(default_factory=list)

    def is_upstream(self, path: str) -> bool:
        return path.partition(".")[0] in self.packages

    def as_text(self) -> str:
        """JSON, a line for each name with how it is called or replaced; without places, which move with every line."""
        found: dict[str, list[str]] = {}
        for path, shape in sorted(self.places):
            found.setdefault(path, []).extend([shape] if shape else [])
        lines = (f"{json.dumps(path)}: {json.dumps(shapes)}" for path, shapes in found.items())
        return "{\n" + ",\n".join(lines) + "\n}\n"


def call_shape(call: ast.Call) -> str:
    """How a call gives its arguments."""
    given = ["*" if isinstance(argument, ast.Starred) else "_" for argument in call.args]
    given += ["**" if keyword.arg is None else f"{keyword.arg}=" for keyword in call.keywords]
    return f"({', '.join(given)})"


def own_shape(node: ast.FunctionDef) -> str:
    """The parameters that a method of ours takes in an upstream one's place."""
    arguments = node.args
    names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args)][1:]
    names += ["*"] * (arguments.vararg is not None) + [argument.arg for argument in arguments.kwonlyargs]
    return f"def ({', '.join(names + ['**'] * (arguments.kwarg is not None))})"


def calls_super(node: ast.FunctionDef) -> bool:
    """Whether a method asks the one that it stands in for."""
    asked = (part.value for part in ast.walk(node) if isinstance(part, ast.Attribute) and part.attr == node.name)
    return any(isinstance(part, ast.Call) and getattr(part.func, "id", "") == "super" for part in asked)
