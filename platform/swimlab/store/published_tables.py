"""tables/: Parquet files for other tools (DuckDB, polars, pandas). They are a cache and can be rebuilt.

trials/trials.parquet              one row a trial: ids, recipe fields ("objective.fusion"), metrics (with those of the
                                   newest evaluation of each suite, whose id is in "evaluated.<suite>"; on clips that
                                   choose they are "validation.<metric>"), cost, numerics
evaluations/evaluations.parquet    one row an evaluation of the weights that a trial has now: ids, config, metrics
metrics/<trial_id>.parquet         curves
samples/<evaluation_id>.parquet    per-sample numbers, long format; <trial_id>.parquet where the trial's record has them
arms/<experiment>.parquet          which trial an experiment shows under which recipe, arm and seed, as last run
"""

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from swimlab.store import evaluation_commits, listings
from swimlab.store.arms_tables import ARMS_SCHEMA, read_arms
from swimlab.store.arrow_tables import from_parquet, to_parquet
from swimlab.store.evaluation_columns import fitting, with_evaluations
from swimlab.store.paths import checked_path
from swimlab.store.record_kinds import EVALUATIONS, TRIALS, Record, RecordKind
from swimlab.store.records import TrialRecord
from swimlab.store.snapshot import Snapshot, Snapshots, compact, load_latest
from swimlab.store.sweep_store import SweepStore

PUBLISHED = "tables/trials/trials.parquet"
PUBLISHED_EVALUATIONS = "tables/evaluations/evaluations.parquet"
_AT_A_TIME = 64  # records whose tables are in memory together


def write_tables(store: SweepStore, arms: pa.Table | None = None) -> None:
    """Bring the tables up to date with the records; `arms` has the columns of ARMS_SCHEMA and replaces the
    rows of its experiment and recipe.

    Only new records are read (`swimlab.store.snapshot.compact`): a committed record never changes, so its metrics and
    samples are copied once. Evaluations that were made with the training of a new trial and are not in the store yet,
    because their driver was killed, are put there. Tables without a record are removed. A deleted tables/ is rebuilt.
    """
    backend = store.backend
    # Listed first: what another driver copies from now on may be of records that this one does not have.
    copied = {kind: listings.files(backend, f"tables/{kind}") for kind in ("metrics", "samples")}
    anew = not backend.exists(PUBLISHED)
    evaluations = _compact_evaluations(store, anew)
    published = 0

    def copy(new: Mapping[str, TrialRecord]) -> None:
        nonlocal published
        published += _publish_missing(store, new.values(), evaluations)
        _copy(store, TRIALS, store.records() if anew else new, ("metrics", "samples"))

    current: Snapshots = {TRIALS: compact(backend, TRIALS, copy), EVALUATIONS: evaluations}
    if published:
        current[EVALUATIONS] = _compact_evaluations(store, anew=False)
    while True:
        trials, fits = current[TRIALS].table, fitting(current[TRIALS].table, current[EVALUATIONS].table)
        backend.replace(PUBLISHED, to_parquet(with_evaluations(trials, fits)))
        backend.replace(PUBLISHED_EVALUATIONS, to_parquet(fits))
        # Another driver may have written a newer one between our snapshot and our copy of it.
        _, latest = load_latest(backend, current)
        newer = {kind: s for kind, s in latest.items() if s.number > current[kind].number}
        if not newer:
            break
        current |= newer
    present = {"metrics": _ids(TRIALS, trials), "samples": _ids(TRIALS, trials) | _ids(EVALUATIONS, fits)}
    for kind, paths in copied.items():
        backend.delete_many([path for path in paths if PurePosixPath(path).stem not in present[kind]])
    if arms is not None:
        _add_arms(store, arms)


def _compact_evaluations(store: SweepStore, anew: bool) -> Snapshot[Any]:
    return compact(
        store.backend,
        EVALUATIONS,
        lambda new: _copy(store, EVALUATIONS, store.evaluations() if anew else new, ("samples",)),
    )


def _publish_missing(store: SweepStore, records: Iterable[TrialRecord], evaluations: Snapshot[Any]) -> int:
    """Publish the evaluations that these records name and the store lacks. Returns their number."""
    present = set(zip(*(evaluations.table[name].to_pylist() for name in ("evaluation_id", "trial_nonce")), strict=True))
    missing = [
        (record, name)
        for record in records
        for name in evaluation_commits.evaluation_names(record)
        if (name, record.nonce) not in present
    ]
    return sum(store.publish(record, name) is not None for record, name in missing)


def _copy(store: SweepStore, kind: RecordKind[Record], records: Mapping[str, Record], tables: Iterable[str]) -> None:
    """Copy these Parquet files of the records that have them, with the ids in front of the columns."""
    for table in tables:
        selected = [record for record in records.values() if f"{table}.parquet" in record.files]
        for start in range(0, len(selected), _AT_A_TIME):
            batch = selected[start : start + _AT_A_TIME]
            for record, data in zip(batch, store.files_of(batch, f"{table}.parquet"), strict=True):
                rows, row = from_parquet(data), kind.row(record)
                for position, name in enumerate(dict.fromkeys((kind.key, "trial_id"))):
                    rows = rows.add_column(position, name, pa.array([row[name]] * rows.num_rows, pa.string()))
                store.backend.replace(f"tables/{table}/{kind.id_of(record)}.parquet", to_parquet(rows))


def _ids(kind: RecordKind[Any], table: pa.Table) -> set[str]:
    return set(table[kind.key].to_pylist())


def _add_arms(store: SweepStore, arms: pa.Table) -> None:
    arms = arms.select(ARMS_SCHEMA.names).cast(ARMS_SCHEMA)
    for experiment in pc.unique(arms["experiment"]).to_pylist():
        path = checked_path(f"tables/arms/{experiment}.parquet")
        rows = arms.filter(pc.equal(arms["experiment"], experiment))
        if store.exists(path):
            previous = read_arms(store, path)
            unchanged = previous.filter(pc.invert(pc.is_in(previous["recipe"], pc.unique(rows["recipe"]))))
            rows = pa.concat_tables([unchanged, rows])
        store.backend.replace(path, to_parquet(rows.sort_by([(n, "ascending") for n in ("recipe", "arm", "seed")])))
