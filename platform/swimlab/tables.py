"""tables/: Parquet for everybody (DuckDB, polars, pandas), without our code. A cache: delete it and write it again.

trials/trials.parquet         one row a trial: ids, recipe fields ("objective.fusion"), metrics, cost, numerics
metrics/<trial_id>.parquet    curves; samples/<trial_id>.parquet: per-sample numbers, long format
arms/<experiment>.parquet     which trial an experiment shows under which recipe, arm and seed, as last run
"""

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from swimlab.names import checked_path
from swimlab.records import TrialRecord, from_parquet, to_parquet

if TYPE_CHECKING:
    from swimlab.store import SweepStore

ARMS_SCHEMA = pa.schema(
    [
        ("experiment", pa.string()),
        ("recipe", pa.string()),
        ("arm", pa.string()),
        ("seed", pa.int64()),
        ("trial_id", pa.string()),
    ]
)


def write_tables(store: "SweepStore", arms: pa.Table | None = None) -> None:
    """Rebuild the tables from the records; `arms` has the columns of ARMS_SCHEMA and replaces what is
    known of its experiment and recipe.

    A trial never changes, so its metrics and samples are copied once; those of trials without a record are removed.
    """
    records = store.records()
    for kind in ("metrics", "samples"):
        known = set(store.backend.files(f"tables/{kind}"))
        wanted = {f"tables/{kind}/{t}.parquet": r for t, r in records.items() if f"{kind}.parquet" in r.files}
        for path in sorted(known - set(wanted)):
            store.backend.delete(path)
        for path in sorted(set(wanted) - known):
            trial_id = wanted[path].trial_id
            table = from_parquet(store.open_file(trial_id, f"{kind}.parquet"))
            ids = pa.array([trial_id] * table.num_rows, pa.string())
            store.backend.replace(path, to_parquet(table.add_column(0, "trial_id", ids)))
    rows = [trial_row(records[trial_id]) for trial_id in sorted(records)]
    store.backend.replace("tables/trials/trials.parquet", to_parquet(rows_table(rows)))
    if arms is not None:
        _add_arms(store, arms)


def trial_row(record: TrialRecord) -> dict[str, Any]:
    """One flat row. Recipe fields keep their dotted path; lists are written as JSON."""
    recipe = {key: value for key, value in record.recipe.items() if key not in ("name", "seed", "init")}
    return {
        "trial_id": record.trial_id,
        "recipe_name": record.recipe_name,
        "seed": record.seed,
        "init_trial_id": record.init_trial_id,
        "attempt": record.attempt,
        "code_fingerprint": record.code_fingerprint,
        "data_fingerprint": record.data_fingerprint,
        **_flat(recipe),
        **record.metrics,
        **_flat({"cost": record.cost.model_dump(), "numerics": record.provenance.numerics}),
        "finished_at": record.provenance.finished_at,
    }


def rows_table(rows: list[dict[str, Any]]) -> pa.Table:
    """Rows of unequal keys as one table: missing is null, int beside float is float, any other mixture is text."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pa.table({name: _column([row.get(name) for row in rows]) for name in names})


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = json.dumps(value) if isinstance(value, list) else value
    return found


def _column(values: list[Any]) -> pa.Array:
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    if len(kinds) > 1:
        return pa.array([None if value is None else str(value) for value in values], pa.string())
    return pa.array(values) if kinds else pa.array(values, pa.string())


def _add_arms(store: "SweepStore", arms: pa.Table) -> None:
    arms = arms.select(ARMS_SCHEMA.names).cast(ARMS_SCHEMA)
    for experiment in pc.unique(arms["experiment"]).to_pylist():
        path = checked_path(f"tables/arms/{experiment}.parquet")
        rows = arms.filter(pc.equal(arms["experiment"], experiment))
        if store.exists(path):
            known = from_parquet(store.read(path))
            others = known.filter(pc.invert(pc.is_in(known["recipe"], pc.unique(rows["recipe"]))))
            rows = pa.concat_tables([others, rows])
        store.backend.replace(path, to_parquet(rows.sort_by([(n, "ascending") for n in ("recipe", "arm", "seed")])))
