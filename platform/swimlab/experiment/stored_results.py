"""What the store has of planned trials: each committed trial with the evaluations that its plan names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from swimlab.experiment.trial_spec import TrialSpec
from swimlab.store.evaluation_records import TrialResult
from swimlab.store.presence import Presence
from swimlab.store.sweep_store import SweepStore


def stored_results(store: SweepStore, specs: Iterable[TrialSpec]) -> dict[str, TrialResult]:
    """Trial id → the committed trial, with those of its evaluations that are committed."""
    wanted: dict[str, dict[str, None]] = {}
    for spec in specs:
        wanted.setdefault(spec.trial_id, {}).update(dict.fromkeys(e.evaluation_id for e in spec.evaluations))
    return store.results(wanted)


def missing_evaluations(spec: TrialSpec, result: TrialResult) -> tuple[str, ...]:
    """Ids of the evaluations that a committed trial still lacks."""
    present = {evaluation.evaluation_id for evaluation in result.evaluations}
    return tuple(e.evaluation_id for e in spec.evaluations if e.evaluation_id not in present)


def is_complete(spec: TrialSpec, results: dict[str, TrialResult]) -> bool:
    """Whether a trial is committed and evaluated in every way that its plan names."""
    result = results.get(spec.trial_id)
    return result is not None and not missing_evaluations(spec, result)


def is_present(spec: TrialSpec, present: Presence) -> bool:
    """`is_complete`, without reading the records."""
    nonce = present.trials.get(spec.trial_id)
    return nonce is not None and all(present.evaluated.get(e.evaluation_id) == nonce for e in spec.evaluations)


def failures(store: SweepStore, specs: Iterable[TrialSpec], results: dict[str, TrialResult]) -> dict[str, str]:
    """Trial id → why it has no result, or why an evaluation of it has none; only for trials whose latest attempt
    failed."""
    return {trial_id: str(failed["error"]) for trial_id, failed in failure_records(store, specs, results).items()}


def failure_records(
    store: SweepStore, specs: Iterable[TrialSpec], results: dict[str, TrialResult]
) -> dict[str, dict[str, Any]]:
    """As `failures`, with all that the store has of each (`SweepStore.failures`)."""
    by_trial: dict[str, list[str]] = {}
    for spec in specs:
        result = results.get(spec.trial_id)
        by_trial[spec.trial_id] = [spec.trial_id] if result is None else list(missing_evaluations(spec, result))
    work_ids = [work_id for ids in by_trial.values() for work_id in ids]
    failed = store.failures(work_ids) if work_ids else {}
    return {trial_id: failed[work_id] for trial_id, ids in by_trial.items() for work_id in ids if work_id in failed}
