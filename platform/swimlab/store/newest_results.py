"""Committed trials with their newest evaluations, for whoever reads a store without a plan that names them."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from swimlab.store.evaluation_columns import suite_columns
from swimlab.store.evaluation_records import EvaluationRecord, TrialResult
from swimlab.store.snapshot import leaderboard
from swimlab.store.sweep_store import SweepStore


def all_results(store: SweepStore) -> dict[str, TrialResult]:
    """Trial id → the trial with its newest evaluation by each suite, on the reported clips and on those that choose.
    Reads every record of the store."""
    records, newest = store.records(), dict[tuple[str, str, str], EvaluationRecord]()
    for evaluation in store.evaluations().values():
        trial = records.get(evaluation.target.trial_id)
        if trial is not None and evaluation.fits(trial):
            key = trial.trial_id, evaluation.suite, evaluation.split
            newest[key] = max(evaluation, newest.get(key, evaluation), key=_age)
    by_trial: dict[str, list[EvaluationRecord]] = {}
    for (trial_id, _, _), evaluation in sorted(newest.items()):
        by_trial.setdefault(trial_id, []).append(evaluation)
    return {trial_id: TrialResult.of(record, by_trial.get(trial_id, ())) for trial_id, record in records.items()}


def newest_results(
    store: SweepStore, trial_ids: Iterable[str], board: pa.Table | None = None
) -> dict[str, TrialResult]:
    """Like `all_results`, of a few trials: which evaluations are theirs is read from the leaderboard. `board`: the
    leaderboard, where it was read already."""
    table = leaderboard(store) if board is None else board
    table = table.filter(pc.is_in(table["trial_id"], value_set=pa.array(sorted(set(trial_ids)), pa.string())))
    names = suite_columns(table)
    return store.results(
        {
            trial_id: [evaluation_id for evaluation_id in ids if evaluation_id is not None]
            for trial_id, *ids in zip(*(table[name].to_pylist() for name in ("trial_id", *names)), strict=True)
        }
    )


def _age(evaluation: EvaluationRecord) -> tuple[str, str]:
    return evaluation.provenance.finished_at, evaluation.evaluation_id
