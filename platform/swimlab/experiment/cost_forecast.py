"""What a plan will cost, from the records of similar trials; without any see `first_estimate`.

Similar means the same model: a tiny model says nothing about the time of a 7B one, whatever the steps.
"""

from __future__ import annotations

import heapq
import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from swimlab.experiment.trial_spec import TrialSpec
from swimlab.store.records import TrialRecord

# What an estimate rests on, best first.
SAME, LIKE, ROUGH = "same recipe", "same model, data and batch", "same model, scaled by steps × batch"

# Without any record: see `swimlab.experiment.first_estimate`.
FIRST = "first estimate"

# These do not move the time of a trial. What it starts from: weights of the same shape take the same time.
_UNNAMED = frozenset({"name", "seed", "init", "evaluation"})

# These do not move the time of a step: which clips, not how large they are.
_WHICH_CLIPS = frozenset({"clips", "fraction", "seed", "annotations", "videos"})


@dataclass(frozen=True)
class CostEstimate:
    """What one trial will cost: medians over `records` similar trials, `source` says how similar; `device` is where
    they ran. `cpu_s` is the time of the trial's own process."""

    wall_s: float
    cpu_s: float
    size_bytes: int
    records: int
    source: str
    device: str


@dataclass(frozen=True)
class Totals:
    """The cost of the trials to run. `unknown`: how many have no estimate; the sums leave them out. `wall_s` is the
    time from the first start to the last end; None where any trial has no estimate."""

    trials: int
    unknown: int
    trials_s: float
    device_hours: float
    size_bytes: int
    wall_s: float | None
    devices: tuple[str, ...]


class Forecast:
    """Estimates from the records of a store. Recipes that differ in name, seed or base alone are compared once, and
    trials of such recipes are estimated once: 5,000 trials and as many records are a comparison of 20 × 20."""

    def __init__(self, records: Iterable[TrialRecord]) -> None:
        self._records: dict[str, list[TrialRecord]] = {}
        for record in records:
            self._records.setdefault(_key(record.recipe), []).append(record)
        self._estimates: dict[str, CostEstimate | None] = {}

    def estimate(self, spec: TrialSpec) -> CostEstimate | None:
        """See the module function `estimate`."""
        recipe = spec.recipe.training()
        if (key := _key(recipe)) not in self._estimates:
            self._estimates[key] = _estimate(recipe, self._records.values())
        return self._estimates[key]


def estimate(spec: TrialSpec, records: Iterable[TrialRecord]) -> CostEstimate | None:
    """From the most similar trials; None without any of the same model."""
    return Forecast(records).estimate(spec)


def _estimate(recipe: Mapping[str, Any], replicated: Iterable[Sequence[TrialRecord]]) -> CostEstimate | None:
    """`replicated`: records of recipes that differ in nothing that matters here."""
    groups: dict[str, list[tuple[TrialRecord, float]]] = {}
    for records in replicated:
        if (source := _likeness(recipe, records[0].recipe)) is not None:
            timed = ((record, _scaled_wall_s(recipe, record, source)) for record in records)
            groups.setdefault(source, []).extend((record, wall_s) for record, wall_s in timed if wall_s is not None)
    for source in (SAME, LIKE, ROUGH):
        if group := groups.get(source):
            return CostEstimate(
                wall_s=statistics.median(wall_s for _, wall_s in group),
                cpu_s=statistics.median(r.cost.cpu_s * wall_s / r.cost.wall_s for r, wall_s in group),
                size_bytes=round(statistics.median(sum(f.size_bytes for f in r.files.values()) for r, _ in group)),
                records=len(group),
                source=source,
                device=", ".join(sorted({str(r.provenance.numerics.get("device", "?")) for r, _ in group})),
            )
    return None


def of_evaluation(record: TrialRecord) -> CostEstimate:
    """Of evaluating a committed trial again: as long as it took when it was trained."""
    return CostEstimate(
        wall_s=record.cost.eval_s,
        cpu_s=record.cost.cpu_s * record.cost.eval_s / record.cost.wall_s if record.cost.wall_s else 0.0,
        size_bytes=sum(entry.size_bytes for name, entry in record.files.items() if name.startswith("evaluations/")),
        records=1,
        source=SAME,
        device=str(record.provenance.numerics.get("device", "?")),
    )


def totals(
    waves: Sequence[Sequence[TrialSpec]],
    estimates: Mapping[str, CostEstimate | None],
    *,
    at_a_time: int,
    devices_a_trial: int,
) -> Totals:
    """`estimates`: trial id → estimate. Waves run one after another, `at_a_time` trials each; preparing the data is not
    counted."""
    by_wave = [[estimates[spec.trial_id] for spec in wave] for wave in waves]
    known_estimates = [estimate for wave in by_wave for estimate in wave if estimate is not None]
    trials, trials_s = sum(map(len, by_wave)), math.fsum(estimate.wall_s for estimate in known_estimates)
    spans = [_span_s([estimate.wall_s for estimate in wave if estimate is not None], at_a_time) for wave in by_wave]
    return Totals(
        trials=trials,
        unknown=trials - len(known_estimates),
        trials_s=trials_s,
        device_hours=trials_s * devices_a_trial / 3600,
        size_bytes=sum(estimate.size_bytes for estimate in known_estimates),
        wall_s=math.fsum(spans) if trials == len(known_estimates) else None,
        devices=tuple(sorted({estimate.device for estimate in known_estimates})),
    )


def _span_s(walls_s: Sequence[float], at_a_time: int) -> float:
    """How long trials take when the next starts as one ends, in the order of the plan."""
    free_s = [0.0] * at_a_time
    for wall_s in walls_s:
        heapq.heappush(free_s, heapq.heappop(free_s) + wall_s)
    return max(free_s)


def _key(recipe: Mapping[str, Any]) -> str:
    """Equal where `_likeness` and `_scaled_wall_s` see no difference."""
    return json.dumps(_timed(recipe), sort_keys=True)


def _timed(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the time of a trial: the same in every world, so without the seeds."""
    seeded = {part: _without(recipe.get(part, {}), ["seed"]) for part in ("data", "model")}
    return _without(recipe, _UNNAMED) | seeded


def _without(tree: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: value for name, value in tree.items() if name not in names}


def _likeness(recipe: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    if _without(recipe["model"], ["seed"]) != _without(other.get("model", {}), ["seed"]):
        return None
    if _timed(recipe) == _timed(other):
        return SAME
    same_data = _without(recipe["data"], _WHICH_CLIPS) == _without(other.get("data", {}), _WHICH_CLIPS)
    return LIKE if same_data and recipe["optim"]["batch"] == other.get("optim", {}).get("batch") else ROUGH


def _steps(record: TrialRecord) -> int | None:
    """How many steps a trial took; None where it is not known."""
    optim, clips = record.recipe.get("optim", {}), record.metrics.get("train.clips")
    if (epochs := optim.get("epochs")) is None:
        return int(optim.get("steps", 0))
    return None if clips is None else math.ceil(epochs * clips / optim["batch"])


def _scaled_wall_s(recipe: Mapping[str, Any], record: TrialRecord, source: str) -> float | None:
    """The record's time, its training scaled to the planned steps; None where only the planned trial trains."""
    cost, optim = record.cost, record.recipe.get("optim", {})
    if source == SAME:
        return cost.wall_s if cost.wall_s > 0 else None
    recorded_work, planned_work = _steps(record), recipe["optim"]["steps"]
    if recorded_work is None or planned_work is None:
        return None
    if source == ROUGH:
        recorded_work, planned_work = recorded_work * optim.get("batch", 0), planned_work * recipe["optim"]["batch"]
    if cost.wall_s <= 0 or (not recorded_work and planned_work):
        return None
    return max(0.0, cost.wall_s - cost.train_s) + (cost.train_s * planned_work / recorded_work if planned_work else 0.0)
