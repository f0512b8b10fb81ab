"""The source code that a recipe runs: its import closure inside `swim`, found statically, and its fingerprint.

No module is executed. Import statements are followed, also inside functions, but not the entries of a registry, so that
adding a loss file changes no trial id.
"""

import ast
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import swim
from swim.code_roots import SCHEMAS
from swimlab.base import remembered
from swimlab.identity import source_hash
from swimlab.identity.source_hash import SERIALISER_VERSION, is_type_checking, tree_hash

SOURCE_ROOT = Path(swim.__file__).resolve().parent.parent

_PACKAGE = "swim"
# Files in a package that no program reads.
_NOT_DATA_NAMES = frozenset({"py.typed", "README.md", "LICENSE"})
_NOT_DATA_SUFFIXES = (".py", ".pyc", ".pyi", "~")
_REMEMBERED = 4096  # some 40 states of the 90 modules there are


class IdentityError(Exception):
    """Recipe, code or data have no stable hash. The message names the cause and what to do."""


@dataclass(frozen=True)
class SourceFile:
    """A member of a closure as read: `path` relative to the root; `content_hash` of the syntax tree of a module,
    of the bytes of a data file."""

    path: str
    data: bytes
    content_hash: str

    @cached_property
    def data_hash(self) -> str:
        """Of the bytes as they are, comments and annotations included."""
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True)
class _Module:
    """A module and its imports inside `swim`: certain ones, and possible ones (in `from a import b`, b is the module
    a.b if that exists, else a name in a)."""

    file: SourceFile
    certain: tuple[str, ...]
    possible: tuple[str, ...]


class Sources:
    """A source tree read once: all trials that use this object are named by the same state of the files. Make a new
    object to see an edit.

    Walking the tree for each fingerprint took 3.6 of the 4.8 CPU seconds of a plan of two tables, and parsing it 0.5.
    `cache_dir` caches the result of parsing, by content.
    """

    def __init__(self, root: Path = SOURCE_ROOT, cache_dir: Path | None = None) -> None:
        self.root = root
        self._memory = cache_dir and cache_dir / f"parsed-sources-{_parser_version()}.json"
        self._known: dict[str, Any] = remembered.load(self._memory) if self._memory else {}
        self._modules: dict[str, _Module | None] = {}
        self._data_files: dict[str, tuple[SourceFile, ...]] = {}
        self._new: dict[str, Any] = {}

    def closure(self, roots: Iterable[str], *, schemas: bool = True) -> dict[str, SourceFile]:
        """Modules reached from `roots` (dotted names), each with its file; parents' `__init__` and packaged data files
        (keyed by their path) included. Without `schemas`, declarations of values are left out
        (`swim.code_roots.SCHEMAS`). Raises IdentityError for an import of a missing module."""
        files: dict[str, SourceFile] = {}
        waiting = [(name, "the recipe's entry modules") for name in roots]
        while waiting:
            name, importer = waiting.pop()
            if name in files or (name in SCHEMAS and not schemas):
                continue
            if (module := self._module(name)) is None:
                if self.root.joinpath(*name.split(".")).is_dir():
                    continue
                raise IdentityError(f"{importer} imports {name!r}, and {self.root} holds no such module")
            files[name] = module.file
            imported = [*_parents(name), *module.certain, *(m for m in module.possible if self._module(m))]
            waiting += [(other, name) for other in imported]
        for module_file in list(files.values()):
            folder, _, name = module_file.path.rpartition("/")
            if name == "__init__.py":
                files.update((file.path, file) for file in self._data_of(folder))
        return dict(sorted(files.items()))

    def module_hashes(self, roots: Iterable[str]) -> dict[str, str]:
        """`content_hash` of each member of the closure but the schemas, whose values ids hold instead."""
        return {name: file.content_hash for name, file in self.closure(roots, schemas=False).items()}

    def save(self) -> None:
        """Write newly parsed modules to the cache."""
        if self._memory and self._new:
            remembered.add(self._memory, self._new, most=_REMEMBERED)
            self._new = {}

    def _module(self, name: str) -> _Module | None:
        if name not in self._modules:
            self._modules[name] = self._read(name)
        return self._modules[name]

    def _read(self, name: str) -> _Module | None:
        base = self.root.joinpath(*name.split("."))
        for path in (base / "__init__.py", base.with_name(base.name + ".py")):
            if not path.is_file():
                continue
            data, relative = path.read_bytes(), path.relative_to(self.root).as_posix()
            try:
                content_hash, certain, possible = self._parse(data, relative)
            except (SyntaxError, UnicodeDecodeError) as error:
                raise IdentityError(f"{path} cannot be parsed: {error}; correct it first") from error
            return _Module(SourceFile(relative, data, content_hash), certain, possible)
        return None

    def _parse(self, data: bytes, relative: str) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
        if self._memory is None:
            return _parse_source(data, relative)
        key = _data_hash(data, relative)
        if (parsed := self._known.get(key)) is None:
            parsed = self._new[key] = self._known[key] = _parse_source(data, relative)
        content_hash, certain, possible = parsed
        return content_hash, tuple(certain), tuple(possible)

    def _data_of(self, package: str) -> tuple[SourceFile, ...]:
        if package not in self._data_files:
            read = ((path.relative_to(self.root).as_posix(), path.read_bytes()) for path in _data(self.root / package))
            self._data_files[package] = tuple(SourceFile(name, data, _data_hash(data, name)) for name, data in read)
        return self._data_files[package]


def fingerprint(hashes: dict[str, str]) -> str:
    """Hash of `module_hashes`, 20 hex digits."""
    content = json.dumps({"serialiser": SERIALISER_VERSION, "modules": hashes}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:20]


def content_hash(data: bytes, path: str) -> str:
    """The `content_hash` of a file. Raises SyntaxError for a module that cannot be parsed."""
    return _parse_source(data, path)[0] if path.endswith(".py") else _data_hash(data, path)


def module_of(path: str) -> str:
    """The dotted name of the module in a source file, `path` relative to the root."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _parser_version() -> str:
    """Hash of the parsing code: this file, the serialiser and the Python version."""
    source = b"".join(Path(file).read_bytes() for file in (__file__, source_hash.__file__))
    return hashlib.sha256(sys.version.encode() + source).hexdigest()[:12]


def _parents(name: str) -> Iterator[str]:
    parts = name.split(".")
    return (".".join(parts[:end]) for end in range(1, len(parts)))


def _data(package: Path) -> list[Path]:
    """Data files of a package that the program may read, also in its subfolders without code."""
    paths = []
    for path in sorted(package.iterdir()):
        if path.name.startswith((".", "__pycache__")):
            continue
        if path.is_dir():
            if not any(path.rglob("*.py")):
                paths += _data(path)
        elif path.name not in _NOT_DATA_NAMES and not path.name.endswith(_NOT_DATA_SUFFIXES):
            paths.append(path)
    return paths


def _data_hash(data: bytes, relative: str) -> str:
    return hashlib.sha256(relative.encode() + b"\n" + data).hexdigest()


# Cached by content, across `Sources`: the tables of a file and the trials of a session share most modules.
@lru_cache(maxsize=1024)
def _parse_source(data: bytes, path: str) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """The hash of a module's syntax tree, and its imports inside `swim`: see `_Module`."""
    name = module_of(path)
    package = name if path.endswith("/__init__.py") else name.rpartition(".")[0]
    # The bytes, not a text: a line like "# coding: utf-7" changes what Python reads.
    tree = ast.parse(data, filename=path)
    certain: set[str] = set()
    possible: set[str] = set()
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if is_type_checking(node):
            continue
        waiting += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            certain |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, package, path)
            certain.add(base)
            possible |= {f"{base}.{alias.name}" for alias in node.names}
    return (
        tree_hash(tree, path),
        tuple(sorted(filter(_in_package, certain))),
        tuple(sorted(filter(_in_package, possible))),
    )


def _absolute(node: ast.ImportFrom, package: str, path: str) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    if node.level > len(parts):
        raise IdentityError(f"{path} line {node.lineno}: a relative import leaves {_PACKAGE}")
    return ".".join([*parts[: len(parts) - node.level + 1], *([node.module] if node.module else [])])


def _in_package(module: str) -> bool:
    return module == _PACKAGE or module.startswith(_PACKAGE + ".")
