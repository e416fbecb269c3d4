"""Names and classes of installed packages, read from their sources; nothing of theirs is imported.

So it takes seconds, tells of a release that does not import here, and sees what a release has before any mend of ours.
A stub (`.pyi`) goes before the source beside it: it tells what a compiled module takes.
"""

from __future__ import annotations

import ast
import builtins
import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path

from .modules import FUNCTION, Module, bindings, bound_by, stored_on_self


@dataclass(frozen=True, eq=False)
class Found:
    """What a name stands for.

    Attributes:
        path: its name where it is defined.
        module: where that is; the module itself if there are no `nodes`.
        nodes: the statements that bind it, several for overloads.
        owner: the class that a member was found in.
        value: an object of the standard library, in place of the others.
    """

    path: str
    module: Module | None = None
    nodes: tuple[ast.AST, ...] = ()
    owner: Found | None = None
    value: object = None

    @property
    def statement(self) -> ast.ClassDef | None:
        return next((node for node in self.nodes if isinstance(node, ast.ClassDef)), None)

    @property
    def is_class(self) -> bool:
        return self.statement is not None or isinstance(self.value, type)

    @property
    def is_module(self) -> bool:
        return self.module is not None and not self.nodes

    @property
    def functions(self) -> list[ast.FunctionDef]:
        return [node for node in self.nodes if isinstance(node, FUNCTION)]


class Sources:
    """Packages to read.

    Args:
        paths: folders to find them in; where this Python finds its own if None.
    """

    def __init__(self, paths: Sequence[str] | None = None) -> None:
        self.paths = paths
        self._folders: dict[str, list[str]] = {}
        self._modules: dict[str, Module | None] = {}
        self._found: dict[str, Found | None] = {}
        self._own: dict[str, dict[str, list[ast.AST]]] = {}

    def module(self, name: str) -> Module | None:
        """The module of that name, or None."""
        if name not in self._modules:
            file = self._file(name)
            self._modules[name] = Module(name, file) if file else None
        return self._modules[name]

    def _file(self, name: str) -> Path | None:
        top, *rest = name.split(".")
        if top not in self._folders:
            spec = importlib.util.find_spec(top) if self.paths is None else PathFinder.find_spec(top, self.paths)
            self._folders[top] = [*(spec.submodule_search_locations or [])] if spec else []
        for folder in self._folders[top]:
            place = Path(folder, *rest)
            inside = (place / "__init__.pyi", place / "__init__.py")
            for file in (*inside, place.with_suffix(".pyi"), place.with_suffix(".py")):
                if file.is_file():
                    return file
            if place.is_dir():
                return place
        return None

    def find(self, path: str) -> Found | None:
        """What a dotted name stands for, or None."""
        if path not in self._found:
            self._found[path] = None  # an import that leads back here finds nothing
            head, _, name = path.rpartition(".")
            if head:
                owner = self.find(head)
                self._found[path] = self.member(owner, name) if owner else None
            else:
                module = self.module(path)
                self._found[path] = Found(path, module) if module else None
        return self._found[path]

    def member(self, found: Found, name: str) -> Found | None:
        """A module's name, or a class's attribute, its bases' included."""
        if found.is_module:
            return self._in_module(found.module, name)
        for base in self.mro(found) if found.is_class else ():
            if hasattr(base.value, name) and base.value is not None:
                return Found(f"{base.path}.{name}", owner=base, value=getattr(base.value, name))
            if nodes := self.own(base).get(name):
                return Found(f"{base.path}.{name}", base.module, tuple(nodes), base)
        return None

    def own(self, found: Found) -> dict[str, list[ast.AST]]:
        """The attributes that a class has of its own, with the statements that make them."""
        if found.path not in self._own:
            node = found.statement
            stored = {name: [part] for name, part in stored_on_self(node).items()} if node else {}
            self._own[found.path] = {**stored, **bindings(node.body)} if node else {}
        return self._own[found.path]

    def _in_module(self, module: Module, name: str) -> Found | None:
        nodes = module.names.get(name, []) if module.may_have(name) else []
        if defined := [node for node in nodes if isinstance(node, (*FUNCTION, ast.ClassDef))]:
            return Found(f"{module.name}.{name}", module, tuple(defined))
        found = next(filter(None, (self._bound(module, node, name) for node in nodes)), None)
        below = None if found else self.module(f"{module.name}.{name}")
        if found or below:
            return found or Found(below.name, below)
        for node in module.names.get("*", []) if module.may_have(name) else []:
            origin = self.module(module.origin(node))
            if origin is not None and origin.may_have(name) and (found := self.find(f"{origin.name}.{name}")):
                return found
        return None

    def _bound(self, module: Module, node: ast.AST, name: str) -> Found | None:
        """What an import or an assignment gives to a name."""
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            alias = next(alias for alias in node.names if bound_by(alias, node) == name)
            if isinstance(node, ast.ImportFrom):
                return self.find(f"{module.origin(node)}.{alias.name}")
            return self.find(alias.name if alias.asname else name)
        value = getattr(node, "value", None)
        meant = self.meant(module, value) if isinstance(value, (ast.Name, ast.Attribute)) else None
        return meant or Found(f"{module.name}.{name}", module, (node,))

    def meant(self, module: Module, node: ast.expr) -> Found | None:
        """What an expression at the top of a module stands for."""
        if isinstance(node, ast.Subscript):  # Generic[T]
            return self.meant(module, node.value)
        if isinstance(node, ast.Attribute):
            owner = self.meant(module, node.value)
            return self.member(owner, node.attr) if owner else None
        if not isinstance(node, ast.Name):
            return None
        if node.id not in module.names and hasattr(builtins, node.id):
            return Found(f"builtins.{node.id}", value=getattr(builtins, node.id))
        return self.find(f"{module.name}.{node.id}") or self._of_python(module, node.id)

    def _of_python(self, module: Module, name: str) -> Found | None:
        """What a module has imported from the standard library."""
        for node in module.names.get(name, []):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in sys.stdlib_module_names:
                alias = next(alias for alias in node.names if bound_by(alias, node) == name)
                value = getattr(importlib.import_module(node.module), alias.name, None)
                return Found(f"{node.module}.{alias.name}", value=value) if value is not None else None
        return None

    def mro(self, found: Found) -> list[Found]:
        """The class and its bases as Python looks at them, one after the other; what cannot be read is left out."""
        node = found.statement
        bases = [self.meant(found.module, base) for base in node.bases] if node else []
        bases = [base for base in bases if base is not None and base.is_class]
        lists = [[*one] for one in [*map(self.mro, bases), bases] if one]
        order = [found]
        while lists:
            tails = {base.path for one in lists for base in one[1:]}
            head = next((one[0] for one in lists if one[0].path not in tails), lists[0][0])
            order.append(head)
            lists = [rest for one in lists if (rest := [base for base in one if base.path != head.path])]
        return order
