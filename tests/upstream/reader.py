"""Reads code for what it uses of upstream packages: names, calls, and methods that it puts in the place of theirs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from pathlib import Path

from .expressions import Expressions
from .modules import Module, bindings, bound_by, stored_on_self
from .sources import Sources
from .uses import PACKAGES, Ours, Uses, Value, calls_super, own_shape

_PRIVATE_MODULE = re.compile(r"[a-z]\w*(\.\w+)*\._[a-z]\w*(\.\w+)*")


def read_uses(root: Path, files: Iterable[Path], hand: dict, packages: tuple[str, ...] = PACKAGES) -> Uses:
    """What the files use of upstream packages.

    Args:
        root: the project's folder, in which its package lies.
        hand: by_hand.json.
        packages: those that are upstream.
    """
    ours, uses = Sources([str(root)]), Uses(packages)
    for file in files:
        name = ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        uses.modules.append(ours.module(name) or Module(name, file))  # the latter is a file beside no package
    for _ in range(2):  # the first time finds the classes
        uses.places.clear(), uses.underscored.clear()
        for module in uses.modules:
            Reader(module, module.file.relative_to(root), ours, uses, hand).visit(module.tree)
    return uses


class Reader(Expressions):
    """Walks through one file."""

    visit_Name = visit_Attribute = visit_Call = visit_BoolOp = visit_IfExp = Expressions.value_of

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and _PRIVATE_MODULE.fullmatch(node.value):
            self.uses.underscored.setdefault(node.value, []).append(f"{self.file}:{node.lineno}")

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            path = alias.name
            if isinstance(node, ast.ImportFrom):
                path = self.canonical(f"{self.module.origin(node)}.{alias.name}")
            self.record(path, "", node)
            name = bound_by(alias, node)
            self.scopes[-1][name] = Value(name if isinstance(node, ast.Import) and not alias.asname else path)

    visit_ImportFrom = visit_Import

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        path, outer = ".".join([*self.around, node.name]), self.class_path
        bases = [value.path for base in node.bases if (value := self.value_of(base)) and not value.is_instance]
        own = {name: parts[0].lineno for name, parts in bindings(node.body).items()}
        own = {**{name: part.lineno for name, part in stored_on_self(node).items()}, **own}
        self.uses.classes[path] = Ours(bases, {name: f"{self.file}:{line}" for name, line in own.items()})
        self.scopes[-1][node.name] = Value(path)
        self.class_path = path
        for name in own:
            if f"{self.upstream_of(path)}.{name}" in self.hand["replaced"]:
                self.record(f"{self.upstream_of(path)}.{name}", "=", node)
        with self.scope(node.name, {}):
            self.visit_all([*node.decorator_list, *node.body])
        self.class_path = outer

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        arguments = node.args
        every = [*arguments.posonlyargs, *arguments.args, arguments.vararg, *arguments.kwonlyargs, arguments.kwarg]
        self.visit_all([*node.decorator_list, *arguments.defaults, *arguments.kw_defaults])
        self.annotated(node.returns)
        values = {argument.arg: self.annotated(argument.annotation) for argument in filter(None, every)}
        upstream = self.upstream_of(self.class_path) if self.class_path == ".".join(self.around) else None
        if upstream and arguments.args and arguments.args[0].arg in ("self", "cls"):
            values[arguments.args[0].arg] = Value(self.class_path, arguments.args[0].arg == "self")
            if calls_super(node) or f"{upstream}.{node.name}" in self.hand["replaced"]:
                self.record(f"{upstream}.{node.name}", own_shape(node), node)
        with self.scope(node.name, values):
            self.visit_all(node.body)

    def visit_Assign(self, node: ast.Assign) -> None:
        value = self.value_of(node.value)
        for target in node.targets:
            pairs = isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
            if pairs and len(target.elts) == len(node.value.elts):
                for part, given in zip(target.elts, node.value.elts):
                    self.bind(part, self.again(given))
            else:
                self.bind(target, value)

    def again(self, node: ast.AST) -> Value | None:
        """What an expression stands for that has been recorded already."""
        uses, self.uses = self.uses, Uses(self.uses.packages, classes=self.uses.classes, hints=self.uses.hints)
        value = self.value_of(node)
        self.uses = uses
        return value

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        value = self.annotated(node.annotation)
        self.visit_all([node.value])
        self.bind(node.target, value)

    def visit_withitem(self, node: ast.withitem) -> None:
        value = self.value_of(node.context_expr)
        self.bind(node.optional_vars, value) if node.optional_vars is not None else None

    def visit_For(self, node: ast.For | ast.comprehension) -> None:
        self.visit(node.iter)
        self.bind(node.target, None)
        self.visit_all(node.ifs if isinstance(node, ast.comprehension) else [*node.body, *node.orelse])

    visit_comprehension = visit_For

    def visit_ListComp(self, node: ast.ListComp | ast.DictComp) -> None:
        with self.scope("", {}):
            made = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
            self.visit_all([*node.generators, *made])

    visit_SetComp = visit_DictComp = visit_GeneratorExp = visit_ListComp
