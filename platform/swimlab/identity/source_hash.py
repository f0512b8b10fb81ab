"""Serialises Python source to a text that changes only when the program changes.

An own serialiser, because `ast.dump` differs between Python versions (3.12 added type parameters, 3.13 omits empty
fields). Left out: positions, comments, string statements (docstrings), `pass`, annotations and the imports of
typing modules. A class keeps the names, order and defaults of its annotated fields, since they define a config.
"""

import ast
import hashlib
from functools import singledispatch
from typing import Any

SERIALISER_VERSION = 1

# Fields that say how the source was written, not what it does; type parameters are annotations.
_SILENT = frozenset({"ctx", "kind", "type_comment", "type_ignores", "type_params", "annotation", "returns"})
_ANNOTATION_MODULES = frozenset({"__future__", "typing", "typing_extensions", "collections.abc"})


def serialise(tree: ast.Module) -> str:
    """The canonical text of a parsed module. Raises TypeError for a constant no Python source can hold."""
    return f"syntax {SERIALISER_VERSION}\n{_body(tree.body, in_class=False)}"


def source_hash(source: str, path: str) -> str:
    """sha256 of a module's relative path and canonical text. Raises SyntaxError naming the path."""
    return tree_hash(ast.parse(source, filename=path), path)


def tree_hash(tree: ast.Module, path: str) -> str:
    """`source_hash` of a module that is already parsed."""
    return hashlib.sha256(f"{path}\n{serialise(tree)}".encode()).hexdigest()


def is_type_checking(node: ast.AST) -> bool:
    """`if TYPE_CHECKING:` without an else: it never runs."""
    if not isinstance(node, ast.If) or node.orelse:
        return False
    test = node.test
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def _body(statements: list[Any], *, in_class: bool) -> str:
    """A block of statements without effect-free ones, so that a lone docstring equals `pass`."""
    return "[" + " ".join(text for node in statements if (text := _statement(node, in_class=in_class))) + "]"


def _statement(node: ast.stmt, *, in_class: bool) -> str:
    if isinstance(node, ast.Pass) or is_type_checking(node):
        return ""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return ""
    if isinstance(node, ast.ImportFrom) and not node.level and node.module in _ANNOTATION_MODULES:
        renamed = [alias for alias in node.names if alias.asname]
        return _node(ast.ImportFrom(module=node.module, names=renamed, level=0)) if renamed else ""
    if isinstance(node, ast.AnnAssign):
        if in_class:
            default = f" default={_text(node.value)}" if node.value else ""
            return f"(Field target={_text(node.target)}{default})"
        return _node(ast.Assign(targets=[node.target], value=node.value)) if node.value else ""
    if type(node).__name__ == "TypeAlias":
        return ""
    return _node(node)


def _node(node: ast.AST) -> str:
    parts = [type(node).__name__]
    for name, value in sorted(ast.iter_fields(node)):
        if name in _SILENT or (value is None and not isinstance(node, ast.Constant)) or value == []:
            continue
        if isinstance(value, list) and isinstance(value[0], ast.stmt):
            text = _body(value, in_class=isinstance(node, ast.ClassDef))
            if text == "[]":
                continue
        else:
            text = _text(value)
        parts.append(f"{name}={text}")
    return f"({' '.join(parts)})"


@singledispatch
def _text(value: Any) -> str:
    raise TypeError(f"a syntax tree holds {value!r} of type {type(value).__name__}, which has no canonical text")


@_text.register
def _(value: ast.AST) -> str:
    return _node(value)


@_text.register
def _(value: list) -> str:  # type: ignore[type-arg]
    # A missing dictionary key (`{**more}`) and a missing keyword default are None entries of their lists.
    return "[" + " ".join("-" if item is None else _text(item) for item in value) + "]"


@_text.register
def _(value: tuple) -> str:  # type: ignore[type-arg]
    return "t[" + " ".join(_text(item) for item in value) + "]"


@_text.register
def _(value: str) -> str:
    # ascii(): repr() depends on which characters this Python's Unicode tables call printable.
    return "s" + ascii(value)


@_text.register
def _(value: bytes) -> str:
    return "b" + value.hex()


@_text.register(int)
@_text.register(float)
@_text.register(complex)
@_text.register(type(None))
@_text.register(type(...))
def _(value: Any) -> str:
    return f"{type(value).__name__}:{value!r}"
