"""All committed trials as one table, read in two or three requests: a snapshot and the records since.

    recent/commits/<trial_id>.<nonce>    created before the record, removed once a snapshot has its row
    recent/snapshots/<number>.parquet    the rows of all records at one time; create-only, built from the previous one

The mark is created first, so that readers miss no record even if the driver is killed in between; a mark without a
record is ignored. Snapshots are numbered: when two drivers compact at once, the create-only write of one fails, and it
starts again from the other's snapshot. All of this is a cache: without it every record is read.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from swimlab.store.backends.base import Backend
from swimlab.store.commit_marks import RecentListing, mark_path
from swimlab.store.errors import StoreError
from swimlab.store.flat_rows import ROWS_VERSION, as_table, joined
from swimlab.store.records import TrialRecord

if TYPE_CHECKING:
    from swimlab.store.sweep_store import SweepStore

_VERSION = {b"swimlab.store.flat_rows": ROWS_VERSION.encode()}
_TRIES = 5

Prepare = Callable[[Mapping[str, TrialRecord], set[str]], None]


def leaderboard(store: SweepStore) -> pa.Table:
    """One row a committed trial, sorted by trial_id, with the columns of tables/trials (`flat_rows.trial_row`).

    On S3: one listing per 1,000 commits since the last compaction, one read of the snapshot, one read of each record
    that it lacks. A record deleted by hand disappears with the next compaction. Raises StoreError for a record
    that cannot be read.
    """
    recent, rows = load_latest(store.backend)
    if rows is None:
        return as_table(store.records().values())
    nonces = rows.nonces if recent.marks else {}
    newer = {trial_id for trial_id, nonce in recent.marks if nonces.get(trial_id) != nonce}
    return rows.updated(store.read_records(newer).values())


@dataclass(frozen=True)
class Snapshot:
    """The rows of a snapshot and its number."""

    number: int
    table: pa.Table

    @property
    def nonces(self) -> dict[str, str]:
        """trial_id → nonce of the record that was read."""
        return dict(zip(self.table["trial_id"].to_pylist(), self.table["nonce"].to_pylist(), strict=True))

    def updated(self, records: Iterable[TrialRecord], removed: Iterable[str] = ()) -> pa.Table:
        """The table with these records' rows in place of older ones, and without the trials in `removed`."""
        return joined(self.table, list(records), removed)


def load_latest(backend: Backend) -> tuple[RecentListing, Snapshot | None]:
    """The listing of recent/ and the newest snapshot, None when this code can read none."""
    for _ in range(_TRIES):
        # The listing comes first: a mark removed later belongs to a row that the snapshot has.
        recent = RecentListing.listed(backend)
        if not recent.snapshots:
            return recent, None
        try:
            table = _from_bytes(backend.read(snapshot_path(recent.snapshots[-1])))
        except FileNotFoundError:  # two compactions since the listing
            continue
        return recent, None if table is None else Snapshot(recent.snapshots[-1], table)
    raise StoreError(f"{backend.uri}/recent changes faster than it can be read; try again")


def snapshot_path(number: int) -> str:
    """The path of a snapshot."""
    return f"recent/snapshots/{number:08d}.parquet"


def compact(store: SweepStore, prepare: Prepare) -> Snapshot:
    """Bring the snapshot up to date with records/ and remove the marks of its rows. Returns it.

    `prepare(records, present)` is called before a snapshot is written, with the records that are new since the last
    one and the ids of all. Records that the last snapshot has are not read again.
    """
    backend = store.backend
    while True:
        recent, last = load_latest(backend)
        # Listed after the snapshot was read: a trial of the snapshot that is missing here was deleted.
        present = store.trial_ids()
        last_nonces = last.nonces if last else {}
        replaced = {trial_id for trial_id, nonce in recent.marks if last_nonces.get(trial_id, nonce) != nonce}
        records = store.read_records((present - set(last_nonces)) | (present & replaced))
        new = {trial_id: record for trial_id, record in records.items() if record.nonce != last_nonces.get(trial_id)}
        removed = set(last_nonces) - present
        prepare(new, present)
        if last is None or new or removed:
            table = last.updated(new.values(), removed) if last else as_table(new.values())
            number = max(recent.snapshots, default=0) + 1
            if not backend.create(snapshot_path(number), to_bytes(table)):
                continue  # another driver was first: go on from its snapshot
            last = Snapshot(number, table)
            # The previous one is kept for readers that have listed it but not read it yet.
            backend.delete_many([snapshot_path(older) for older in recent.snapshots[:-1]])
        nonces = last.nonces
        backend.delete_many([mark_path(*mark) for mark in recent.marks if nonces.get(mark[0]) == mark[1]])
        return last


def to_bytes(table: pa.Table) -> bytes:
    """A snapshot as Parquet, with the version of its rows in the metadata."""
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(_VERSION), buffer, compression="zstd")
    return buffer.getvalue()


def _from_bytes(data: bytes) -> pa.Table | None:
    """None for a file that is damaged or of another version of the rows, since it is only a cache."""
    try:
        table = pq.read_table(io.BytesIO(data))
    except pa.ArrowException:
        return None
    return table.replace_schema_metadata(None) if (table.schema.metadata or {}) == _VERSION else None
