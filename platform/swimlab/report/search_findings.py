"""Findings of a search: the Pareto front, the importance of each axis, the confirmation on fresh seeds."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import optuna
from optuna.trial import TrialState

from swimlab.execution.search import optuna_study
from swimlab.execution.search.results import Proposal, ProposalResult
from swimlab.stats.intervals import Interval, interval
from swimlab.stats.pairing import Origin, comparable
from swimlab.store.flat_rows import trial_row

if TYPE_CHECKING:
    from swimlab.execution.search.results import SearchResults

# Optuna's default compares the best tenth with all: two of twenty points, too few.
TOP_SHARE = 0.25
FEWEST_FOR_IMPORTANCE = 8


@dataclass(frozen=True)
class Importance:
    """Importance of each axis (path → share, summing to 1) for being among the best `top` of `points`."""

    objective: str
    shares: dict[str, float]
    top: int
    points: int


@dataclass(frozen=True)
class PointCounts:
    """Points by how they ended."""

    complete: int
    pruned: int
    failed: int
    repeated: int
    waiting: int
    spent_s: float
    """Wall-clock of the points' trials, each once."""
    saved_s: float
    """Wall-clock that pruned points would have taken more, at the mean of the complete ones."""


def front(results: SearchResults) -> list[int]:
    """Numbers of the complete points on the Pareto front: no other point is better in every objective."""
    study = optuna_study.fill(results)
    if not any(trial.state == TrialState.COMPLETE for trial in study.trials):
        return []
    return sorted({trial.number for trial in study.best_trials} - set(results.repeats))


def best(results: SearchResults) -> tuple[Proposal, ProposalResult] | None:
    """The best complete point by the first objective, then by the others; of equals the earliest."""
    return max(results.complete(), key=lambda pair: (*pair[1].rank(results.search), -pair[0].number), default=None)


def importances(results: SearchResults) -> list[Importance]:
    """PED-ANOVA importances over the complete points, for each objective; empty below eight points."""
    study, done = optuna_study.fill(results), results.complete()
    if len(done) < FEWEST_FOR_IMPORTANCE:
        return []
    rows = []
    for i, (metric, name) in enumerate(zip(results.search.objectives, results.names, strict=True)):
        sign = -1 if metric.higher_is_better else 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns that low targets count as good; the sign accounts for that
            shares = optuna.importance.get_param_importances(
                study,
                evaluator=optuna.importance.PedAnovaImportanceEvaluator(target_quantile=TOP_SHARE),
                target=lambda trial, i=i, sign=sign: sign * trial.values[i],
            )
        rows.append(Importance(name, dict(shares), -(-len(done) // round(1 / TOP_SHARE)), len(done)))
    return rows


def counts(results: SearchResults) -> PointCounts:
    """Number of points by state, and their cost."""
    answers = [(point.number, answer) for point, answer in results.points]
    unique = [answer for number, answer in answers if answer and number not in results.repeats]

    def walls(state: TrialState) -> list[float]:
        return [answer.record.cost.wall_s for answer in unique if answer.state == state and answer.record]

    complete, pruned = walls(TrialState.COMPLETE), walls(TrialState.PRUNED)
    mean_s = sum(complete) / len(complete) if complete else 0.0
    return PointCounts(
        complete=len(complete),
        pruned=len(pruned),
        failed=sum(answer.state == TrialState.FAIL for answer in unique),
        repeated=len(results.repeats),
        waiting=results.search.budget - sum(answer is not None for _, answer in answers),
        spent_s=sum(complete) + sum(pruned),
        saved_s=max(0.0, mean_s * len(pruned) - sum(pruned)),
    )


@dataclass(frozen=True)
class Judged:
    """One objective of the best point, by its own trial: on the clips that chose it, and on the reported ones, by which
    nothing was chosen (None: not measured)."""

    objective: str
    chosen_by: float
    reported: float | None


def judged(results: SearchResults) -> list[Judged]:
    """One row for each objective that evaluation measures; empty before a point is complete."""
    if (top := best(results)) is None:
        return []
    numbers = results.winner.record.metrics if results.winner and results.winner.record else {}
    names = zip(results.names, results.search.reported(results.recipe), top[1].values, strict=True)
    return [Judged(name, value, numbers.get(name)) for chooses, name, value in names if chooses != name]


@dataclass(frozen=True)
class ConfirmedObjective:
    """One objective of the best point and of the recipe as it is, on fresh seeds, with paired differences."""

    objective: str
    best: Interval
    base: Interval
    difference: Interval


def confirmed(results: SearchResults) -> list[ConfirmedObjective]:
    """One row for each objective, over the seeds that both have and that may be compared (`swimlab.stats.pairing`)."""
    by_arm: dict[str, dict[int, dict[str, float]]] = {}
    origins: dict[str, dict[int, Origin]] = {}
    for run in results.confirmed:
        if run.record:
            by_arm.setdefault(run.arm, {})[run.spec.seed] = run.record.metrics
            origins.setdefault(run.arm, {})[run.spec.seed] = Origin.of(trial_row(run.record))
    if len(by_arm) < 2:
        return []
    best_runs, base_runs = by_arm["best point"], by_arm["recipe as it is"]
    seeds = [s for s in sorted(set(best_runs) & set(base_runs)) if comparable(arm[s] for arm in origins.values())]
    rows = []
    for name in results.search.reported(results.recipe):
        both = [(best_runs[s][name], base_runs[s][name]) for s in seeds if name in best_runs[s].keys() & base_runs[s]]
        if both:
            best_values, base_values = zip(*both, strict=True)
            rows.append(
                ConfirmedObjective(
                    name, interval(best_values), interval(base_values), interval([a - b for a, b in both])
                )
            )
    return rows
