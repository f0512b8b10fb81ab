"""The ids of all committed records, for whoever deletes what no record names: a listing alone is not trusted, because
one that is short (a folder that is not mounted, a server that answers with an empty page) looks like deleted records.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from swimlab.store.backends.base import Backend
from swimlab.store.commit_marks import RecentListing
from swimlab.store.errors import StoreError
from swimlab.store.record_kinds import EVALUATIONS, TRIALS, RecordKind
from swimlab.store.snapshot import Snapshots, load_latest

_MOST_NAMED = 5


def committed_ids(backend: Backend) -> dict[RecordKind[Any], set[str]]:
    """The ids by kind. Raises StoreError, naming the records, when a snapshot or a mark knows records that the listing
    lacks."""
    recent, snapshots = load_latest(backend)
    return {kind: _checked(backend, kind, recent, snapshots) for kind in (TRIALS, EVALUATIONS)}


def _checked(backend: Backend, kind: RecordKind[Any], recent: RecentListing, snapshots: Snapshots) -> set[str]:
    in_snapshot = set(snapshots[kind].nonces) if kind in snapshots else set()
    listed = kind.ids(backend)
    unlisted = (in_snapshot | {record_id for record_id, _ in recent.marks(kind)}) - listed
    readable = set(kind.read(backend, unlisted))
    if readable:
        listed = kind.ids(backend)  # again: they may have been committed after the first listing
    if short := readable - listed:
        raise StoreError(
            f"the listing of {backend.uri}/{kind.folder} lacks {_named(short)}, which can be read there; nothing is "
            "deleted while listings are short: check the disk or the server, and try again"
        )
    if missing := in_snapshot - listed - readable:
        raise StoreError(
            f"{backend.uri}/{kind.folder} lacks {_named(missing)}, which recent/{kind.snapshots} knows; nothing is "
            "deleted while they disagree: check that the whole store is there. If these records were deleted on "
            "purpose, run their experiment again, or delete recent/, a cache, as well"
        )
    return listed


def _named(ids: Collection[str]) -> str:
    more = f" and {len(ids) - _MOST_NAMED} more" if len(ids) > _MOST_NAMED else ""
    return f"{', '.join(sorted(ids)[:_MOST_NAMED])}{more}"
