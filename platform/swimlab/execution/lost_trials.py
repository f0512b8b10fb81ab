"""Failures that a trial could not write down itself, because its process did not start or was killed."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.tune import Callback

from swimlab.execution import cluster, faults
from swimlab.experiment.stored_results import failures, missing_evaluations, stored_results
from swimlab.experiment.trial_spec import TrialSpec
from swimlab.store.evaluation_records import TrialTarget
from swimlab.store.sweep_store import SweepStore

PATIENCE_S = 10.0
POLL_S = 0.2
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class LostTrials(Callback):  # type: ignore[misc]  # Ray ships no types
    """Tune's callback: writes why such a trial failed into an attempt of it, or of the evaluation it was at, where
    reports read failures. `spec_of`: a trial's Tune configuration → the trial."""

    def __init__(self, store: SweepStore, spec_of: Callable[[dict[str, Any]], TrialSpec]) -> None:
        self._store, self._spec_of = store, spec_of
        self._unwritten: dict[str, tuple[TrialSpec, str]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks beside its own state and runs the original

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Tune: a trial failed."""
        spec = self._spec_of(trial.config)
        if _raised(_error_lines(trial)) and failures(self._store, [spec], stored_results(self._store, [spec])):
            return  # it raised, and has written more than is known here
        self._unwritten[spec.trial_id] = spec, reason(trial)
        self._write()

    def finish(self) -> None:
        """Writes the failures that could not be written yet, because the dead process still holds its trial: for a
        moment, or on another machine until its heartbeat has been silent for long enough."""
        deadline_s = time.monotonic() + self._store.dead_after_s + PATIENCE_S
        while self._unwritten and time.monotonic() < deadline_s:
            time.sleep(POLL_S)
            self._write()

    def _write(self) -> None:
        for trial_id, (spec, why) in list(self._unwritten.items()):
            results = stored_results(self._store, [spec])
            if trial_id not in results:
                attempt = self._store.claim(trial_id)
            elif open_evaluations := missing_evaluations(spec, results[trial_id]):
                attempt = self._store.claim(open_evaluations[0], TrialTarget.of(results[trial_id]))
            else:
                del self._unwritten[trial_id]  # another driver has brought it to its end
                continue
            if attempt is None:
                continue  # the claim of the process that is gone still counts
            attempt.fail(why, faults.LOST)
            del self._unwritten[trial_id]


def reason(trial: Any) -> str:
    """Why a Tune trial failed, the most telling line last: its traceback where it raised, else how its process died, as
    far as that is known, and where Ray's logs are."""
    error_lines = _error_lines(trial)
    died = faults.death("\n".join(error_lines), cluster.logs_folder())
    if _raised(error_lines):
        return "\n".join([*error_lines, died] if died else error_lines)
    if died:
        return died
    # Indented lines hold ids of actor and node.
    line = " ".join(line.strip() for line in error_lines if line and not line[0].isspace())
    return f"{line} (Ray's logs: {cluster.logs_folder()})"


def _error_lines(trial: Any) -> list[str]:
    # Tune wrote it down a moment ago, under a line with the time. Its own `get_error` looks where it uploads it later.
    text = Path(trial.error_file).read_text("utf-8", "replace")
    return _COLOUR.sub("", text).strip().splitlines()[1:]


def _raised(error_lines: list[str]) -> bool:
    # Ray begins the traceback of an exception with the title of the process that raised it.
    return bool(error_lines) and error_lines[0].startswith("ray::")
