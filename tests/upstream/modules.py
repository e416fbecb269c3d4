"""The source of one module, and the statements that bind its names."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


class Module:
    """One module's source, and the statements that bind its names."""

    def __init__(self, name: str, file: Path) -> None:
        self.name, self.file = name, file
        self.text = "" if file.is_dir() else file.read_text(encoding="utf-8")  # a folder without __init__.py

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def names(self) -> dict[str, list[ast.AST]]:
        return bindings(self.tree.body)

    @cached_property
    def words(self) -> set[str]:
        return words_in(self.tree)

    def may_have(self, name: str) -> bool:
        """Whether it is worth parsing for a name."""
        return name in self.text or "import *" in self.text

    def origin(self, node: ast.ImportFrom) -> str:
        """The module that an import statement of this module names."""
        above = self.name.split(".")[: None if self.file.is_dir() or self.file.stem == "__init__" else -1]
        above = above[: len(above) - node.level + 1] if node.level else []
        return ".".join([*above, *([node.module] if node.module else [])])


def words_in(tree: ast.AST) -> set[str]:
    """All names, attributes, parameters, keywords and strings in a piece of source."""
    kinds = {ast.Name: "id", ast.Attribute: "attr", ast.arg: "arg", ast.keyword: "arg", ast.Constant: "value"}
    found = (getattr(node, kinds[type(node)]) for node in ast.walk(tree) if type(node) in kinds)
    return {word for word in found if isinstance(word, str)}


def statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements of one scope, those inside of `if`, `try`, `with` and loops too."""
    for statement in body:
        yield statement
        if not isinstance(statement, (*FUNCTION, ast.ClassDef)):
            for part in ("body", "orelse", "finalbody"):
                yield from statements(getattr(statement, part, ()))
            for handler in getattr(statement, "handlers", ()):
                yield from statements(handler.body)


def bindings(body: Sequence[ast.stmt]) -> dict[str, list[ast.AST]]:
    """The names that a scope binds, with the statements that do; under "*" its star imports."""
    names: dict[str, list[ast.AST]] = {}
    for node in statements(body):
        if isinstance(node, (*FUNCTION, ast.ClassDef)):
            bound = [node.name]
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            bound = [bound_by(alias, node) for alias in node.names]
        else:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            bound = [part.id for one in targets if one for part in ast.walk(one) if isinstance(part, ast.Name)]
        for name in bound:
            names.setdefault(name, []).append(node)
    return names


def bound_by(alias: ast.alias, node: ast.Import | ast.ImportFrom) -> str:
    """The name that a part of an import statement binds."""
    return alias.asname or (alias.name if isinstance(node, ast.ImportFrom) else alias.name.split(".")[0])


def stored_on_self(node: ast.ClassDef) -> dict[str, ast.AST]:
    """The attributes that a class's methods give to `self`, and where."""
    found: dict[str, ast.AST] = {}
    for part in ast.walk(node):
        if isinstance(part, ast.Attribute) and getattr(part.value, "id", "") == "self":
            if isinstance(part.ctx, ast.Store):
                found.setdefault(part.attr, part)
        elif isinstance(part, ast.Call) and getattr(part.func, "attr", "") in ("register_buffer", "register_parameter"):
            found.setdefault(getattr(part.args[0], "value", ""), part)
    return found
