"""What this project's expressions stand for.

It is known where they are imported, annotated or made of a class. For others `stands_for` in by_hand.json says it by
the variable's name, which has one meaning all over the project, or in a class, file or folder.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from llava_v2xum.features import upstream as upstream

from .modules import Module
from .sources import Sources
from .uses import OTHER, Uses, Value, call_shape

_LITERALS = (ast.Constant, ast.Dict, ast.DictComp, ast.JoinedStr, ast.List, ast.ListComp, ast.Set, ast.Tuple)
_SAME = {"to", "eval", "float", "half", "train", "requires_grad_"}  # torch's methods of a module that return it


class Expressions(ast.NodeVisitor):
    """Those of one file; what they use of upstream packages is recorded."""

    def __init__(self, module: Module, file: Path, ours: Sources, uses: Uses, hand: dict) -> None:
        self.module, self.file, self.ours, self.uses, self.hand = module, file.as_posix(), ours, uses, hand
        self.folders = [folder.as_posix() for folder in file.parents]
        self.hinted_words = {key.rpartition(":")[2].partition("(")[0].rpartition(".")[2] for key in hand["stands_for"]}
        self.scopes: list[dict[str, Value | None]] = [{}]
        self.around = [module.name]  # names of this module and of what is open around
        self.class_path: str | None = None

    # what is kept

    def record(self, path: str | None, shape: str, node: ast.AST) -> None:
        if path is not None and self.uses.is_upstream(path) and path not in self.hand["ours"]:
            name = path.rpartition(".")[2]
            if not (name.startswith("__") and name.endswith("__")) or name in ("__version__", "__call__"):
                self.uses.places.setdefault((path, shape), []).append(f"{self.file}:{node.lineno}")

    def canonical(self, path: str) -> str:
        """A name as the module that defines it has it; one of upstream.py's, as upstream has it."""
        module, _, name = path.rpartition(".")
        if module == upstream.__name__ and name in upstream.MODULES:
            return upstream.MODULES[name]
        if module == upstream.__name__ and name in upstream.HOMES:
            return f"{upstream.HOMES[name]}.{name}"
        found = None if self.uses.is_upstream(path) else self.ours.find(path)
        return found.path if found else path

    def upstream_of(self, path: str) -> str | None:
        """The nearest upstream class above a class of ours."""
        if self.uses.is_upstream(path) or path in self.hand["stands_above"]:
            return self.hand["stands_above"].get(path, path)
        bases = self.uses.classes[path].bases if path in self.uses.classes else []
        return next(filter(None, map(self.upstream_of, bases)), None)

    def has_own(self, path: str, name: str) -> bool:
        """Whether a class of ours, or one of ours above it, has an attribute."""
        found = self.uses.classes.get(path)
        return found is not None and (name in found.own or any(self.has_own(base, name) for base in found.bases))

    @contextmanager
    def scope(self, name: str, values: dict[str, Value | None]) -> Iterator[None]:
        self.scopes.append(values)
        self.around.append(name)
        yield
        self.scopes.pop(), self.around.pop()

    def bind(self, target: ast.AST, value: Value | None) -> None:
        if isinstance(target, ast.Name):
            self.scopes[-1][target.id] = value
        elif isinstance(target, (ast.Tuple, ast.List)):
            for part in target.elts:  # of a pair, such as a model and its report, the first is what was made
                self.bind(part, value if part is target.elts[0] and value != OTHER else None)
        else:
            self.visit(target)

    def hint(self, node: ast.AST, here: bool) -> Value | None:
        """What `stands_for` says of an expression: in this class, file or folder, or anywhere."""
        named = node.func if isinstance(node, ast.Call) else node
        last = getattr(named, "attr", None) or getattr(named, "id", None)
        if last not in self.hinted_words:
            return None
        keys = [ast.unparse(named)] + ([f".{last}"] if isinstance(named, ast.Attribute) else [])
        places = [f"{place}:" for place in (self.class_path, self.file, *self.folders)] if here else [""]
        for key in (place + key + "()" * isinstance(node, ast.Call) for place in places for key in keys):
            if (path := self.hand["stands_for"].get(key)) is not None:
                self.uses.hints.add(key)
                return Value(path, True) if path else OTHER
        return None

    # what expressions stand for

    def resolve(self, node: ast.AST) -> tuple[str | None, Value | None]:
        """The upstream name that an expression is, yet to be recorded, and what the expression stands for."""
        use = value = None
        if isinstance(node, ast.Name):
            value = next((scope[node.id] for scope in reversed(self.scopes) if node.id in scope), None)
            use = value.path if value and not value.is_instance else None
        elif isinstance(node, ast.Attribute):
            use, base = self.resolve(node.value)
            if base is None or base.is_instance:  # else it is a part of this name
                self.record(use, "", node.value)
            use, value = self.attribute(base, node.attr, node)
        elif isinstance(node, ast.Call):
            value = self.call(node)
        elif isinstance(node, (ast.BoolOp, ast.IfExp)):
            parts = node.values if isinstance(node, ast.BoolOp) else [node.body, node.orelse, node.test]
            value = next(filter(None, [self.value_of(part) for part in parts]), None)
        else:
            getattr(self, f"visit_{type(node).__name__}", self.generic_visit)(node)
            value = OTHER if isinstance(node, _LITERALS) and getattr(node, "value", "") is not None else None
        said = self.hint(node, here=True) or (self.hint(node, here=False) if value is None else None)
        return (None if said == OTHER else use), said or value

    def value_of(self, node: ast.AST) -> Value | None:
        """What an expression stands for; its name is recorded."""
        use, value = self.resolve(node)
        self.record(use, "", node)
        return value

    def attribute(self, base: Value | None, name: str, node: ast.AST) -> tuple[str | None, Value | None]:
        """What `resolve` gives for an attribute of what is known."""
        if name.startswith("_") and not name.endswith("__"):
            owner = base.path if base is not None and base != OTHER else "?"
            self.uses.underscored.setdefault(f"{owner}.{name}", []).append(f"{self.file}:{node.lineno}")
        if base is None or base == OTHER:
            return None, None
        path = f"{base.path}.{name}"
        if self.uses.is_upstream(path):
            return path, None if base.is_instance else Value(path)
        upstream = self.upstream_of(base.path)
        use = f"{upstream}.{name}" if upstream is not None and not self.has_own(base.path, name) else None
        return use, None if base.is_instance else Value(path if use else self.canonical(path))

    def call(self, node: ast.Call) -> Value | None:
        """What a call gives; the call is recorded."""
        function = node.func.id if isinstance(node.func, ast.Name) else ""
        second = node.args[1].value if len(node.args) > 1 and isinstance(node.args[1], ast.Constant) else None
        if function == "super" and self.class_path:
            return Value(self.upstream_of(self.class_path) or "builtins", True)
        if function in ("getattr", "hasattr", "setattr") and isinstance(second, str):
            value = self.value_of(ast.copy_location(ast.Attribute(node.args[0], second, ast.Load()), node))
            self.visit_all(node.args[2:])
            return value
        first = getattr(node.args[0], "value", None) if node.args else None
        if function == "require" and isinstance(first, str) and self.uses.is_upstream(first):
            return Value(first)  # our own import of what is optional
        if isinstance(node.func, ast.Attribute) and node.func.attr in _SAME:
            made, use = self.value_of(node.func.value), None
        else:
            use, value = self.resolve(node.func)
            made = self.made_by(function, value, second)
            if value is not None and value.is_instance:
                self.record(use, "", node.func)
                use = f"{self.upstream_of(value.path)}.__call__"
        self.visit_all([*node.args, *node.keywords])
        self.record(use, call_shape(node), node)
        return made

    def made_by(self, function: str, value: Value | None, second: object) -> Value | None:
        """An instance, where what is called is a class or one of its `from_...` methods; or what `stands_for` says."""
        if value is None or value.is_instance:
            return OTHER if isinstance(getattr(builtins, function, None), type) else None
        head, _, name = value.path.rpartition(".")
        path = head if name.startswith("from_") else value.path
        key = f"{path}({second if second == 'w' else ''})"  # av.open(file, "w")
        if key in self.hand["stands_for"]:
            self.uses.hints.add(key)
            return Value(self.hand["stands_for"][key], True)
        if path.rpartition(".")[2].lstrip("_")[:1].isupper():
            return Value(path, True) if self.upstream_of(path) else OTHER
        found = None if self.uses.is_upstream(path) else self.ours.find(path)
        said = [node.returns for node in found.functions if node.returns is not None] if found else []
        returned = self.ours.meant(found.module, said[0]) if said else None
        if returned is not None and self.upstream_of(returned.path):
            return Value(returned.path, True)
        return OTHER if said else None

    def annotated(self, node: ast.AST | None) -> Value | None:
        """What a name of this annotation holds."""
        if isinstance(node, ast.BinOp):  # X | None
            return next(filter(None, [self.annotated(node.left), self.annotated(node.right)]), None)
        if node is None or (isinstance(node, ast.Constant) and node.value is None):
            return None
        value = self.value_of(node)
        if not isinstance(node, (ast.Name, ast.Attribute)) or value is None or not self.upstream_of(value.path):
            return None if ast.unparse(node) in ("Any", "object") else OTHER
        return Value(value.path, True)

    def visit_all(self, nodes: Iterable[ast.AST | None]) -> None:
        for node in filter(None, nodes):
            self.visit(node)
