"""Marks of commits that are newer than the latest snapshot."""

from __future__ import annotations

from dataclasses import dataclass

from swimlab.store.backends.base import Backend
from swimlab.store.paths import checked_path


def mark(backend: Backend, trial_id: str, nonce: str) -> str:
    """Create the mark of a record that is about to be committed, and return its path."""
    path = checked_path(mark_path(trial_id, nonce))
    backend.create(path, b"")
    return path


def mark_path(trial_id: str, nonce: str) -> str:
    """The path of an attempt's mark."""
    return f"recent/commits/{trial_id}.{nonce}"


@dataclass(frozen=True)
class RecentListing:
    """One listing of recent/: (trial_id, nonce) of each mark, and the numbers of the snapshots."""

    marks: tuple[tuple[str, str], ...]
    snapshots: tuple[int, ...]

    @classmethod
    def listed(cls, backend: Backend) -> RecentListing:
        """Raises StoreError when the store cannot be listed."""
        names = [path.split("/")[1:] for path in backend.files("recent")]
        marks = [name.partition(".") for folder, name in names if folder == "commits"]
        numbers = [int(name.removesuffix(".parquet")) for folder, name in names if folder == "snapshots"]
        return cls(tuple((trial_id, nonce) for trial_id, _, nonce in marks), tuple(sorted(numbers)))
