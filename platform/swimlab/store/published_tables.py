"""tables/: Parquet files for other tools (DuckDB, polars, pandas). They are a cache and can be rebuilt.

trials/trials.parquet         one row a trial: ids, recipe fields ("objective.fusion"), metrics, cost, numerics
metrics/<trial_id>.parquet    curves; samples/<trial_id>.parquet: per-sample numbers, long format
arms/<experiment>.parquet     which trial an experiment shows under which recipe, arm and seed, as last run
"""

from collections.abc import Mapping
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc

from swimlab.store.arrow_tables import from_parquet, to_parquet
from swimlab.store.paths import checked_path
from swimlab.store.records import TrialRecord
from swimlab.store.snapshot import compact, load_latest, to_bytes
from swimlab.store.sweep_store import SweepStore

ARMS_SCHEMA = pa.schema(
    [
        ("experiment", pa.string()),
        ("recipe", pa.string()),
        ("arm", pa.string()),
        ("seed", pa.int64()),
        ("trial_id", pa.string()),
    ]
)


PUBLISHED = "tables/trials/trials.parquet"
_AT_A_TIME = 64  # trials whose tables are in memory together


def write_tables(store: SweepStore, arms: pa.Table | None = None) -> None:
    """Bring the tables up to date with the records; `arms` has the columns of ARMS_SCHEMA and replaces the
    rows of its experiment and recipe.

    Only new records are read (`swimlab.store.snapshot.compact`): a committed trial never changes, so its metrics and
    samples are copied once. Tables of trials without a record are removed. A deleted tables/ is rebuilt.
    """
    backend = store.backend
    anew = not backend.exists(PUBLISHED)

    def copy(new: Mapping[str, TrialRecord], present: set[str]) -> None:
        _copy(store, store.records() if anew else new, present)

    rows = compact(store, copy)
    while True:
        backend.replace(PUBLISHED, to_bytes(rows.table))
        # Another driver may have written a newer one between our snapshot and our copy of it.
        _, latest = load_latest(backend)
        if latest is None or latest.number <= rows.number:
            break
        rows = latest
    if arms is not None:
        _add_arms(store, arms)


def _copy(store: SweepStore, new: Mapping[str, TrialRecord], present: set[str]) -> None:
    for kind in ("metrics", "samples"):
        name = f"{kind}.parquet"
        stale = [p for p in store.backend.files(f"tables/{kind}") if PurePosixPath(p).stem not in present]
        store.backend.delete_many(stale)
        selected = [record for record in new.values() if name in record.files]
        for start in range(0, len(selected), _AT_A_TIME):
            for trial_id, data in store.files_of(selected[start : start + _AT_A_TIME], name).items():
                table = from_parquet(data)
                ids = pa.array([trial_id] * table.num_rows, pa.string())
                content = to_parquet(table.add_column(0, "trial_id", ids))
                store.backend.replace(f"tables/{kind}/{trial_id}.parquet", content)


def _add_arms(store: SweepStore, arms: pa.Table) -> None:
    arms = arms.select(ARMS_SCHEMA.names).cast(ARMS_SCHEMA)
    for experiment in pc.unique(arms["experiment"]).to_pylist():
        path = checked_path(f"tables/arms/{experiment}.parquet")
        rows = arms.filter(pc.equal(arms["experiment"], experiment))
        if store.exists(path):
            previous = from_parquet(store.read(path))
            unchanged = previous.filter(pc.invert(pc.is_in(previous["recipe"], pc.unique(rows["recipe"]))))
            rows = pa.concat_tables([unchanged, rows])
        store.backend.replace(path, to_parquet(rows.sort_by([(n, "ascending") for n in ("recipe", "arm", "seed")])))
