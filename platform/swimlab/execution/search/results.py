"""The results of a search: its points, the result of each, and the confirmations of the best one."""

from __future__ import annotations

from dataclasses import dataclass, field

from optuna.trial import TrialState

from swim.recipe import Recipe
from swimlab.execution.search.pruning_rungs import EarlierTrial, PrunedRecord
from swimlab.experiment.search import Search, Value
from swimlab.experiment.stored_results import missing_evaluations
from swimlab.experiment.trial_spec import TrialSpec
from swimlab.store.evaluation_records import TrialResult
from swimlab.store.sweep_store import SweepStore


@dataclass(frozen=True)
class Proposal:
    """A proposed point. `params`: axis path → label or number. Where the values do not go together, `spec` is None
    and `problem` says why."""

    number: int
    params: dict[str, Value]
    spec: TrialSpec | None
    problem: str = ""


@dataclass(frozen=True)
class ProposalResult:
    """What became of a point: its objectives where it is COMPLETE, the first objective at the rungs it is known to have
    passed, and what the store holds of it."""

    state: TrialState
    values: tuple[float, ...] = ()
    rungs: dict[int, float] = field(default_factory=dict)
    record: TrialResult | PrunedRecord | None = None
    problem: str = ""

    def rank(self, search: Search) -> tuple[float, ...]:
        """A key for comparing points, greater is better: the first objective, then the next ones."""
        signs = (1 if metric.higher_is_better else -1 for metric in search.objectives)
        return tuple(sign * value for sign, value in zip(signs, self.values, strict=False))

    @property
    def trace(self) -> EarlierTrial:
        first = self.values[0] if self.values else None
        return EarlierTrial(state=self.state.name, value=first, rungs=self.rungs)


def numbers_of(record: TrialResult | PrunedRecord) -> dict[str, float]:
    """Metrics, and what it cost ("cost.cpu_s"), as far as that was measured."""
    cost = record.cost.model_dump(exclude_none=True)
    return record.metrics | {f"cost.{name}": float(value) for name, value in cost.items()}


@dataclass(frozen=True)
class Confirmation:
    """A trial measured on the reported clips, by which nothing was chosen."""

    arm: str
    spec: TrialSpec
    record: TrialResult | None
    failure: str

    @property
    def complete(self) -> bool:
        """Whether the trial is committed and was measured there."""
        return self.record is not None and not missing_evaluations(self.spec, self.record)


@dataclass(frozen=True)
class SearchResults:
    """All a report needs: points in the order of proposal, each with its answer (None: not run yet). `winner`: the
    trial of the best point; `confirmed`: the best point, and the recipe as it is, on the seeds of `confirm`. Both are
    there once all points have been run. `unmeasured`: open points whose trials are in the store, trained for a table or
    by a search that chose on the reported clips."""

    search: Search
    recipe: Recipe
    points: tuple[tuple[Proposal, ProposalResult | None], ...]
    repeats: dict[int, int]
    winner: Confirmation | None
    confirmed: tuple[Confirmation, ...]
    store: SweepStore
    wall_s: float
    unmeasured: tuple[int, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The metrics that choose, in the order of the objectives, as results name them."""
        return self.search.judged_by(self.recipe)

    def complete(self) -> list[tuple[Proposal, ProposalResult]]:
        """Trials that ran to their end, each once."""
        return [
            (point, answer)
            for point, answer in self.points
            if answer and answer.state == TrialState.COMPLETE and point.number not in self.repeats
        ]
