"""Marks of commits that are newer than the latest snapshot of their kind of record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from swimlab.store import listings
from swimlab.store.backends.base import Backend
from swimlab.store.paths import checked_path
from swimlab.store.record_kinds import RecordKind


def mark(backend: Backend, kind: RecordKind[Any], record_id: str, nonce: str) -> str:
    """Create the mark of a record that is about to be committed, and return its path."""
    path = checked_path(mark_path(kind, record_id, nonce))
    backend.create(path, b"")
    return path


def mark_path(kind: RecordKind[Any], record_id: str, nonce: str) -> str:
    """The path of an attempt's mark."""
    return f"recent/{kind.marks}/{record_id}.{nonce}"


@dataclass(frozen=True)
class RecentListing:
    """One listing of recent/: (folder, file name) of each file."""

    files: tuple[tuple[str, str], ...]

    @classmethod
    def listed(cls, backend: Backend) -> RecentListing:
        """Raises StoreError when the store cannot be listed."""
        return cls(tuple((path.split("/")[1], path.split("/")[2]) for path in listings.files(backend, "recent")))

    def marks(self, kind: RecordKind[Any]) -> tuple[tuple[str, str], ...]:
        """(record id, nonce) of each mark."""
        parted = (name.partition(".") for folder, name in self.files if folder == kind.marks)
        return tuple((record_id, nonce) for record_id, _, nonce in parted)

    def snapshots(self, kind: RecordKind[Any]) -> tuple[int, ...]:
        """The numbers of the snapshots, lowest first."""
        names = (name for folder, name in self.files if folder == kind.snapshots)
        return tuple(sorted(int(name.removesuffix(".parquet")) for name in names))
