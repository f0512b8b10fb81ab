"""A trial at its rungs, in every process that trains it: rank 0 measures and decides, then tells the other ranks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch

from swim import parallel
from swim.data.clips import Clips
from swim.data.types import Clip
from swim.evaluation.evaluate import run_suite
from swim.train import Moment
from swimlab.execution.search.pruning_rungs import PrunerReplay, PruningContext, Rung, known_rungs, put_rung, value_of
from swimlab.experiment.trial_spec import TrialSpec
from swimlab.store.sweep_store import SweepStore


class PrunedAt(Exception):  # noqa: N818  # no error: the trial ends early and well
    """Raised out of the training loop, on every rank at the same step."""

    def __init__(self, rung: Rung | None, values: dict[int, float]) -> None:
        super().__init__(f"pruned at step {rung.step}" if rung else "pruned")
        self.rung, self.values = rung, values


class RungWatch:
    """`measure`, then `judge`, after every step. Measuring leaves no trace in the training: random state and modes come
    back."""

    def __init__(
        self,
        gate: PruningContext,
        pruner: Any,
        spec: TrialSpec,
        store: SweepStore,
        scored: Clips,
        device: torch.device,
        micro_batch: int | None,
    ) -> None:
        self._gate, self._spec, self._store, self._scored = gate, spec, store, scored
        self._device, self._micro_batch = device, micro_batch
        self._rank, _ = parallel.ranks()
        self._first = True
        self._evaluation = spec.evaluation(gate.suite)
        if self._rank == 0:
            self._judge = PrunerReplay(gate, pruner)
            self._known = known_rungs(store, spec.trial_id, self._evaluation.evaluation_id, gate.clips)

    def measure(self, now: Moment) -> bool:
        """At a rung, measures and stores its metrics. Returns whether this step is a rung."""
        if now.step not in self._gate.steps or now.step >= self._spec.recipe.optim.total_steps:
            return False
        if self._rank == 0 and now.step not in self._known:
            self._known[now.step] = self._measure(now)
        return True

    def judge(self, now: Moment) -> None:
        """Raises PrunedAt on every rank when the trial ends here; at the first step after it resumed, when it was to
        end at a rung that the run before it had passed."""
        if now.step not in self._gate.steps and not self._first:
            return
        self._first = False
        ends_at = self._ends_by(now.step) if self._rank == 0 else None
        (stops,) = parallel.from_rank_0((int(ends_at is not None),), self._device)
        if stops:
            raise PrunedAt(ends_at, self._judge.rungs if self._rank == 0 else {})

    def _ends_by(self, step: int) -> Rung | None:
        """The rung at which the trial ends, of those up to this step that were not judged yet."""
        for reached, rung in sorted(self._known.items()):
            due = reached <= step and reached in self._gate.steps and reached not in self._judge.rungs
            if due and self._judge.stops(reached, value_of(rung, self._gate.objective)):
                return rung
        return None

    def _measure(self, now: Moment) -> Rung:
        with now.trained() as trained:
            clips = _First(self._scored, self._gate.clips)
            metrics = run_suite(self._gate.suite, self._spec.recipe, trained, clips, self._micro_batch).metrics
        rung = Rung(
            trial_id=self._spec.trial_id,
            evaluation_id=self._evaluation.evaluation_id,
            split=self._evaluation.split,
            step=now.step,
            clips=self._gate.clips,
            metrics=metrics,
        )
        put_rung(self._store, rung)
        return rung


class _First:
    """The first clips of a split."""

    def __init__(self, clips: Clips, count: int) -> None:
        self._clips, self.keys = clips, clips.keys[:count]

    def read(self, order: Iterable[int]) -> Iterator[Clip]:
        return self._clips.read(order)
