"""Progress of a running trial: its last report and the latest losses, small enough for a heartbeat.

A trial in one process sends it with its heartbeat. The workers of a group are other processes than the one with the
heartbeat: there rank 0 writes `attempts/<trial_id>/<n>/progress`, at most once per heartbeat interval.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from swim.recipe import Frozen
from swimlab.store.backends.patience import waiting_at_most
from swimlab.store.sealed_json import sealed

TAIL = 24
_log = logging.getLogger(__name__)

Report = Callable[[dict[str, Any]], None]


class Progress(Frozen):
    """`losses`: those of the last reports, oldest first; `steps_per_s` over the same reports, None before two.
    `tokens_per_s` and `mfu` since the trial started: see `swimlab.store.records.Cost`."""

    stage: str
    step: int = 0
    steps: int = 0
    loss: float | None = None
    losses: tuple[float, ...] = ()
    steps_per_s: float | None = None
    tokens_per_s: float | None = None
    mfu: float | None = None

    @property
    def left_s(self) -> float | None:
        """Estimated seconds of training that remain."""
        return (self.steps - self.step) / self.steps_per_s if self.steps_per_s else None


class ProgressRecorder:
    """Collects reports; the latest progress can be read from another thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._tail: deque[tuple[float, int, float]] = deque(maxlen=TAIL)
        self._progress: Progress | None = None

    def tell(self, values: Mapping[str, Any]) -> None:
        """A report: `stage`, and while training `step`, `steps`, `loss`, and where known `tokens_per_s` and `mfu`;
        others are ignored."""
        with self._lock:
            if values.get("stage") == "train":
                self._tail.append((self._clock(), values["step"], values["loss"]))
            self._progress = Progress(
                stage=str(values.get("stage", "")),
                step=values.get("step", 0),
                steps=values.get("steps", 0),
                loss=values.get("loss"),
                losses=tuple(float(f"{loss:.4g}") for _, _, loss in self._tail),
                steps_per_s=self._speed(),
                tokens_per_s=values.get("tokens_per_s"),
                mfu=values.get("mfu"),
            )

    @property
    def progress(self) -> Progress | None:
        """None before the first report."""
        with self._lock:
            return self._progress

    def _speed(self) -> float | None:
        if len(self._tail) < 2:
            return None
        (began_s, first, _), (now_s, last, _) = self._tail[0], self._tail[-1]
        return (last - first) / (now_s - began_s) if now_s > began_s else None


class ProgressFile:
    """Writes the latest progress, at most every `interval_s`. An error of the store is logged, not raised: progress is
    only displayed, so it must not fail a trial."""

    def __init__(self, write: Callable[[bytes], None], interval_s: float) -> None:
        self._write, self._interval_s = write, interval_s
        self._latest = ProgressRecorder()
        self._written_s = -interval_s

    def tell(self, values: Mapping[str, Any]) -> None:
        """A report, as `ProgressRecorder.tell` takes it."""
        self._latest.tell(values)
        now_s, progress = time.monotonic(), self._latest.progress
        if progress is None or now_s - self._written_s < self._interval_s:
            return
        self._written_s = now_s
        try:
            with waiting_at_most(0.0):
                self._write(sealed(progress.model_dump(mode="json")))
        except Exception as error:
            _log.warning("progress not written: %s", error)


def both(tell: Callable[[Mapping[str, Any]], None], report: Report) -> Report:
    """A report function that calls `tell` first, then `report`."""

    def reported(values: dict[str, Any]) -> None:
        tell(values)
        report(values)

    return reported
