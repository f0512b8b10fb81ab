"""Trials that could not say themselves why they ended: their process did not start, or was killed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.exceptions import RayTaskError
from ray.tune import Callback

from swimlab import cluster
from swimlab.store import SweepStore


class LostTrials(Callback):  # type: ignore[misc]  # Ray ships no types
    """Tune's callback: writes the reason into an attempt of such a trial, where every report looks for it. `trial_id`
    finds the trial behind a Tune configuration."""

    def __init__(self, store: SweepStore, trial_id: Callable[[dict[str, Any]], str]) -> None:
        self._store, self._trial_id = store, trial_id

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks beside its own state and runs the original

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Tune: a trial failed."""
        error, trial_id = trial.get_pickled_error(), self._trial_id(trial.config)
        if isinstance(error, RayTaskError) and self._store.failures([trial_id]):
            return  # it raised: it has written more than is known here
        # None: somebody holds the trial who may be alive, such as a process of another machine that was silent for less
        # than a minute. Then the log has the reason, and the store has an attempt without an end.
        if attempt := self._store.claim(trial_id):
            attempt.fail(reason(trial), type(error).__name__ if error else "TuneError")


def reason(trial: Any) -> str:
    """Why a Tune trial failed; the last line says it all. Of an exception its traceback, else what Ray says of the
    process, and where its logs are."""
    error = trial.get_pickled_error()
    if isinstance(error, RayTaskError):
        return str(error).strip()
    # Ray's indented lines are ids of actors and nodes.
    said = [line for line in str(error or trial.get_error()).splitlines() if line and not line[0].isspace()]
    kind = f"{type(error).__name__}: " if error else ""
    return f"{kind}{' '.join(said)} (Ray's logs: {cluster.logs_folder()})"
