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
    """What ends an attempt well before its trial has a result: a search pruned it."""


class HeldElsewhere(EndedWithoutRecord):
    """Another driver has the trial, and nobody wants to wait for it here."""


def run_once(
    store: SweepStore, trial_id: str, work: Callable[[Attempt, Heartbeat], TrialRecord], waiting: Callable[[], None]
) -> TrialRecord:
    """The trial's record: the one in the store, or that of `work`, which trains, puts its files and describes them.

    While somebody else holds the trial `waiting` is called, again and again: it sleeps, or raises to give up. What
    `work` raises is written into the attempt, which frees the trial, and raised; EndedWithoutRecord only frees it.
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
