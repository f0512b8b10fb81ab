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
from swimlab.store.arrow_tables import DamagedTableError, from_parquet, to_parquet
from swimlab.store.evaluation_columns import fitting, with_evaluations
from swimlab.store.evaluation_records import EvaluationRecord
from swimlab.store.paths import checked_path
from swimlab.store.record_kinds import EVALUATIONS, TRIALS, Record, RecordKind
from swimlab.store.records import TrialRecord
from swimlab.store.snapshot import Snapshot, Snapshots, compact, load_latest
from swimlab.store.sweep_store import SweepStore

PUBLISHED = "tables/trials/trials.parquet"
PUBLISHED_EVALUATIONS = "tables/evaluations/evaluations.parquet"
_COPIED = ("metrics", "samples")
_AT_A_TIME = 64  # records whose tables are in memory together


def write_tables(store: SweepStore, arms: pa.Table | None = None) -> None:
    """Bring the tables up to date with the records; `arms` has the columns of ARMS_SCHEMA and replaces the
    rows of its experiment and recipe.

    Only new records are read (`swimlab.store.snapshot.compact`), and those whose copy of curves or samples is missing:
    a committed record never changes, so they are copied once. Evaluations that were made with the training of a new
    trial and are not in the store yet, because their driver was killed, are put there. Tables without a record are
    removed.
    """
    backend, fresh = store.backend, set[str]()
    # Listed first: what another driver copies from now on may be of records that this one does not have.
    copied = {
        kind: {PurePosixPath(path).stem: path for path in listings.files(backend, f"tables/{kind}")} for kind in _COPIED
    }

    def copy_evaluations(new: Mapping[str, EvaluationRecord]) -> None:
        _copy(store, EVALUATIONS, new, ("samples",))
        fresh.update(new)

    evaluations = compact(backend, EVALUATIONS, copy_evaluations)
    published = 0

    def copy_trials(new: Mapping[str, TrialRecord]) -> None:
        nonlocal published
        published += _publish_missing(store, new.values(), evaluations)
        _copy(store, TRIALS, new, _COPIED)
        fresh.update(new)

    current: Snapshots = {TRIALS: compact(backend, TRIALS, copy_trials), EVALUATIONS: evaluations}
    if published:
        current[EVALUATIONS] = compact(backend, EVALUATIONS, copy_evaluations)
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
    trained, evaluated = _ids(TRIALS, trials), _ids(EVALUATIONS, fits)
    for kind, present in (("metrics", trained), ("samples", trained | evaluated)):
        backend.delete_many([path for record_id, path in copied[kind].items() if record_id not in present])
    _copy(store, TRIALS, store.read_records(trained - copied["metrics"].keys() - fresh), _COPIED)
    _copy(store, EVALUATIONS, store.read_evaluations(evaluated - copied["samples"].keys() - fresh), ("samples",))
    if arms is not None:
        _add_arms(store, arms)


def damaged_copies(store: SweepStore) -> dict[str, str]:
    """Path → what is wrong with it, of the copies of curves and samples that are not what was written. Reads them all.
    Once they are deleted the next `write_tables` writes them again."""
    paths, damaged = [path for kind in _COPIED for path in listings.files(store.backend, f"tables/{kind}")], {}
    for start in range(0, len(paths), _AT_A_TIME):
        for path, data in store.backend.read_many(paths[start : start + _AT_A_TIME]).items():
            try:
                ids = pc.unique(from_parquet(data).column(0)).to_pylist()
            except DamagedTableError as error:
                damaged[path] = str(error)
            else:
                if ids not in ([], [PurePosixPath(path).stem]):
                    damaged[path] = f"it is of {ids[0]}"
    return damaged


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
