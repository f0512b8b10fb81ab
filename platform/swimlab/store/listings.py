"""Lists the store's own files. Other programs leave files in folders and buckets (.DS_Store, .nfs0001, ._t1.json,
"t1 (copy).json", Thumbs.db); they are no part of a store and are ignored here, for every reader alike."""

from __future__ import annotations

import re

from swimlab.store.backends.base import Backend
from swimlab.store.paths import ID, SEGMENT

# What may lie below the folders whose file names have a meaning; elsewhere every valid path is the store's own.
_NAMES = {
    "records": rf"{ID}\.json",
    "evaluations": rf"{ID}\.json",
    "attempts": rf"{ID}/[0-9]+/.+",
    "recent": rf"(evaluation_)?(commits/{ID}\..+|snapshots/[0-9]+\.parquet)",
    "rungs": rf"{ID}/{ID}/[0-9]+-[0-9]+\.json",
    "pruned": rf"({ID}/)+[0-9]+\.json",
    "protocols": r".+\.json",
    "plans": r".+\.json",
    "runs": r".+\.json",
    "code": r"[^/]+\.tar\.gz",
    "tables": r".+/[^/]+\.parquet",
}
_FOREIGN = ("Thumbs.db", "desktop.ini")  # of Windows; other foreign names are no valid paths
_PATTERNS = {folder: re.compile(pattern) for folder, pattern in _NAMES.items()}
_SEGMENTS = re.compile(rf"{SEGMENT}(/{SEGMENT})*")


def is_own(path: str) -> bool:
    """Whether the store may have written a file of this path."""
    folder, _, rest = path.partition("/")
    pattern = _PATTERNS.get(folder)
    if path.rpartition("/")[2] in _FOREIGN or not _SEGMENTS.fullmatch(path):
        return False
    return pattern is None or pattern.fullmatch(rest) is not None


def files(backend: Backend, folder: str) -> list[str]:
    """The store's files below a folder, sorted. Raises StoreError when the folder cannot be listed."""
    return [path for path in backend.files(folder) if is_own(path)]


def sizes(backend: Backend, folder: str) -> dict[str, int]:
    """Like `files`, with their sizes in bytes."""
    return {path: size_bytes for path, size_bytes in backend.sizes(folder).items() if is_own(path)}
