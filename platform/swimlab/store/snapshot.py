"""All committed trials as one table, read in three requests: the snapshots of trials and of evaluations, and what is
newer.

    recent/commits/<trial_id>.<nonce>    created before the record, removed once a snapshot has its row
    recent/snapshots/<number>.parquet    the rows of all records at one time; create-only, built from the previous one
    recent/evaluation_commits/<evaluation_id>.<nonce>, recent/evaluation_snapshots/<number>.parquet    likewise

The mark is created first, so that readers miss no record even if the driver is killed in between; a mark without a
record is ignored. Snapshots are numbered: when two drivers compact at once, the create-only write of one fails, and it
starts again from the other's snapshot. All of this is a cache: without it every record is read. Trials and evaluations
are joined by the reader, because an evaluation may come long after the trial's row was written.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic

import pyarrow as pa

from swimlab.store.arrow_tables import DamagedTableError, read_parquet, to_parquet
from swimlab.store.backends.base import Backend
from swimlab.store.commit_marks import RecentListing, mark_path
from swimlab.store.errors import StoreError
from swimlab.store.evaluation_columns import with_evaluations
from swimlab.store.record_kinds import EVALUATIONS, TRIALS, Record, RecordKind

if TYPE_CHECKING:
    from swimlab.store.sweep_store import SweepStore

_TRIES = 5
_VERSION = "swimlab.store.flat_rows"
_log = logging.getLogger(__name__)


def leaderboard(store: SweepStore) -> pa.Table:
    """One row a committed trial, sorted by trial_id, with the columns of tables/trials: those of `flat_rows.trial_row`,
    and for each suite the metrics of the trial's newest evaluation (`evaluation_columns.with_evaluations`).

    On S3: one listing per 1,000 commits since the last compaction, one read of each of two snapshots, both at once, and
    one read of each record that they lack. A record deleted by hand disappears with the next compaction. Raises
    StoreError for a record that cannot be read.
    """
    return LeaderboardReader(store).table()


class LeaderboardReader:
    """Reads the leaderboard repeatedly; each time only what is new is fetched."""

    def __init__(self, store: SweepStore) -> None:
        self._backend = store.backend
        self._snapshots: dict[RecordKind[Any], Snapshot[Any]] = {}
        self._newer: dict[RecordKind[Any], dict[str, Any]] = {TRIALS: {}, EVALUATIONS: {}}
        self._table: tuple[Any, pa.Table] | None = None

    def table(self) -> pa.Table:
        """See `leaderboard`. The same object as before when no record was added or removed."""
        recent, self._snapshots = load_latest(self._backend, self._snapshots)
        for kind in self._newer:
            self._newer[kind] = self._read_newer(kind, recent)
        content = [
            (kind in self._snapshots and self._snapshots[kind].number, {i: record.nonce for i, record in newer.items()})
            for kind, newer in self._newer.items()
        ]
        if self._table is None or self._table[0] != content:
            self._table = content, with_evaluations(self.rows(TRIALS), self.rows(EVALUATIONS))
        return self._table[1]

    def _read_newer(self, kind: RecordKind[Record], recent: RecentListing) -> dict[str, Record]:
        """The records that the snapshot lacks."""
        held, marks = self._newer[kind], recent.marks(kind)
        snapshot = self._snapshots.get(kind)
        if snapshot is None:
            newer = kind.ids(self._backend)
            changed = {record_id for record_id, nonce in marks if record_id in held and held[record_id].nonce != nonce}
            unread = (newer - set(held)) | (newer & changed)
        else:
            nonces = snapshot.nonces if marks else {}
            lacking = [mark for mark in marks if nonces.get(mark[0]) != mark[1]]
            newer = {record_id for record_id, _ in lacking}
            unread = {i for i, nonce in lacking if i not in held or held[i].nonce != nonce}
        held = held | kind.read(self._backend, unread)
        return {record_id: held[record_id] for record_id in newer if record_id in held}

    def rows(self, kind: RecordKind[Any]) -> pa.Table:
        """The table of one kind of records, as of the last call of `table`."""
        newer = self._newer[kind].values()
        return self._snapshots[kind].updated(newer) if kind in self._snapshots else kind.table(newer)


@dataclass(frozen=True)
class Snapshot(Generic[Record]):
    """The rows of a snapshot and its number."""

    kind: RecordKind[Record]
    number: int
    table: pa.Table

    @property
    def nonces(self) -> dict[str, str]:
        """Record id → nonce of the record that was read."""
        return dict(zip(self.table[self.kind.key].to_pylist(), self.table["nonce"].to_pylist(), strict=True))

    def updated(self, records: Iterable[Record], removed: Iterable[str] = ()) -> pa.Table:
        """The table with these records' rows in place of older ones, and without the ids in `removed`."""
        return self.kind.joined(self.table, list(records), removed)


Snapshots = dict[RecordKind[Any], Snapshot[Any]]


def load_latest(
    backend: Backend, held: Mapping[RecordKind[Any], Snapshot[Any]] | None = None
) -> tuple[RecentListing, Snapshots]:
    """The listing of recent/ and the newest snapshot of each kind, none of a kind where this code can read none. Those
    that are `held` are not read again."""
    for _ in range(_TRIES):
        # The listing comes first: a mark removed later belongs to a row that the snapshot has.
        recent = RecentListing.listed(backend)
        numbers = {kind: max(recent.snapshots(kind), default=None) for kind in (TRIALS, EVALUATIONS)}
        snapshots = {kind: s for kind, s in (held or {}).items() if s.number == numbers[kind]}
        paths = {kind: snapshot_path(kind, n) for kind, n in numbers.items() if n is not None and kind not in snapshots}
        contents = backend.read_many(list(paths.values()))
        if len(contents) < len(paths):  # two compactions since the listing
            continue
        for kind, path in paths.items():
            number, table = numbers[kind], _from_bytes(kind, f"{backend.uri}/{path}", contents[path])
            if number is not None and table is not None:
                snapshots[kind] = Snapshot(kind, number, table)
        return recent, snapshots
    raise StoreError(f"{backend.uri}/recent changes faster than it can be read; try again")


def snapshot_path(kind: RecordKind[Any], number: int) -> str:
    """The path of a snapshot."""
    return f"recent/{kind.snapshots}/{number:08d}.parquet"


def compact(
    backend: Backend, kind: RecordKind[Record], prepare: Callable[[Mapping[str, Record]], None]
) -> Snapshot[Record]:
    """Bring the snapshot of a kind up to date with its records and remove the marks of its rows. Returns it.

    `prepare(records)` is called before a snapshot is written, with the records that are new since the last one. Records
    that the last snapshot has are not read again, unless the listing lacks them. Raises StoreError when the records
    cannot be listed or read.
    """
    while True:
        recent, snapshots = load_latest(backend)
        last: Snapshot[Record] | None = snapshots.get(kind)
        # Listed after the snapshot was read: a record of the snapshot that is missing here was deleted, or the listing
        # is short.
        present = kind.ids(backend)
        last_nonces = last.nonces if last else {}
        marks = recent.marks(kind)
        changed = {record_id for record_id, nonce in marks if last_nonces.get(record_id) != nonce}
        # One by one: a listing that is short must not make a record disappear.
        unlisted = set(last_nonces) - present
        records = kind.read(backend, (present - set(last_nonces)) | changed | unlisted)
        new = {record_id: record for record_id, record in records.items() if record.nonce != last_nonces.get(record_id)}
        removed = unlisted - set(records)
        prepare(new)
        if last is None or new or removed:
            table = last.updated(new.values(), removed) if last else kind.table(new.values())
            numbers = recent.snapshots(kind)
            number = max(numbers, default=0) + 1
            if not backend.create(snapshot_path(kind, number), to_bytes(kind, table)):
                continue  # another driver was first: go on from its snapshot
            last = Snapshot(kind, number, table)
            # The previous one is kept for readers that have listed it but not read it yet.
            backend.delete_many([snapshot_path(kind, older) for older in numbers[:-1]])
        nonces = last.nonces
        backend.delete_many([mark_path(kind, *mark) for mark in marks if nonces.get(mark[0]) == mark[1]])
        return last


def to_bytes(kind: RecordKind[Any], table: pa.Table) -> bytes:
    """A snapshot as Parquet, with the version of its rows in the metadata."""
    return to_parquet(table, {_VERSION: _version(kind)})


def _from_bytes(kind: RecordKind[Any], source: str, data: bytes) -> pa.Table | None:
    """None for a file that is damaged or of another version of the rows, since it is only a cache."""
    try:
        table, metadata = read_parquet(data)
    except DamagedTableError as error:
        _log.warning("%s is damaged (%s): every record is read, and the next run writes a new one", source, error)
        return None
    return table if metadata.get(_VERSION) == _version(kind) else None


def _version(kind: RecordKind[Any]) -> str:
    return f"{kind.folder} {kind.version}"
