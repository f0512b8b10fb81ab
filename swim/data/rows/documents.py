"""Data sets that are one JSON value, or a folder that `datasets` saved, read as rows.

Some formats do not keep a row for a sample: COCO lists videos and masks apart, MeViS keeps expressions and masks in two
files. The file of such a format in `swim.data.formats` has a `Document`, which cuts the data set into rows that the
same file parses. They are read from local disk only.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from swim import registry
from swim.data.rows.unique_keys import repeated_key
from swim.data.types import DataError

# The value is held in memory, at some four times the size of the file.
MAX_DOCUMENT_BYTES = 2**31
_FORMATS = "swim.data.formats"
_HEAD_BYTES = 4096
_MAX_LINE_BYTES = 64 * 2**20  # of a row of JSON lines; see swim.data.rows.read.MAX_ROW_BYTES


class DocumentRows(Protocol):
    """The rows of a data set, by number."""

    def __len__(self) -> int: ...

    def between(self, first: int, end: int) -> Iterator[Any]:
        """The rows [first, end)."""


@dataclass(frozen=True)
class Document:
    """How a format reads a data set that is no file of rows. Each function is given the path, and the value of the JSON
    file (None for a folder). `owns` never raises; `rows` raises DataError; `files` are the other files and folders that
    the rows are read from."""

    owns: Callable[[Path, Any], bool]
    rows: Callable[[Path, Any], DocumentRows]
    files: Callable[[Path, Any], list[Path]] = lambda path, content: []


@dataclass(frozen=True)
class OpenDocument:
    """A data set and its rows. `files` as in `Document`, `stamps` are their times and sizes when it was opened;
    `size_bytes` is of the path itself."""

    rows: DocumentRows
    files: tuple[Path, ...]
    stamps: tuple[tuple[int, int], ...]
    size_bytes: int

    def numbered(self, first: int = 0, end: int | None = None) -> Iterator[tuple[int, Any]]:
        """(row number, row) of the rows [first, end)."""
        end = len(self.rows) if end is None else min(end, len(self.rows))
        return zip(range(first, end), self.rows.between(first, end), strict=True)


class ListedRows:
    """Rows in memory."""

    def __init__(self, rows: Sequence[Any]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def between(self, first: int, end: int) -> Iterator[Any]:
        """See `DocumentRows`."""
        return islice(self._rows, first, end)


def document_of(name: str) -> OpenDocument | None:
    """The data set that a path names; None for a file of rows, or one that does not exist. Raises DataError (field
    "file") for a data set that cannot be read."""
    path = Path(name)
    if "://" in name or not (path.is_dir() or (path.suffix == ".json" and path.is_file())):
        return None
    stat = path.stat()
    if path.is_file() and not _may_hold_one_object(path, stat.st_mtime_ns, stat.st_size):
        return None  # not into the cache: files that a document lists are asked for, too, and would replace it
    document = _open(name, stat.st_mtime_ns, stat.st_size)
    if document and document.stamps != _stamps(document.files):
        _open.cache_clear()
        document = _open(name, stat.st_mtime_ns, stat.st_size)
    return document


def read_json(path: Path) -> Any:
    """The value of a JSON file. Raises DataError (field "file") where it cannot be read, or has a key twice: the
    standard library would keep the last one without a word."""
    try:
        return _value(path)
    except OSError as error:
        hint = "it belongs to the data set: check the path and its permissions"
        raise DataError(f"cannot be read: {error.strerror}", field="file", hint=hint, file=str(path)) from error
    except (ValueError, RecursionError) as error:
        hint = "compare its size with the original's and copy it again"
        raise DataError(f"no valid JSON: {error}", field="file", hint=hint, file=str(path)) from error


@lru_cache(maxsize=1)
def _open(name: str, modified_ns: int, size: int) -> OpenDocument | None:
    path = Path(name)
    content = None
    if path.is_file():
        content = _one_object(path)
        if content is None:
            return None
    documents = [registry.load(_FORMATS, entry).document for entry in registry.names(_FORMATS)]  # type: ignore[attr-defined]
    owner: Document | None = next((d for d in documents if d is not None and d.owns(path, content)), None)
    if owner is None:
        return None
    parts = path.iterdir() if path.is_dir() else [path]
    size_bytes = sum(part.stat().st_size for part in parts if part.is_file())
    files = tuple(owner.files(path, content))
    stamps = _stamps(files)  # before their rows: a file that changes meanwhile is read again
    return OpenDocument(owner.rows(path, content), files, stamps, size_bytes)


def _stamps(files: Iterable[Path]) -> tuple[tuple[int, int], ...]:
    found = [file.stat() if file.exists() else None for file in files]
    return tuple((stat.st_mtime_ns, stat.st_size) if stat else (0, 0) for stat in found)


def _value(path: Path) -> Any:
    if (size := path.stat().st_size) > MAX_DOCUMENT_BYTES:
        hint = f"at most {MAX_DOCUMENT_BYTES} are read as one JSON value: split it into several files"
        raise DataError(f"one JSON value of {size} bytes", field="file", hint=hint, file=str(path))
    return json.loads(path.read_bytes(), object_pairs_hook=lambda pairs: _unique(pairs, path))


def _one_object(path: Path) -> Any:
    """The value of a file that begins as one JSON object; None for anything that is not JSON, whose place in the file
    `swim.data.rows.json_rows` tells."""
    try:
        return _value(path)
    except (OSError, ValueError, RecursionError):
        return None


def _may_hold_one_object(path: Path, modified_ns: int, size: int) -> bool:
    try:
        return _holds_one_object(path, modified_ns, size)
    except OSError:
        return False


# Asked at every part of a file, and of 94 MB in one line it takes 0.8 s.
@lru_cache(maxsize=64)
def _holds_one_object(path: Path, modified_ns: int, size: int) -> bool:
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES).removeprefix(codecs.BOM_UTF8)
        if not head.lstrip().startswith(b"{"):
            return False
        file.seek(0)
        line = next((line for line in iter(lambda: file.readline(_MAX_LINE_BYTES), b"") if line.strip()), b"")
        more = any(following.strip() for following in iter(lambda: file.readline(_MAX_LINE_BYTES), b""))
    if not more:
        return True
    try:
        json.loads(line.removeprefix(codecs.BOM_UTF8))
    except (ValueError, RecursionError):
        return True  # an object over several lines
    return False


def _unique(pairs: list[tuple[str, Any]], path: Path) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        twice = repeated_key(pairs)
        raise DataError(f"the key {twice!r:.100} twice", field="file", hint="keep one of the two", file=str(path))
    return value
