"""A trial or an evaluation is run by one driver at a time and committed once, however many drivers there are and
whatever kills them."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import TypeVar

from swimlab.execution import faults, step_checkpoints
from swimlab.execution.faults import Failure, TrainingEnded
from swimlab.store.attempts import Attempt
from swimlab.store.leases import Heartbeat
from swimlab.store.paths import folder_of
from swimlab.store.records import TrialRecord
from swimlab.store.sweep_store import SweepStore

Record = TypeVar("Record")


class EndedWithoutRecord(Exception):  # noqa: N818  # nothing went wrong
    """Raised by the work of an attempt that ends as planned and has no result: a search pruned the trial."""


class HeldElsewhere(EndedWithoutRecord):
    """Another driver is running the trial, and the caller does not want to wait for it."""


def run_trial_once(
    store: SweepStore, trial_id: str, work: Callable[[Attempt, Heartbeat], TrialRecord], waiting: Callable[[], None]
) -> TrialRecord:
    """The record of a trial: the one in the store, else that of `work` (see `run_once`)."""
    return run_once(
        work,
        waiting,
        claim=lambda: store.claim(trial_id),
        committed=lambda: store.record(trial_id),
        commit=lambda attempt, record: _commit_trial(store, attempt, record),
    )


def run_once(
    work: Callable[[Attempt, Heartbeat], Record],
    waiting: Callable[[], None],
    *,
    claim: Callable[[], Attempt | None],
    committed: Callable[[], Record | None],
    commit: Callable[[Attempt, Record], bool],
) -> Record:
    """The committed record, else that of `work`, which writes the attempt's files and describes them.

    While another driver holds the claim, `waiting` is called repeatedly: it sleeps, or raises to give up. An exception
    of `work` is written into the attempt, which frees the claim, and raised again; EndedWithoutRecord only frees it.
    """
    while (attempt := claim()) is None:
        if record := committed():
            return record
        waiting()
    try:
        with attempt.heartbeat() as beat:
            record = work(attempt, beat)
            if commit(attempt, record):
                return record
            if winner := committed():
                return winner  # its numbers count
            raise RuntimeError(
                f"what {attempt.folder} is about was deleted or trained again meanwhile: run the same command again"
            )
    except EndedWithoutRecord:
        raise
    except Exception as error:
        failure = failure_of(error)
        attempt.fail(failure.error, failure.kind)
        raise


def failure_of(error: Exception) -> Failure:
    """What the store keeps of an error; of a process that died also how."""
    kind = faults.kind_of(error)
    text = str(error) if isinstance(error, TrainingEnded) else "".join(traceback.format_exception(error))
    if kind == faults.LOST:
        from swimlab.execution import cluster  # Ray, which a driver without processes of Ray's does not need

        text += faults.death(text, cluster.logs_folder()) or ""
    return Failure(error=text, kind=kind)


def _commit_trial(store: SweepStore, attempt: Attempt, record: TrialRecord) -> bool:
    won = store.commit(attempt, record)
    for number in range(1, attempt.number + 1):
        step_checkpoints.drop(store.backend, f"{folder_of(attempt.trial_id, number)}/steps")
    return won
