"""Data of the figures beside a table, read from files that trials committed: curves, maps, film, fits of trends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from swim.outputs import Overlay
from swimlab.experiment.ablation import Ablation
from swimlab.experiment.claim import Claim
from swimlab.experiment.results import ArmResult, Results
from swimlab.report.attention_film import Film, film
from swimlab.report.attention_maps import Strip, strips
from swimlab.stats import scaling_law
from swimlab.store.arrow_tables import film_from_table, from_parquet, overlays_from_table

_AT_A_TIME = 250  # trials whose files are in memory together


@dataclass(frozen=True)
class TrendFit:
    """A claim's metric along an axis of numbers, value → seed → metric; `fit` is None where `problem` says why."""

    axis: str
    metric: str
    claim: str
    points: Mapping[float, Mapping[int, float]]
    fit: scaling_law.Scaling | None
    problem: str = ""


def learning_curves(results: Results) -> list[MetricCurve]:
    """Every metric of every finished trial over its steps."""
    trials = _done(results, "metrics.parquet")
    records = {trial.trial_id: trial.record for trial in trials if trial.record}
    series: dict[str, dict[str, tuple[list[int], list[float]]]] = {}
    for start in range(0, len(records), _AT_A_TIME):
        batch = list(records.values())[start : start + _AT_A_TIME]
        tables = [from_parquet(data) for data in results.store.files_of(batch, "metrics.parquet")]
        series |= zip((record.trial_id for record in batch), _series(tables), strict=True)
    return [
        MetricCurve(trial.arm, trial.seed, name, steps, values)
        for trial in trials
        for name, (steps, values) in series[trial.trial_id].items()
    ]


def _series(tables: Sequence[pa.Table]) -> list[dict[str, tuple[list[int], list[float]]]]:
    """Metric → its steps and values, of each `metrics_table`; by columns, because trials have millions of points."""
    series: list[dict[str, tuple[list[int], list[float]]]] = [{} for _ in tables]
    if not tables:
        return series
    points = pa.concat_tables(tables).combine_chunks()
    names = pc.dictionary_encode(points["name"]).combine_chunks()
    codes, steps, values = (column.to_numpy() for column in (names.indices, points["step"], points["value"]))
    ends = np.cumsum([table.num_rows for table in tables])
    for code, name in enumerate(names.dictionary.to_pylist()):
        rows = np.flatnonzero(codes == code)
        # Rows are in the order of the tables: those of a table are a slice.
        for of_table, part in zip(series, np.split(rows, np.searchsorted(rows, ends[:-1])), strict=True):
            if len(part):
                of_table[name] = steps[part].tolist(), values[part].tolist()
    return series


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
    metric = results.ablation.metric_of(claim).measured(results.recipe.name)
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


def _files(trial: ArmResult) -> set[str]:
    """The names of the files of a trial and of its evaluations."""
    if trial.record is None:
        return set()
    return set(trial.record.files).union(*(evaluation.files for evaluation in trial.record.evaluations))


def _done(results: Results, name: str) -> list[ArmResult]:
    """Finished trials that committed the file; arms that share trials are all included."""
    return [trial for trial in results.trials if name in _files(trial)]


def _fullest(trials: Sequence[ArmResult]) -> int:
    counts = Counter(trial.seed for trial in trials)
    return max(sorted(counts), key=lambda seed: counts[seed])


def _overlays(results: Results, trial: ArmResult) -> list[Overlay]:
    name, evaluations = "overlays.parquet", trial.record.evaluations if trial.record else ()
    for evaluation in evaluations:
        if name in evaluation.files:
            return overlays_from_table(from_parquet(results.store.evaluation_file(evaluation, name)))
    return overlays_from_table(from_parquet(results.store.open_file(trial.trial_id, name)))  # of an older record


@dataclass(frozen=True)
class MetricCurve:
    """One metric of one trial: `values[i]` after `steps[i]` optimiser steps."""

    arm: str
    seed: int
    name: str
    steps: Sequence[int]
    values: Sequence[float]
