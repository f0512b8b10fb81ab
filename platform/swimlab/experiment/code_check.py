"""Checks before any training that the code of a plan can be imported and that every name in it is defined.

The fingerprint of a loss file does not show that its imports are missing. Without this check the NameError came from
the first arm that uses the file, after the base had trained.
"""

from __future__ import annotations

import ast
import builtins
import dis
import hashlib
import importlib
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import CodeType

from swim.code_roots import code_roots, suite_roots
from swim.recipe import Recipe
from swimlab.base import remembered
from swimlab.base.nearest import nearest
from swimlab.identity.source_closure import SourceFile, Sources
from swimlab.store import provenance

_REMEMBERED = 1024
# What Python puts into every module.
_BUILTIN = frozenset({*dir(builtins), "__file__", "__path__", "__builtins__", "__annotations__", "__cached__"})


class CodeError(Exception):
    """Code of `swim` that cannot run. The message says in which file and line, and what to do."""


def check(recipes: Iterable[Recipe], sources: Sources, cache_dir: Path) -> None:
    """Reads, then imports, every entry module of the recipes and of their bases. Raises CodeError.

    Code that passed is remembered, by the bytes of everything it imports (a fingerprint leaves out annotations, which
    an import evaluates) and by versions: importing torch takes seconds, which a plan of checked code saves.
    """
    memory = cache_dir / "checked-code.json"
    checked, versions = remembered.load(memory), provenance.versions()
    names = {_name(root, sources, versions): root for root in _roots(recipes)}
    if not (new := {name: root for name, root in names.items() if name not in checked}):
        return
    closure = sources.closure(new.values())
    files = [file for file in closure.values() if file.path.endswith(".py")]
    for file in files:
        _check_names(file, files)
    for root in new.values():
        _check_export(root.rpartition(".")[0], closure[root], closure)
    for root in new.values():
        _import(root, closure[root], sources)
    remembered.add(memory, new, most=_REMEMBERED)


@dataclass(frozen=True)
class GlobalNames:
    """Global names of a module: those it defines, and those it reads, each with its first line. `open`: it has a
    star import, which may define more names."""

    defined: frozenset[str]
    reads: dict[str, int]
    open: bool

    @property
    def undefined(self) -> dict[str, int]:
        """Names that are read and that neither the module nor Python defines."""
        return {} if self.open else {n: line for n, line in self.reads.items() if n not in self.defined | _BUILTIN}


def names_of(file: SourceFile) -> GlobalNames:
    """The names of a file, from its compiled code; nothing is executed."""
    module = compile(file.data, file.path, "exec", dont_inherit=True)
    defined, reads, is_open = set[str](), dict[str, int](), False
    for code in _codes(module):
        # A class body has names of its own, which its functions do not see.
        instructions = list(dis.get_instructions(code))
        class_names = {i.argval for i in instructions if i.opname == "STORE_NAME"} if code is not module else ()
        for instruction in instructions:
            name, opcode = instruction.argval, instruction.opname
            is_open |= "IMPORT_STAR" in opcode or "IMPORT_STAR" in instruction.argrepr  # Python 3.11, 3.12
            if opcode == "STORE_GLOBAL" or (code is module and opcode == "STORE_NAME"):
                defined.add(name)
            elif opcode in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS") and name not in class_names:
                line = (instruction.positions and instruction.positions.lineno) or 0
                reads[name] = min(line, reads.get(name, line))
    return GlobalNames(frozenset(defined), dict(sorted(reads.items(), key=lambda read: read[1])), is_open)


def _roots(recipes: Iterable[Recipe]) -> list[str]:
    roots: set[str] = set()
    for recipe in recipes:
        at: Recipe | None = recipe
        while at is not None:
            roots |= {*code_roots(at), *(root for suite in at.evaluation for root in suite_roots(at, suite))}
            at = at.init
    return sorted(roots)


def _name(root: str, sources: Sources, versions: dict[str, str]) -> str:
    files = sources.closure([root]).values()
    parts = [root, *(f"{file.path} {file.data_hash}" for file in files), *map(str, versions.items())]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _check_names(file: SourceFile, files: Iterable[SourceFile]) -> None:
    if not (undefined := names_of(file).undefined):
        return
    places = ", ".join(f"{name!r} (line {line})" for name, line in undefined.items())
    imports = [statement for name in undefined if (statement := next(_imports_of(name, files), ""))]
    hint = f"; other files say: {'; '.join(imports)}" if imports else ""
    raise CodeError(f"{file.path} reads {places}, which nothing in it defines: import or define what is missing{hint}")


def _check_export(package: str, file: SourceFile, closure: Mapping[str, SourceFile]) -> None:
    """A registry's entry must define what its package states in `EXPORT`."""
    body, names = ast.parse(closure[package].data).body, names_of(file)
    exports = [
        ast.literal_eval(n.value) for n in body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "EXPORT"
    ]
    if exports and exports[0] not in names.defined and not names.open:
        near = nearest(exports[0], (name for name in names.defined if not name.startswith("_")))
        raise CodeError(f"{file.path} defines no {exports[0]!r}, as every file of {package} must{near}; rename it")


def _imports_of(name: str, files: Iterable[SourceFile]) -> Iterator[str]:
    """How other files import a name."""
    for file in files:
        for node in ast.parse(file.data).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                for alias in node.names:
                    if name == (alias.asname or alias.name):
                        yield ast.unparse(_alone(node, alias))


def _alone(node: ast.Import | ast.ImportFrom, alias: ast.alias) -> ast.stmt:
    if isinstance(node, ast.Import):
        return ast.Import([alias])
    return ast.ImportFrom(node.module, [alias], node.level)


def _import(root: str, file: SourceFile, sources: Sources) -> None:
    try:
        importlib.import_module(root)
    except Exception as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(f"{sources.root}/")]
        at = f"{Path(frames[-1].filename).relative_to(sources.root)} line {frames[-1].lineno}" if frames else file.path
        raise CodeError(f"{at} cannot be imported: {type(error).__name__}: {error}; correct it first") from error
