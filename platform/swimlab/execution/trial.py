"""One trial through Ray Train: claim, train, evaluate, store, commit; or only what it lacks of evaluations.

The same loop runs inside the trial's process (`workers` 0, Ray Train's local mode) and in a worker group (gloo, NCCL).
Rank 0 evaluates and writes the attempt's files; the trial's process holds the claim and commits.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from swimlab.execution import evaluations
from swimlab.execution.cluster import Slots
from swimlab.execution.exactly_once import HeldElsewhere, run_trial_once
from swimlab.execution.faults import Failure
from swimlab.execution.replay_source import archive_digest
from swimlab.execution.search.pruning_rungs import PrunedRecord, PruningContext, TrialPruned, ended, put_pruned
from swimlab.execution.step_checkpoints import Saving
from swimlab.execution.train_loop import TrialOutcome, train_loop
from swimlab.execution.training_advice import explained
from swimlab.execution.workers import run_workers
from swimlab.experiment.trial_spec import TrialSpec
from swimlab.store import provenance
from swimlab.store.attempts import Attempt
from swimlab.store.leases import Heartbeat
from swimlab.store.live_progress import Report, both
from swimlab.store.records import Cost, TrialRecord
from swimlab.store.sweep_store import SweepStore

POLL_S = 2.0


def run_trial(
    spec: TrialSpec,
    store_uri: str,
    slots: Slots,
    micro_batch: int | None,
    report: Report,
    gate: PruningContext | None = None,
    pruner: Any = None,
    saving: Saving | None = None,
    patient: bool = True,
) -> dict[str, float]:
    """The trial's final metrics, from the store where it is committed and evaluated. While another driver runs the
    trial this waits, or raises HeldElsewhere where not `patient`. A failure is written into the attempt and raised.

    With a `gate` an Optuna `pruner` decides at its rungs; raises TrialPruned, with the result in the store.
    """
    store = SweepStore(store_uri)

    def waiting() -> None:
        if not patient:
            raise HeldElsewhere(spec.trial_id)
        report({"stage": "waiting for another driver"})
        time.sleep(POLL_S)

    failed: dict[str, Failure] = {}

    def work(attempt: Attempt, beat: Heartbeat) -> TrialRecord:
        if gate and (pruned := ended(gate, pruner, store, spec)):
            raise TrialPruned(pruned)  # by another driver, while we waited
        record, outcome = _run_attempt(
            spec, attempt, store, slots, micro_batch, both(beat.tell, report), gate, pruner, saving
        )
        failed.update(outcome.failed_evaluations)
        return record

    trial = run_trial_once(store, spec.trial_id, work, waiting)
    return evaluations.complete(spec, trial, store, slots, micro_batch, report, waiting, failed).metrics


def _run_attempt(
    spec: TrialSpec,
    attempt: Attempt,
    store: SweepStore,
    slots: Slots,
    micro_batch: int | None,
    report: Report,
    gate: PruningContext | None,
    pruner: Any,
    saving: Saving | None,
) -> tuple[TrialRecord, TrialOutcome]:
    started_at, started_s, cpu_s = provenance.utc_now(), time.monotonic(), time.process_time()
    config = {
        "spec": spec.model_dump_json(),
        "store": store.uri,
        "attempt": attempt.number,
        "nonce": attempt.nonce,
        "micro_batch": micro_batch,
        "shard": slots.shard,
        "decode_cpus": slots.decode_cpus,
        "features": slots.features,
        "gate": gate.model_dump_json() if gate else None,
        "pruner": pruner,
        "saving": saving or Saving(),
    }
    if slots.workers == 0:
        # In local mode `ray.train`'s context and report raise inside a Tune trial: the trial's reporter stands in.
        config["local"] = {"report": report, "gpu": "GPU" in slots.worker}
    try:
        returned = run_workers(train_loop, config, slots, slots.workers, name=spec.trial_id, purpose="train")
    except Exception as error:
        if ended := explained(error, spec, store, slots, micro_batch):
            raise ended from error
        raise
    outcome: TrialOutcome = TrialOutcome.model_validate(returned)
    about: dict[str, Any] = {
        "trial_id": spec.trial_id,
        "attempt": attempt.number,
        "recipe": spec.recipe.training(),
        "recipe_name": spec.recipe.name,
        "seed": spec.recipe.seed,
        "init_trial_id": spec.init_trial_id,
        "start_weights": outcome.start_weights,
        "code_fingerprint": spec.code_fingerprint,
        "data_fingerprint": spec.data_fingerprint,
        "metrics": outcome.metrics,
        "cost": Cost(
            wall_s=time.monotonic() - started_s,
            cpu_s=time.process_time() - cpu_s,
            train_s=outcome.train_s,
            eval_s=outcome.eval_s,
            data_wait_s=outcome.data_wait_s,
            resumed_step=outcome.resumed_step,
            hosted_s=outcome.hosted_s,
            peak_rss_bytes=outcome.peak_rss_bytes,
            peak_device_bytes=outcome.peak_device_bytes,
            **(asdict(outcome.speed) if outcome.speed else {}),
        ),
        "provenance": provenance.gather(
            numerics=outcome.numerics,
            started_at=started_at,
            finished_at=provenance.utc_now(),
            source_sha256=archive_digest(store, spec.code_fingerprint),
        ),
    }
    if gate and outcome.pruned_at is not None:
        of = gate.model_dump(include={"search", "objective", "clips"})
        judged_by = spec.evaluation(gate.suite)
        pruned = PrunedRecord(
            **about,
            **of,
            evaluation_id=judged_by.evaluation_id,
            rungs_data_fingerprint=spec.clips(judged_by.split).data_fingerprint,
            step=outcome.pruned_at,
            rungs=outcome.rungs or {},
        )
        put_pruned(store, pruned)
        raise TrialPruned(pruned)
    attempt.files.update(outcome.files)
    return TrialRecord(**about, nonce=attempt.nonce, files=outcome.files), outcome
