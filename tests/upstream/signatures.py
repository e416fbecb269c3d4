"""Signatures of what `sources` finds, and whether a call fits them."""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass

from .sources import Found, Sources


@dataclass(frozen=True)
class Signature:
    """The parameters of a function, without the object that it is bound to."""

    positional: tuple[str, ...]
    keyword_only: tuple[str, ...] = ()
    required: frozenset[str] = frozenset()
    any_positional: bool = False
    any_keyword: bool = False

    @property
    def names(self) -> set[str]:
        return {*self.positional, *self.keyword_only}


def signatures(sources: Sources, found: Found) -> list[Signature] | None:
    """Those that a call may fit, of a method without its `self`; None where nothing tells."""
    if found.value is not None:
        return _of_value(found.value)
    if found.is_class:
        return _of_class(sources, found)
    marks = {ast.unparse(mark) for node in found.functions for mark in node.decorator_list}
    if "property" in marks:
        return None
    bound = found.owner is not None and "staticmethod" not in marks
    return [_of_function(node, bound) for node in found.functions] or None


def _of_function(node: ast.FunctionDef, bound: bool) -> Signature:
    arguments = node.args
    positional = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args)]
    required = positional[bound : len(positional) - len(arguments.defaults)]
    alone = [argument.arg for argument in arguments.kwonlyargs]
    required += [name for name, default in zip(alone, arguments.kw_defaults) if default is None]
    any_positional, any_keyword = arguments.vararg is not None, arguments.kwarg is not None
    return Signature(tuple(positional[bound:]), tuple(alone), frozenset(required), any_positional, any_keyword)


def _of_class(sources: Sources, found: Found) -> list[Signature] | None:
    """That of `__init__` or `__new__`, or of a dataclass's fields."""
    fields: dict[str, bool] = {}
    any_keyword = False
    for node in filter(None, (base.statement for base in reversed(sources.mro(found)))):
        marks = " ".join(ast.unparse(mark) for mark in node.decorator_list)
        any_keyword = any_keyword or "accept_kwargs" in marks  # of huggingface_hub.dataclasses.strict
        if any(getattr(part, "name", "") == "__init__" for part in node.body):
            fields.clear()
        elif "dataclass" in marks or "strict" in marks:
            own = [part for part in node.body if isinstance(part, ast.AnnAssign)]
            fields.update({part.target.id: part.value is None for part in own})
    if fields:
        required = frozenset(name for name, is_required in fields.items() if is_required)
        return [Signature(tuple(fields), required=required, any_keyword=any_keyword)]
    for name in ("__init__", "__new__"):
        made = sources.member(found, name)
        if made is not None and made.value not in (object.__init__, object.__new__):
            return signatures(sources, made)
    return None


def _of_value(value: object) -> list[Signature] | None:
    try:
        parameters = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):
        return None
    kinds = {one.name: one.kind for one in parameters if one.name != "self"}
    by_position = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [
        Signature(
            tuple(name for name, kind in kinds.items() if kind in by_position),
            tuple(name for name, kind in kinds.items() if kind is inspect.Parameter.KEYWORD_ONLY),
            any_positional=inspect.Parameter.VAR_POSITIONAL in kinds.values(),
            any_keyword=inspect.Parameter.VAR_KEYWORD in kinds.values(),
        )
    ]


def words_around(sources: Sources, found: Found) -> set[str]:
    """The words of the modules of something that takes any keyword: it picks out those that it knows by their names."""
    words: set[str] = set()
    for one in sources.mro(found) if found.is_class else [found]:
        words |= one.module.words if one.module else set()
        words |= set().union(*(signature.names for signature in _of_value(one.value) or [])) if one.value else set()
    return words


def misfits(signature: Signature, shape: str) -> tuple[list[str], list[tuple[str, str]]]:
    """Why a call of that shape does not fit: the keywords that are not parameters; what else, and of which parameter.

    Args:
        shape: as `reader.shape_of` gives it, such as `(_, name=, **)`.
    """
    given = shape[1:-1].split(", ")
    positional, names = given.count("_"), [name[:-1] for name in given if name.endswith("=")]
    others = []
    if positional > len(signature.positional) and not signature.any_positional:
        others.append((f"takes {len(signature.positional)} positions, {positional} are given", ""))
    if "*" not in given and "**" not in given:
        lacking = signature.required - {*signature.positional[:positional], *names}
        others += [(f"asks for {name}", name) for name in sorted(lacking)]
    return [name for name in names if name not in signature.names], others


def refused(signature: Signature, shape: str) -> list[str]:
    """The parameters of an upstream method that the one of ours in its place does not take.

    Args:
        shape: as `reader.own_shape` gives it, such as `def (name, **)`.
    """
    takes = shape[len("def (") : -1].split(", ")
    names = [*signature.positional, *signature.keyword_only]
    return [] if "**" in takes else [name for name in names if name not in takes]
