"""A trial's record as one flat row, and rows of unequal keys as one Arrow table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from swimlab.store.records import Cost, TrialRecord

# Which rows a snapshot holds. A cost that older records lack has its default in their rows, too, once they are read
# again: hence the names of the costs.
ROWS_VERSION = " ".join(("2", *sorted(Cost.model_fields)))
LEADING = (
    "trial_id", "recipe_name", "seed", "init_trial_id", "start_weights", "attempt", "nonce", "code_fingerprint",
    "data_fingerprint",
)  # fmt: skip


def trial_row(record: TrialRecord) -> dict[str, Any]:
    """One flat row. Recipe fields keep their dotted path; lists are written as JSON. Whoever changes what a row holds
    raises ROWS_VERSION, and snapshots are written anew."""
    recipe = {key: value for key, value in record.recipe.items() if key not in ("name", "seed", "init")}
    return {
        **{name: getattr(record, name) for name in LEADING},
        **_flat(recipe),
        **record.metrics,
        **_flat({"cost": record.cost.model_dump(), "numerics": record.provenance.numerics}),
        "finished_at": record.provenance.finished_at,
    }


def as_table(records: Iterable[TrialRecord]) -> pa.Table:
    """A row each, sorted by trial_id: ids first, then the other columns by name."""
    rows = [trial_row(record) for record in sorted(records, key=lambda record: record.trial_id)]
    return _ordered(rows_table(rows, LEADING))


def joined(table: pa.Table, records: Sequence[TrialRecord], removed: Iterable[str] = ()) -> pa.Table:
    """What `as_table` makes of all records, from its table of the old ones: without the trials in `removed`, and
    with these records in place of older ones. A column that only they had stays, empty."""
    if replaced := {record.trial_id for record in records} | set(removed):
        ids = pa.array(sorted(replaced), pa.string())
        table = table.filter(pc.invert(pc.is_in(table["trial_id"], value_set=ids)))
    if not records:
        return table
    added = as_table(records)
    columns = {name: _stacked(name, table, added) for name in dict.fromkeys((*table.column_names, *added.column_names))}
    return _ordered(pa.table(columns)).sort_by("trial_id")


def rows_table(rows: Sequence[Mapping[str, Any]], names: Iterable[str] = ()) -> pa.Table:
    """Rows of unequal keys as one table: missing is null, int beside float is float, any other mixture is text. It has
    the columns `names` even without a row."""
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
