"""Data of the figures beside a table, read from files that trials committed: curves, maps, film, fits of trends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from swim.evaluation.types import Overlay
from swimlab.experiment.ablation import Ablation
from swimlab.experiment.claim import Claim
from swimlab.experiment.results import ArmResult, Results
from swimlab.report.attention_film import Film, film
from swimlab.report.attention_maps import Strip, strips
from swimlab.stats import scaling_law
from swimlab.store.arrow_tables import film_from_table, from_parquet, metrics_from_table, overlays_from_table


@dataclass(frozen=True)
class TrendFit:
    """The primary metric along an axis of numbers, value → seed → metric; `fit` is None where `problem` says why."""

    axis: str
    metric: str
    claim: str
    points: Mapping[float, Mapping[int, float]]
    fit: scaling_law.Scaling | None
    problem: str = ""


def learning_curves(results: Results) -> list[Curve]:
    """Every metric of every finished trial over its steps."""
    curves = []
    for trial in _done(results, "metrics.parquet"):
        points = metrics_from_table(from_parquet(results.store.open_file(trial.trial_id, "metrics.parquet")))
        for name in dict.fromkeys(point.name for point in points):
            series = [point for point in points if point.name == name]
            steps, values = [p.step for p in series], [p.value for p in series]
            curves.append(Curve(trial.arm, trial.seed, name, steps, values))
    return curves


def pictures(results: Results) -> tuple[int | None, Sequence[Strip]]:
    """Attention maps of the same clips and nouns for every arm, of one seed: the lowest of those that most arms have
    maps for; None and no strips without maps."""
    trials = _done(results, "overlays.parquet")
    if not trials:
        return None, ()
    seed = _fullest(trials)
    return seed, strips({t.arm: _overlays(results, t) for t in trials if t.seed == seed})


def sharpening(results: Results) -> tuple[int | None, Film | None]:
    """The seed and the film of the reference arm beside the `claimed` one, of the lowest seed that most of the two were
    filmed under; None and None where no trial was filmed."""
    ablation = results.ablation
    names = [name for name in (ablation.reference, claimed(ablation)) if name is not None]
    trials = [t for t in _done(results, "film.parquet") if t.arm in names and "overlays.parquet" in _files(t)]
    if not trials:
        return None, None
    seed = _fullest(trials)
    by_arm = {trial.arm: trial for trial in trials if trial.seed == seed}
    frames = {
        arm: film_from_table(from_parquet(results.store.open_file(by_arm[arm].trial_id, "film.parquet")))
        for arm in names
        if arm in by_arm
    }
    return seed, film(_overlays(results, next(iter(by_arm.values()))), frames)


def claimed(ablation: Ablation) -> str | None:
    """The arm that represents SWIM: the one of preset `paper`, else the one with the largest weight in the claims (the
    first of equals), never the reference. None where there is no other arm."""
    candidates = [arm for arm in ablation.arms if arm.name != ablation.reference]
    if paper_arm := next((arm for arm in candidates if arm.preset == "paper"), None):
        return paper_arm.name
    contrasts = [ablation.contrast(claim) for claim in ablation.paper.claims]
    return max((a.name for a in candidates), key=lambda name: sum(c.get(name, 0.0) for c in contrasts), default=None)


def trends(results: Results) -> list[TrendFit]:
    """The fit of every claimed trend, over all seeds of its arms."""
    return [
        _trend(results, claim, claim.trend_axis)
        for claim in results.ablation.paper.claims
        if claim.trend_axis is not None
    ]


def _trend(results: Results, claim: Claim, axis: str) -> TrendFit:
    arms = results.ablation.contrast(claim)
    metric = results.ablation.primary.measured(results.recipe.name)
    path = next(
        (p for arm in results.ablation.arms for p in arm.overrides if axis in (p, p.rpartition(".")[2])),
        axis,
    )
    points: dict[float, dict[int, float]] = {}
    for trial in results.trials:
        if trial.arm in arms and trial.record and metric in trial.record.metrics:
            value = _field(trial.record.recipe, path)
            if isinstance(value, bool) or not isinstance(value, int | float):
                return TrendFit(
                    path, metric, claim.text, {}, None, f"{path} is {value!r} in arm {trial.arm}: no number"
                )
            points.setdefault(float(value), {})[trial.seed] = trial.record.metrics[metric]
    try:
        return TrendFit(path, metric, claim.text, points, scaling_law.fit(points))
    except ValueError as error:
        return TrendFit(path, metric, claim.text, points, None, str(error))


def _field(recipe: Mapping[str, Any], path: str) -> Any:
    value: Any = recipe
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _files(trial: ArmResult) -> Mapping[str, Any]:
    return trial.record.files if trial.record else {}


def _done(results: Results, name: str) -> list[ArmResult]:
    """Finished trials that committed the file; arms that share trials are all included."""
    return [trial for trial in results.trials if name in _files(trial)]


def _fullest(trials: Sequence[ArmResult]) -> int:
    return max(sorted({trial.seed for trial in trials}), key=lambda seed: sum(t.seed == seed for t in trials))


def _overlays(results: Results, trial: ArmResult) -> list[Overlay]:
    return overlays_from_table(from_parquet(results.store.open_file(trial.trial_id, "overlays.parquet")))


@dataclass(frozen=True)
class Curve:
    """One metric of one trial: `values[i]` after `steps[i]` optimiser steps."""

    arm: str
    seed: int
    name: str
    steps: Sequence[int]
    values: Sequence[float]
