"""A trial's record as one flat row, and rows of unequal keys as one Arrow table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from swimlab.store.records import Cost, TrialRecord

# The version of the rows in a snapshot. It contains the names of the costs: after a cost is added, older records are
# read again, and their rows get its default.
ROWS_VERSION = " ".join(("2", *sorted(Cost.model_fields)))
LEADING = (
    "trial_id", "recipe_name", "seed", "init_trial_id", "start_weights", "attempt", "nonce", "code_fingerprint",
    "data_fingerprint",
)  # fmt: skip


def trial_row(record: TrialRecord) -> dict[str, Any]:
    """One flat row. Recipe fields keep their dotted path; lists are written as JSON. A change of the columns
    needs a new ROWS_VERSION, after which snapshots are rebuilt."""
    recipe = {key: value for key, value in record.recipe.items() if key not in ("name", "seed", "init")}
    return {
        **{name: getattr(record, name) for name in LEADING},
        **_flat(recipe),
        **record.metrics,
        **_flat({"cost": record.cost.model_dump(), "numerics": record.provenance.numerics}),
        "finished_at": record.provenance.finished_at,
    }


def as_table(records: Iterable[TrialRecord]) -> pa.Table:
    """One row per record, sorted by trial_id; the columns of LEADING first, then the others by name."""
    rows = [trial_row(record) for record in sorted(records, key=lambda record: record.trial_id)]
    return _ordered(rows_table(rows, LEADING))


def joined(table: pa.Table, records: Sequence[TrialRecord], removed: Iterable[str] = ()) -> pa.Table:
    """Updates a table of `as_table`: adds these records, in place of rows of the same trials, and drops the trials in
    `removed`. A column without values is kept."""
    if replaced := {record.trial_id for record in records} | set(removed):
        ids = pa.array(sorted(replaced), pa.string())
        table = table.filter(pc.invert(pc.is_in(table["trial_id"], value_set=ids)))
    if not records:
        return table
    added = as_table(records)
    columns = {name: _stacked(name, table, added) for name in dict.fromkeys((*table.column_names, *added.column_names))}
    return _ordered(pa.table(columns)).sort_by("trial_id")


def rows_table(rows: Sequence[Mapping[str, Any]], names: Iterable[str] = ()) -> pa.Table:
    """Rows of unequal keys as one table: a missing value is null, int and float become float, other mixed types become
    text. The columns `names` are always present."""
    names = list(dict.fromkeys((*names, *(name for row in rows for name in row))))
    return pa.table({name: _column([row.get(name) for row in rows]) for name in names})


def _ordered(table: pa.Table) -> pa.Table:
    return table.select([*LEADING, *sorted(set(table.column_names) - set(LEADING))])


def _stacked(name: str, *tables: pa.Table) -> pa.ChunkedArray:
    """One column of several tables by the rules of `rows_table`."""
    parts = [table[name] if name in table.column_names else pa.nulls(table.num_rows) for table in tables]
    kinds = {part.type for part in parts if part.null_count < len(part)}
    if len(kinds) > 1 and not kinds <= {pa.int64(), pa.float64()}:
        return pa.chunked_array([_column([value for part in parts for value in part.to_pylist()])])
    kind = kinds.pop() if len(kinds) == 1 else pa.float64() if kinds else pa.string()
    return pa.chunked_array([chunk for part in parts for chunk in _chunks(part, kind)], kind)


def _chunks(part: pa.Array | pa.ChunkedArray, kind: pa.DataType) -> list[pa.Array]:
    if part.null_count == len(part):
        return [pa.nulls(len(part), kind)]
    cast = part.cast(kind)
    return list(cast.chunks) if isinstance(cast, pa.ChunkedArray) else [cast]


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            fields |= _flat(value, f"{prefix}{key}.")
        else:
            fields[prefix + key] = json.dumps(value) if isinstance(value, list) else value
    return fields


def _column(values: Sequence[Any]) -> pa.Array:
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    if len(kinds) > 1:
        return pa.array([None if value is None else str(value) for value in values], pa.string())
    return pa.array(values) if kinds else pa.array(values, pa.string())
