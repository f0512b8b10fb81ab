"""A search loop as Ray Tune's search algorithm: Tune asks it for trials and tells it when they end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.tune.search import Searcher

from swimlab.execution.search.ask_tell import SearchLoop
from swimlab.execution.search.results import Proposal
from swimlab.experiment.trial_spec import TrialSpec


class Proposals(Searcher):  # type: ignore[misc]  # Ray ships no types
    """Proposes one generation after another. The configuration of a Tune trial holds what it runs: `spec` and `gate`
    as JSON. `before(spec)` is called before a trial is handed to Tune; so is `again(spec)` where it was interrupted and
    runs once more."""

    def __init__(
        self, loop: SearchLoop, before: Callable[[TrialSpec], None], again: Callable[[TrialSpec], None]
    ) -> None:
        super().__init__()
        self._loop, self._before, self._again = loop, before, again
        self._waiting: list[Proposal] = []
        self._running: dict[str, Proposal] = {}
        self._interrupted: set[int] = set()

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Tune: the next trial; None while all trials of a generation are running; FINISHED when the budget is
        spent."""
        if not self._waiting and not self._running:
            self._waiting = self._loop.todo()
            if not self._waiting:
                return str(Searcher.FINISHED)
        if not self._waiting:
            return None
        point = self._running[trial_id] = self._waiting.pop(0)
        assert point.spec is not None
        if point.number in self._interrupted:
            self._again(point.spec)
        self._before(point.spec)
        gate = self._loop.gate
        return {
            "arm": point.spec.arm,
            "seed": point.spec.seed,
            "spec": point.spec.model_dump_json(),
            "gate": None if gate is None else gate.model_dump_json(),
        }

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tune: a trial ended. Its result is read from the store."""
        point = self._running.pop(trial_id)
        if self._loop.settle(point) is None:
            self._interrupted.add(point.number)

    def save(self, checkpoint_path: str) -> None:
        """Tune saves its search algorithm every few seconds. Nothing is saved: a search is rebuilt from the store."""
        Path(checkpoint_path).write_text("")

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a search goes on from the store: run it again")
