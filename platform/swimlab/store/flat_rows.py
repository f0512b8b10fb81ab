"""Records as flat rows, and rows of unequal keys as one Arrow table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from swimlab.store.evaluation_records import EvaluationRecord, TrialResult
from swimlab.store.records import Cost, TrialRecord

# Versions of the rows in a snapshot. That of trials contains the names of the costs: after a cost is added, older
# records are read again, and their rows get its default.
TRIAL_ROWS = " ".join(("3", *sorted(Cost.model_fields)))
EVALUATION_ROWS = "2"
TRIAL_LEADING = (
    "trial_id", "recipe_name", "seed", "init_trial_id", "start_weights", "attempt", "nonce", "code_fingerprint",
    "data_fingerprint",
)  # fmt: skip
EVALUATION_LEADING = (
    "evaluation_id", "suite", "trial_id", "trial_attempt", "trial_nonce", "suite_fingerprint", "code_fingerprint",
    "data_fingerprint", "split", "attempt", "nonce", "eval_s", "finished_at",
)  # fmt: skip


def trial_row(record: TrialRecord) -> dict[str, Any]:
    """One flat row. Recipe fields keep their dotted path; lists are written as JSON. A change of the columns
    needs a new version, after which snapshots are rebuilt."""
    recipe = {key: value for key, value in record.recipe.items() if key not in ("name", "seed", "init")}
    return {
        **{name: getattr(record, name) for name in TRIAL_LEADING},
        **_flat(recipe),
        **record.metrics,
        **_flat({"cost": record.cost.model_dump(), "numerics": record.provenance.numerics}),
        **_evaluated_elsewhere(record),
        "finished_at": record.provenance.finished_at,
    }


def _evaluated_elsewhere(record: TrialRecord) -> dict[str, Any]:
    """The numerics class of evaluations, as far as it is not that of the training: their numbers do not compare with
    those of trials that were evaluated where they were trained."""
    evaluations = record.evaluations if isinstance(record, TrialResult) else ()
    trained = record.provenance.numerics
    return {
        f"numerics.{evaluation.suite}: {name}": value
        for evaluation in evaluations
        for name, value in evaluation.provenance.numerics.items()
        if value != trained.get(name) and name != "world_size"  # one process evaluates, however many trained
    }


def evaluation_row(record: EvaluationRecord) -> dict[str, Any]:
    """One flat row, as of `trial_row`: the suite's configuration below `config.`, the metrics by their names."""
    others = {
        "trial_id": record.target.trial_id,
        "trial_attempt": record.target.attempt,
        "trial_nonce": record.target.nonce,
        "finished_at": record.provenance.finished_at,
    }
    return {
        **{name: others[name] if name in others else getattr(record, name) for name in EVALUATION_LEADING},
        **record.metrics,
        **_flat({"config": record.config, "numerics": record.provenance.numerics}),
    }


def metric_columns(evaluations: pa.Table) -> list[str]:
    """The columns of a table of `evaluation_row` that hold metrics."""
    names = (name for name in evaluations.column_names if name not in EVALUATION_LEADING)
    return [name for name in names if not name.startswith(("config.", "numerics."))]


def rows_table(rows: Sequence[Mapping[str, Any]], names: Iterable[str] = ()) -> pa.Table:
    """Rows of unequal keys as one table: a missing value is null, int and float become float, other mixed types become
    text. The columns `names` are always present."""
    names = list(dict.fromkeys((*names, *(name for row in rows for name in row))))
    return pa.table({name: _column([row.get(name) for row in rows]) for name in names})


def ordered(table: pa.Table, leading: Sequence[str]) -> pa.Table:
    """The leading columns first, then the others by name."""
    return table.select([*leading, *sorted(set(table.column_names) - set(leading))])


def stacked(upper: pa.Table, lower: pa.Table) -> pa.Table:
    """The rows of two tables, whose columns may differ, by the rules of `rows_table`."""
    names = dict.fromkeys((*upper.column_names, *lower.column_names))
    return pa.table({name: _stacked(name, upper, lower) for name in names})


def _stacked(name: str, *tables: pa.Table) -> pa.ChunkedArray:
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
    # Not `pa.array`, which imports pandas: 0.3 s of CPU for an empty store.
    return pa.array(values) if kinds else pa.nulls(len(values), pa.string())
