"""Writes evaluation records: one per evaluation id, of the weights that the trial has now.

Made right after training, the finished record is a file of the trial's attempt, `evaluations/<evaluation_id>.json`, and
is copied to the store's evaluations/ once the trial is committed. A driver that is killed in between loses nothing:
anybody who has the trial's record can copy it, byte for byte.
"""

from __future__ import annotations

from collections.abc import Mapping

from swimlab.store import commit_marks, committed_files
from swimlab.store.backends.base import Backend
from swimlab.store.errors import StoreError
from swimlab.store.evaluation_records import EvaluationRecord, read_evaluation
from swimlab.store.record_kinds import EVALUATIONS, TRIALS
from swimlab.store.records import TrialRecord

_TRIES = 5


def source_name(evaluation_id: str) -> str:
    """The finished record among the files of the trial's attempt."""
    return f"evaluations/{evaluation_id}.json"


def evaluation_names(record: TrialRecord) -> tuple[str, ...]:
    """The ids of the evaluations that were made with a trial's training."""
    parts = [name.removesuffix(".json").split("/") for name in record.files if name.endswith(".json")]
    return tuple(part[1] for part in parts if len(part) == 2 and part[0] == "evaluations")


def publish(backend: Backend, record: TrialRecord, evaluation_id: str) -> EvaluationRecord | None:
    """Copy an evaluation made with the training to the store, unless it has it. None when the trial's record does not
    name it, or is no longer the trial's. Raises StoreError when its file is missing, altered or of something else."""
    existing = EVALUATIONS.read(backend, [evaluation_id]).get(evaluation_id)
    if existing is not None and existing.fits(record):
        return existing
    if source_name(evaluation_id) not in record.files:
        return None
    return put(backend, *made_with_training(backend, record, evaluation_id))


def made_with_training(backend: Backend, record: TrialRecord, evaluation_id: str) -> tuple[EvaluationRecord, bytes]:
    """An evaluation among the files of the trial's attempt, and the bytes of its record. Raises StoreError when the
    file is missing, altered or of something else."""
    name = source_name(evaluation_id)
    (data,) = committed_files.read(backend, [record], name)
    location = f"{backend.uri}/{record.folder}/{name}"
    try:
        evaluation = read_evaluation(data)
    except ValueError as error:
        raise StoreError(f"{location} {error}") from error
    if evaluation.evaluation_id != evaluation_id or not evaluation.fits(record):
        raise StoreError(
            f"{location} is of evaluation {evaluation.evaluation_id} of trial {evaluation.target.trial_id}, attempt "
            f"{evaluation.target.attempt}; delete {record.path} to run the trial again"
        )
    return evaluation, data


def put(backend: Backend, evaluation: EvaluationRecord, data: bytes) -> EvaluationRecord | None:
    """Write an evaluation, create-only, and return the record that counts, which may be another's. A record of weights
    that the trial no longer has is replaced. None when this evaluation is of such weights itself."""
    evaluation_id, target = evaluation.evaluation_id, evaluation.target
    for _ in range(_TRIES):
        existing = EVALUATIONS.read(backend, [evaluation_id]).get(evaluation_id)
        if existing is not None and existing.target == target:
            return existing
        trial = TRIALS.read(backend, [target.trial_id]).get(target.trial_id)
        if trial is None or not evaluation.fits(trial):
            return None
        if existing is not None:
            backend.delete(evaluation.path)
        mark = commit_marks.mark(backend, EVALUATIONS, evaluation_id, evaluation.nonce)
        if backend.create(evaluation.path, data):
            return evaluation
        existing = EVALUATIONS.read(backend, [evaluation_id]).get(evaluation_id)
        if existing is None or existing.nonce != evaluation.nonce:
            backend.delete(mark)
    raise StoreError(f"{backend.uri}/{evaluation.path} changes faster than it can be written; try again")


def fitting(backend: Backend, evaluations: Mapping[str, EvaluationRecord]) -> dict[str, EvaluationRecord]:
    """Those of the weights that their trial has now."""
    trials = TRIALS.read(backend, {evaluation.target.trial_id for evaluation in evaluations.values()})
    return {
        evaluation_id: evaluation
        for evaluation_id, evaluation in evaluations.items()
        if (trial := trials.get(evaluation.target.trial_id)) is not None and evaluation.fits(trial)
    }
