"""Trials that could not say themselves why they ended: their process did not start, or was killed."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray import cloudpickle
from ray.exceptions import RayTaskError
from ray.tune import Callback

from swimlab.execution import cluster
from swimlab.store.sweep_store import SweepStore

PATIENCE_S = 10.0
POLL_S = 0.2


class LostTrials(Callback):  # type: ignore[misc]  # Ray ships no types
    """Tune's callback: writes the reason into an attempt of such a trial, where every report looks for it. `trial_id`
    finds the trial behind a Tune configuration."""

    def __init__(self, store: SweepStore, trial_id: Callable[[dict[str, Any]], str]) -> None:
        self._store, self._trial_id = store, trial_id
        self._unwritten: dict[str, str] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks beside its own state and runs the original

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Tune: a trial failed."""
        trial_id = self._trial_id(trial.config)
        if isinstance(_error(trial), RayTaskError) and self._store.failures([trial_id]):
            return  # it raised, and has written more than is known here
        self._unwritten[trial_id] = reason(trial)
        self._write()

    def finish(self) -> None:
        """Write what could not be written yet. A process that is gone may hold its trial for a moment still; if it ran
        on another machine, until its heartbeat has been silent for long enough."""
        deadline_s = time.monotonic() + self._store.dead_after_s + PATIENCE_S
        while self._unwritten and time.monotonic() < deadline_s:
            time.sleep(POLL_S)
            self._write()

    def _write(self) -> None:
        for trial_id, why in list(self._unwritten.items()):
            if attempt := self._store.claim(trial_id):
                attempt.fail(why, "lost")
            elif self._store.held(trial_id):
                continue
            del self._unwritten[trial_id]  # written; or another driver has brought it to its end


def reason(trial: Any) -> str:
    """Why a Tune trial failed; the last line says it all. Where it raised, its traceback; else what Ray says of its
    process, and where Ray's logs are."""
    # Tune wrote it down a moment ago, under a line with the time. Its own `get_error` looks where it uploads it later.
    said = Path(trial.error_file).read_text("utf-8", "replace").strip().splitlines()[1:]
    if isinstance(_error(trial), RayTaskError):
        return "\n".join(said)
    told = " ".join(line.strip() for line in said if line and not line[0].isspace())  # indented: ids of actor and node
    return f"{told} (Ray's logs: {cluster.logs_folder()})"


def _error(trial: Any) -> Exception | None:
    # None: not of the kinds that Tune keeps, which are exceptions of the trial and of Ray about a process that had
    # started.
    file = trial.pickled_error_file
    return cloudpickle.loads(Path(file).read_bytes()) if file else None
