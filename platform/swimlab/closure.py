"""Which source a recipe runs: the import closure inside `swim`, read statically, and its fingerprint.

Nothing is imported or executed. Only import statements are followed (those inside functions too), never a registry's
folder, so that adding a loss file leaves every trial as it is.
"""

import ast
import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import swim
from swimlab.syntax import SERIALISER_VERSION, is_type_checking, source_hash

SOURCE_ROOT = Path(swim.__file__).resolve().parent.parent

_PACKAGE = "swim"
# Files that sit in a package and never reach a program that runs.
_NOT_DATA_NAMES = frozenset({"py.typed", "README.md", "LICENSE"})
_NOT_DATA_SUFFIXES = (".py", ".pyc", ".pyi", "~")


class IdentityError(Exception):
    """A result could not be named stably. Says what stands in the way and what to do."""


def closure(roots: Iterable[str], source_root: Path = SOURCE_ROOT) -> dict[str, Path]:
    """Modules reached from `roots` (dotted names), each with its file; parents' `__init__` and packaged data files
    (keyed by their path relative to `source_root`) included. Raises IdentityError for an import that leads nowhere."""
    found: dict[str, Path] = {}
    waiting = [(name, "the recipe's entry modules") for name in roots]
    while waiting:
        name, importer = waiting.pop()
        if name in found:
            continue
        if (path := _module_file(name, source_root)) is None:
            if (source_root / name.replace(".", "/")).is_dir():
                continue
            raise IdentityError(f"{importer} imports {name!r}, and {source_root} holds no such module")
        found[name] = path
        waiting += [(parent, name) for parent in _parents(name)]
        certain, possible = _imports(path.read_bytes(), str(path), name, path.name == "__init__.py")
        waiting += [(module, name) for module in certain]
        waiting += [(module, name) for module in possible if _module_file(module, source_root)]
    for package in [path.parent for path in found.values() if path.name == "__init__.py"]:
        found.update((path.relative_to(source_root).as_posix(), path) for path in _data_files(package))
    return dict(sorted(found.items()))


def module_hashes(roots: Iterable[str], source_root: Path = SOURCE_ROOT) -> dict[str, str]:
    """sha256 of each member of the closure: of the syntax tree of a module, of the bytes of a data file."""
    return {
        name: _content_hash(path.read_bytes(), path.relative_to(source_root).as_posix(), path.suffix == ".py")
        for name, path in closure(roots, source_root).items()
    }


def fingerprint(hashes: dict[str, str]) -> str:
    """One name, 20 hex digits, for the source that `module_hashes` describes."""
    content = json.dumps({"serialiser": SERIALISER_VERSION, "modules": hashes}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:20]


def archive(roots: Iterable[str], source_root: Path = SOURCE_ROOT) -> bytes:
    """The closure's files as a tar.gz whose bytes depend on names and contents only."""
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", filename="", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for path in sorted(closure(roots, source_root).values()):
            data = path.read_bytes()
            # A fresh TarInfo has no owner, no time and mode 0644.
            info = tarfile.TarInfo(path.relative_to(source_root).as_posix())
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def archived_hashes(packed: bytes) -> dict[str, str]:
    """`module_hashes` of the files in an `archive`, read without unpacking them to disk. Raises IdentityError for what
    is no such archive."""
    hashes = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as tar:
            for info in tar:
                if (file := tar.extractfile(info)) is not None:
                    is_source = info.name.endswith(".py")
                    name = info.name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
                    hashes[name if is_source else info.name] = _content_hash(file.read(), info.name, is_source)
    except (tarfile.TarError, OSError, EOFError, SyntaxError, UnicodeDecodeError) as error:
        raise IdentityError(f"no archive of sources: {error}") from error
    return dict(sorted(hashes.items()))


def _module_file(name: str, source_root: Path) -> Path | None:
    base = source_root.joinpath(*name.split("."))
    for path in (base / "__init__.py", base.with_name(base.name + ".py")):
        if path.is_file():
            return path
    return None


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


def _data_files(package: Path) -> list[Path]:
    """Files of a package's folder, and of folders below it that hold no code, that the program may read."""
    found = []
    for path in sorted(package.iterdir()):
        if path.name.startswith((".", "__pycache__")):
            continue
        if path.is_dir():
            if not any(path.rglob("*.py")):
                found += _data_files(path)
        elif path.name not in _NOT_DATA_NAMES and not path.name.endswith(_NOT_DATA_SUFFIXES):
            found.append(path)
    return found


# Cached by content: a plan asks for the same forty modules once per trial, and parsing them takes 0.1 s.
@lru_cache(maxsize=1024)
def _content_hash(data: bytes, relative: str, is_source: bool) -> str:
    if is_source:
        return source_hash(data.decode("utf-8"), relative)
    return hashlib.sha256(relative.encode() + b"\n" + data).hexdigest()


@lru_cache(maxsize=1024)
def _imports(data: bytes, path: str, name: str, is_package: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Modules of our package that import statements name: certainly, and possibly (`from a import b` means the module
    a.b where there is one, else a name inside a)."""
    package = name if is_package else name.rpartition(".")[0]
    certain: set[str] = set()
    possible: set[str] = set()
    waiting: list[ast.AST] = [_parsed(data, path)]
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
    return tuple(sorted(filter(_ours, certain))), tuple(sorted(filter(_ours, possible)))


def _absolute(node: ast.ImportFrom, package: str, path: str) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    if node.level > len(parts):
        raise IdentityError(f"{path} line {node.lineno}: a relative import climbs out of {_PACKAGE}")
    return ".".join([*parts[: len(parts) - node.level + 1], *([node.module] if node.module else [])])


def _ours(module: str) -> bool:
    return module == _PACKAGE or module.startswith(_PACKAGE + ".")


def _parsed(data: bytes, path: str) -> ast.Module:
    try:
        return ast.parse(data.decode("utf-8"), filename=path)
    except (SyntaxError, UnicodeDecodeError) as error:
        raise IdentityError(f"{path} cannot be parsed: {error}; correct it first") from error
