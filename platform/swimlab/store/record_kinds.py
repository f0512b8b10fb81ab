"""The two kinds of records of a store, trials and evaluations: where they are, and their table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Generic, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from swimlab.store import listings
from swimlab.store.backends.base import Backend
from swimlab.store.errors import StoreError
from swimlab.store.evaluation_records import EvaluationRecord, read_evaluation
from swimlab.store.flat_rows import (
    EVALUATION_LEADING,
    EVALUATION_ROWS,
    TRIAL_LEADING,
    TRIAL_ROWS,
    evaluation_row,
    ordered,
    rows_table,
    stacked,
    trial_row,
)
from swimlab.store.paths import checked_trial_id
from swimlab.store.records import TrialRecord, read_record

Record = TypeVar("Record", TrialRecord, EvaluationRecord)


@dataclass(frozen=True)
class RecordKind(Generic[Record]):
    """A kind of record. `folder` has one file a record, named by its id, which is the record's field `key`; below
    recent/ are its `marks` and `snapshots`. A record is a `row` of the kind's table, whose first columns are `leading`;
    `version` is that of the rows."""

    folder: str
    marks: str
    snapshots: str
    key: str
    parse: Callable[[bytes], Record]
    row: Callable[[Record], dict[str, Any]]
    leading: tuple[str, ...]
    version: str

    def path(self, record_id: str) -> str:
        """Where the record is. Raises StoreError for an id that cannot be a file name."""
        return f"{self.folder}/{checked_trial_id(record_id)}.json"

    def ids(self, backend: Backend) -> set[str]:
        """The ids of all records, by one flat listing."""
        return {PurePosixPath(path).stem for path in listings.files(backend, self.folder)}

    def read(self, backend: Backend, record_ids: Iterable[str]) -> dict[str, Record]:
        """id → record, without a listing; missing ones are left out. Raises StoreError for a record that cannot be
        read, is damaged, or is not of the id that its file is named by."""
        contents = backend.read_many([self.path(record_id) for record_id in sorted(record_ids)])
        records = {}
        for path, data in contents.items():
            try:
                record = self.parse(data)
            except ValueError as error:
                raise StoreError(f"{backend.uri}/{path} {error}") from error
            if path != self.path(self.id_of(record)):
                raise StoreError(
                    f"{backend.uri}/{path} is the record of {self.id_of(record)}: it was copied or renamed; restore it "
                    "from a backup, or delete it to have it computed again"
                )
            records[self.id_of(record)] = record
        return records

    def id_of(self, record: Record) -> str:
        """The record's id."""
        record_id: str = getattr(record, self.key)
        return record_id

    def table(self, records: Iterable[Record]) -> pa.Table:
        """One row per record, sorted by id; the leading columns first, then the others by name."""
        rows = [self.row(record) for record in sorted(records, key=self.id_of)]
        return ordered(rows_table(rows, self.leading), self.leading)

    def joined(self, table: pa.Table, records: Sequence[Record], removed: Iterable[str] = ()) -> pa.Table:
        """Updates a table: adds these records, in place of rows of the same id, and drops the ids in `removed`. A
        column without values is kept."""
        if replaced := {self.id_of(record) for record in records} | set(removed):
            ids = pa.array(sorted(replaced), pa.string())
            table = table.filter(pc.invert(pc.is_in(table[self.key], value_set=ids)))
        if not records:
            return table
        return ordered(stacked(table, self.table(records)), self.leading).sort_by(self.key)


TRIALS = RecordKind(
    folder="records",
    marks="commits",
    snapshots="snapshots",
    key="trial_id",
    parse=read_record,
    row=trial_row,
    leading=TRIAL_LEADING,
    version=TRIAL_ROWS,
)
EVALUATIONS = RecordKind(
    folder="evaluations",
    marks="evaluation_commits",
    snapshots="evaluation_snapshots",
    key="evaluation_id",
    parse=read_evaluation,
    row=evaluation_row,
    leading=EVALUATION_LEADING,
    version=EVALUATION_ROWS,
)
