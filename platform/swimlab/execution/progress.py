"""Live progress of a run: bars on a terminal, plain lines in a log (a job's log in the Ray dashboard is one)."""

from __future__ import annotations

import time
from typing import Any

from ray.tune import Callback
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from swimlab.base.printable import LINE, printable
from swimlab.base.screen import say
from swimlab.execution.lost_trials import reason

LINE_EVERY_S = 15.0
HELD_ELSEWHERE = "another driver has it"


class SweepProgress(Callback):  # type: ignore[misc]  # Ray ships no types
    """Shows progress: a callback of Tune, also called by the preparation of data. `with SweepProgress(console): …`"""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=console,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._printed_s = 0.0
        self._wave: TaskID | None = None
        self._done = 0
        self._total = 0
        self._occupied_s: dict[str, float] = {}
        self._held: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its callbacks beside its own state and runs the original: a terminal cannot travel.
        return {}

    def __enter__(self) -> SweepProgress:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def stage(self, name: str, done: int, total: int) -> None:
        """Progress of a preparation stage; a `total` of 0 is not known yet."""
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=total or None, note="")
        self._bars.update(self._tasks[name], completed=done, total=total or None)
        self._line(f"{name}: {done}" + (f" of {total}" if total else ""), now=0 < total <= done)

    def wave(self, name: str, total: int) -> None:
        """A wave of trials begins."""
        self._done, self._total, self._occupied_s, self._held = 0, total, {}, set()
        self._wave = self._bars.add_task(name, total=total, note="")
        self._line(f"{name}: {total} to run", now=True)

    def again(self, name: str) -> None:
        """A trial of this wave will run once more."""
        self._total += 1
        if self._wave is not None:
            self._bars.update(self._wave, total=self._total)
        self._line(f"{name}: again, after the store or a process failed", now=True)

    def occupied_s(self) -> dict[str, float]:
        """Trial id → how long it held its slot, for the trials of this wave that ended well."""
        return dict(self._occupied_s)

    def held_elsewhere(self) -> set[str]:
        """The trials of this wave that other drivers were running."""
        return set(self._held)

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        """Tune: a trial reported."""
        name = str(trial)  # as `run_wave` or `run_search` labels it
        if result.get("stage") == "train":
            if name not in self._tasks:
                self._tasks[name] = self._bars.add_task(f"  {name}", total=result["steps"], note="")
            note = f"loss {result['loss']:.4f}"
            self._bars.update(self._tasks[name], completed=result["step"], note=note)
            self._line(f"  {name}: step {result['step']} of {result['steps']}, {note}")

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Tune: a trial ended well, at its last step or at a rung."""
        last = trial.last_result or {}
        if last.get("stage") == HELD_ELSEWHERE:
            self._held.add(last["of"])
        if "occupied_s" in last:
            self._occupied_s[last["of"]] = last["occupied_s"]
        self._end(trial, last.get("stage", "done"), last.get("shown", ""))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Tune: a trial failed, or could not start; its attempt in the store holds the error."""
        self._end(trial, "FAILED", reason(trial).splitlines()[-1])

    def _end(self, trial: Any, stage: str, note: str) -> None:
        name = str(trial)
        self._done += 1
        if name in self._tasks:
            self._bars.remove_task(self._tasks.pop(name))
        if self._wave is not None:
            self._bars.update(self._wave, completed=self._done)
        line = f"{name}: {stage} ({self._done} of {self._total})" + (f", {note}" if note else "")
        if stage == "FAILED" and self.console.is_terminal:
            say(self.console, printable(line, LINE), "red")  # its bar is gone
        self._line(f"  {line}", now=True)

    def _line(self, text: str, now: bool = False) -> None:
        if self.console.is_terminal:
            return
        if now or time.monotonic() - self._printed_s > LINE_EVERY_S:
            self._printed_s = time.monotonic()
            say(self.console, printable(text, LINE))  # one line, whatever the name holds
