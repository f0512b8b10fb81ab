"""A trial is run by one driver at a time and committed once, however many drivers there are and whatever kills them."""

from __future__ import annotations

import traceback
from collections.abc import Callable

from swimlab.execution import step_checkpoints
from swimlab.store.attempts import Attempt, folder_of
from swimlab.store.leases import Heartbeat
from swimlab.store.records import TrialRecord
from swimlab.store.sweep_store import SweepStore


class EndedWithoutRecord(Exception):  # noqa: N818  # nothing went wrong
    """Raised by the work of an attempt that ends as planned and has no result: a search pruned the trial."""


class HeldElsewhere(EndedWithoutRecord):
    """Another driver is running the trial, and the caller does not want to wait for it."""


def run_once(
    store: SweepStore, trial_id: str, work: Callable[[Attempt, Heartbeat], TrialRecord], waiting: Callable[[], None]
) -> TrialRecord:
    """The record of a trial: the one in the store, else that of `work`, which trains, writes the attempt's files and
    describes them.

    While another driver holds the trial, `waiting` is called repeatedly: it sleeps, or raises to give up. An exception
    of `work` is written into the attempt, which frees the trial, and raised again; EndedWithoutRecord only frees it.
    """
    while (attempt := store.claim(trial_id)) is None:
        if record := store.record(trial_id):
            return record
        waiting()
    try:
        with attempt.heartbeat() as beat:
            record = work(attempt, beat)
            if not store.commit(attempt, record):
                record = store.read_records([trial_id])[trial_id]  # another attempt won; its numbers count
            for number in range(1, attempt.number + 1):
                step_checkpoints.drop(store.backend, f"{folder_of(trial_id, number)}/steps")
            return record
    except EndedWithoutRecord:
        raise
    except Exception as error:
        attempt.fail("".join(traceback.format_exception(error)), type(error).__name__)
        raise
