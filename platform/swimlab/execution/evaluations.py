"""Evaluations of a trial: right after training with the weights in memory, or later from its stored checkpoint.

What is measured right after training is committed with the trial: its files and its record lie in the trial's attempt
until the trial's commit has won, and are published then. So nothing is lost where the checkpoint is not kept, and
whoever comes after a driver that was killed in between publishes for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from ray.train.torch import get_device

from swim.data.clips import Clips
from swim.evaluation.evaluate import restore, run_suite
from swim.train import Trained, use_features
from swimlab.execution import trial_features
from swimlab.execution.cluster import Slots
from swimlab.execution.exactly_once import failure_of, run_once
from swimlab.execution.faults import Failure
from swimlab.execution.numerics import numerics_of
from swimlab.execution.trial_clips import reader
from swimlab.execution.workers import run_workers
from swimlab.experiment.trial_spec import TrialSpec
from swimlab.identity import naming
from swimlab.identity.naming import EvaluationIdentity
from swimlab.identity.splits import Split
from swimlab.store import arrow_tables, provenance
from swimlab.store.attempts import Attempt
from swimlab.store.evaluation_records import EvaluationRecord, TrialResult, TrialTarget
from swimlab.store.leases import Heartbeat
from swimlab.store.live_progress import Report, both
from swimlab.store.records import TrialRecord
from swimlab.store.scratch import scratch_folder
from swimlab.store.sweep_store import SweepStore


class EvaluationFailed(RuntimeError):  # noqa: N818  # the text is what a user reads
    """A trial was trained and committed, and could not be evaluated."""


def after_training(
    spec: TrialSpec,
    trained: Trained,
    clips: Callable[[Split], Clips],
    attempt: Attempt,
    numerics: Mapping[str, str | int],
    micro_batch: int | None,
) -> dict[str, Failure]:
    """Evaluates a trial with the weights in memory and puts files and records into its attempt; `clips` reads those of
    a split. Returns evaluation id → why, of those that failed: the trial is committed all the same."""
    failed = {}
    target = TrialTarget(trial_id=spec.trial_id, attempt=attempt.number, nonce=attempt.nonce)
    for evaluation in spec.evaluations:
        prefix = f"evaluations/{evaluation.evaluation_id}"
        try:
            scored = clips(evaluation.split)
            record = _measure(
                spec, evaluation, trained, scored, attempt, prefix, target, numerics, micro_batch=micro_batch
            )
            attempt.put(f"{prefix}.json", record.to_json())
        except Exception as error:
            failed[evaluation.evaluation_id] = failure_of(error)
    return failed


def complete(
    spec: TrialSpec,
    trial: TrialRecord,
    store: SweepStore,
    slots: Slots,
    micro_batch: int | None,
    report: Report,
    waiting: Callable[[], None],
    failed: Mapping[str, Failure],
) -> TrialResult:
    """A committed trial with all its evaluations: committed ones, those that wait in its attempt, else those that are
    made now from its checkpoint. `failed`: evaluation id → why, of those that were just tried.

    Raises EvaluationFailed where `failed` is not empty, and what making one raises; either is in the store then.
    """
    evaluations = []
    for evaluation in spec.evaluations:
        evaluation_id = evaluation.evaluation_id
        if record := store.publish(trial, evaluation_id):
            evaluations.append(record)
        elif evaluation_id not in failed:
            evaluations.append(_evaluate_stored(spec, evaluation, trial, store, slots, micro_batch, report, waiting))
        elif attempt := store.claim(evaluation_id, TrialTarget.of(trial)):
            attempt.fail(failed[evaluation_id].error, failed[evaluation_id].kind)
    if failed:
        raise EvaluationFailed(
            f"trial {spec.trial_id} is trained and committed, and its evaluation failed; correct the cause and run the "
            f"same command again: it evaluates only.\n{next(iter(failed.values())).error}"
        )
    return TrialResult.of(trial, tuple(evaluations))


def _evaluate_stored(
    spec: TrialSpec,
    evaluation: EvaluationIdentity,
    trial: TrialRecord,
    store: SweepStore,
    slots: Slots,
    micro_batch: int | None,
    report: Report,
    waiting: Callable[[], None],
) -> EvaluationRecord:
    def work(attempt: Attempt, beat: Heartbeat) -> EvaluationRecord:
        config = {
            "spec": spec.model_dump_json(),
            "evaluation": evaluation.evaluation_id,
            "target": TrialTarget.of(trial).model_dump(),
            "store": store.uri,
            "attempt": attempt.number,
            "nonce": attempt.nonce,
            "micro_batch": micro_batch,
            "decode_cpus": slots.decode_cpus,
            "features": slots.features,
        }
        progress = both(beat.tell, report)
        steps = spec.recipe.optim.steps or 0  # of epochs unknown here, and of no use to an evaluation
        progress({"stage": "evaluate", "step": steps, "steps": steps})
        if slots.workers == 0:
            config["local"] = {"gpu": "GPU" in slots.worker}
        # One worker: a suite scores with one whole model, however many trained it.
        workers = min(1, slots.workers)
        returned = run_workers(evaluation_loop, config, slots, workers, name=attempt.trial_id, purpose="evaluate")
        record = EvaluationRecord.model_validate_json(returned)
        attempt.files.update(record.files)
        return record

    return run_once(
        work,
        waiting,
        claim=lambda: store.claim(evaluation.evaluation_id, TrialTarget.of(trial)),
        committed=lambda: store.publish(trial, evaluation.evaluation_id),
        commit=store.commit_evaluation,
    )


def is_held(spec: TrialSpec, store: SweepStore) -> bool:
    """Whether another process that may be alive trains the trial or makes one of the evaluations that it lacks."""
    if (trial := store.record(spec.trial_id)) is None:
        return store.is_claimed(spec.trial_id)
    return any(store.is_claimed(e.evaluation_id, TrialTarget.of(trial)) for e in spec.evaluations)


def evaluation_loop(config: dict[str, Any]) -> str:
    """What the worker of a later evaluation runs: weights from the store, clips, one suite. Returns its record."""
    spec = TrialSpec.model_validate_json(config["spec"])
    (evaluation,) = (e for e in spec.evaluations if e.evaluation_id == config["evaluation"])
    fingerprint = naming.suite_code_fingerprint(spec.recipe, evaluation.suite)
    if fingerprint != evaluation.code_fingerprint:
        raise RuntimeError(
            f"this process has code {fingerprint} of suite {evaluation.suite!r}, the evaluation was planned with "
            f"{evaluation.code_fingerprint}: a source file changed since, or differs on this node; run the same "
            "command again"
        )
    store = SweepStore(config["store"])
    device = get_device() if "local" not in config else torch.device("cuda" if config["local"]["gpu"] else "cpu")
    attempt = Attempt(store.backend, evaluation.evaluation_id, config["attempt"], config["nonce"])
    with scratch_folder("evaluate") as scratch:
        folder = store.download(spec.trial_id, "checkpoint/", scratch / "checkpoint")
        trained = restore(spec.recipe, folder, device)
        scored = reader(spec, store, config["decode_cpus"])(evaluation.split)
        if trial_features.wanted(spec.recipe, config["features"]):
            reads = {spec.clips(evaluation.split).clips_fingerprint: len(scored.keys)}
            known = partial(trial_features.features, spec, store, device, reads=reads)
            use_features(spec.recipe, trained.model, device, known, trained.encoder)
        record = _measure(
            spec,
            evaluation,
            trained,
            scored,
            attempt,
            "",
            TrialTarget.model_validate(config["target"]),
            numerics_of(spec.recipe, device, world_size=1),
            micro_batch=config["micro_batch"],
        )
    return record.model_dump_json()


def _measure(
    spec: TrialSpec,
    evaluation: EvaluationIdentity,
    trained: Trained,
    scored: Clips,
    attempt: Attempt,
    prefix: str,
    target: TrialTarget,
    numerics: Mapping[str, str | int],
    *,
    micro_batch: int | None,
) -> EvaluationRecord:
    """Runs one suite and puts its files into the attempt below `prefix`."""
    started_at, started_s = provenance.utc_now(), time.monotonic()
    result = run_suite(evaluation.suite, spec.recipe, trained, scored, micro_batch)
    eval_s = time.monotonic() - started_s
    tables = {"samples.parquet": arrow_tables.samples_table(result.scores)}
    if result.overlays:
        tables["overlays.parquet"] = arrow_tables.overlays_table(result.overlays)
    if result.answers:
        tables["answers.parquet"] = arrow_tables.answers_table(result.answers)
    files = {
        name: attempt.put(f"{prefix}/{name}".lstrip("/"), arrow_tables.to_parquet(table))
        for name, table in tables.items()
    }
    return EvaluationRecord(
        evaluation_id=evaluation.evaluation_id,
        suite=evaluation.suite,
        config=evaluation.config,
        target=target,
        suite_fingerprint=evaluation.suite_fingerprint,
        code_fingerprint=evaluation.code_fingerprint,
        data_fingerprint=spec.clips(evaluation.split).data_fingerprint,
        split=evaluation.split,
        metrics=result.metrics,
        folder=f"{attempt.folder}/{prefix}".rstrip("/"),
        files=files,
        attempt=attempt.number,
        nonce=attempt.nonce,
        eval_s=eval_s,
        provenance=provenance.gather(numerics=dict(numerics), started_at=started_at, finished_at=provenance.utc_now()),
    )
