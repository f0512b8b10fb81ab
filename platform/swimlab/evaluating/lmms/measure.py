"""A trial's scores on a task of lmms-eval: run once, read by our reader, committed as an evaluation of the trial."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import Any

from swim.evaluation import lmms_samples
from swim.evaluation.lmms_samples import TaskScores, read_samples
from swimlab.evaluating.benchmarks import TrialScores
from swimlab.evaluating.lmms import runs
from swimlab.evaluating.lmms.runs import GeneralTask, StoredRun, Where
from swimlab.execution.exactly_once import run_once
from swimlab.experiment.arms import judged_name
from swimlab.identity.canonical import canonical_json, plain_fields
from swimlab.identity.naming import digest
from swimlab.identity.source_archive import archive
from swimlab.identity.source_closure import Sources, fingerprint
from swimlab.store import arrow_tables, provenance
from swimlab.store.attempts import Attempt
from swimlab.store.errors import StoreError
from swimlab.store.evaluation_records import EvaluationRecord, TrialTarget
from swimlab.store.leases import Heartbeat
from swimlab.store.paths import code_path
from swimlab.store.records import TrialRecord
from swimlab.store.sweep_store import SweepStore

READER = "swim.evaluation.lmms_samples"


def evaluation_id(trial: TrialRecord, task: GeneralTask) -> str:
    """The name of a trial's evaluation on a task: its run, and the code that reads it."""
    return digest(canonical_json({"run": runs.run_id(TrialTarget.of(trial), task), "code": _code()}))


def measure(trial: TrialRecord, task: GeneralTask, store: SweepStore, where: Where) -> TrialScores:
    """The scores of a trial: of the stored run, else of one that is made now.

    Raises:
        LmmsError, StoreError, ValueError: see `runs.make`.
        ValueError: also for results that cannot be read; the run is kept.
    """
    named, target = evaluation_id(trial, task), TrialTarget.of(trial)

    def work(attempt: Attempt, beat: Heartbeat) -> EvaluationRecord:
        started_at = provenance.utc_now()
        stage: dict[str, Any] = {"stage": f"lmms-eval {task.task}", "step": 0, "steps": 0}
        run = runs.make(trial, task, store, where, attempt, lambda: beat.tell(stage))
        scores = _read(run, store)
        attempt.put("samples.parquet", _samples(scores, task))
        store.put_create_only(code_path(_code()), archive(Sources().closure((READER,)).values()))
        return EvaluationRecord(
            evaluation_id=named,
            suite=suite(task),
            config=plain_fields(task) | {"run": run.run_id},
            target=target,
            suite_fingerprint=digest(canonical_json({"task": plain_fields(task), "code": _code()})),
            code_fingerprint=_code(),
            data_fingerprint=scores.rows_fingerprint,
            metrics={judged_name(name, task.judge): value for name, value in scores.evaluated.metrics.items()},
            folder=attempt.folder,
            files=dict(attempt.files),
            attempt=attempt.number,
            nonce=attempt.nonce,
            eval_s=run.run_s,
            provenance=provenance.gather(
                numerics=run.numerics, started_at=started_at, finished_at=provenance.utc_now()
            ),
        )

    record = run_once(
        work,
        waiting=lambda: time.sleep(1.0),
        claim=lambda: store.claim(named, target),
        committed=lambda: store.read_evaluations([named]).get(named),
        commit=store.commit_evaluation,
    )
    return _trial_scores(trial, record, store)


def _trial_scores(trial: TrialRecord, record: EvaluationRecord, store: SweepStore) -> TrialScores:
    """Values and videos of the rows are read from the run: samples.parquet has no videos."""
    run = runs.load(store, str(record.config["run"]))
    if run is None:
        raise StoreError(f"lmms/{record.config['run']} was deleted: delete {record.path} as well to run the task again")
    scores = _read(run, store)
    rows: dict[str, dict[tuple[str, int], float]] = defaultdict(dict)
    for row in scores.evaluated.scores:
        rows[row.metric][row.key, row.turn] = row.value
    return TrialScores(
        trial_id=trial.trial_id,
        seed=int(trial.recipe["seed"]),
        metrics=scores.evaluated.metrics,
        rows=dict(rows),
        videos=scores.videos,
        evaluation_id=record.evaluation_id,
    )


def _read(run: StoredRun, store: SweepStore) -> TaskScores:
    samples = {task: read_samples(runs.read_file(store, run, name)) for task, name in run.samples.items()}
    return lmms_samples.score(run.task.task, run.results, samples)


def _samples(scores: TaskScores, task: GeneralTask) -> bytes:
    rows = [row.model_copy(update={"metric": judged_name(row.metric, task.judge)}) for row in scores.evaluated.scores]
    return arrow_tables.to_parquet(arrow_tables.samples_table(rows))


def _code() -> str:
    return fingerprint(Sources().module_hashes((READER,)))


def suite(task: GeneralTask) -> str:
    """The name of a task among the suites of evaluations; the judge is part of it."""
    return f"lmms-eval {task.task}" + (f" by {task.judge}" if task.judge else "")
