"""The results of an ablation: for each planned trial a record, a failure or neither."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from swim.recipe import Recipe

if TYPE_CHECKING:
    from swimlab.experiment.planned_benchmarks import PlannedBenchmark
    from swimlab.experiment.protocol import ProtocolStatus
    from swimlab.experiment.tuning import ArmTuning
    from swimlab.store.evaluation_records import TrialResult
    from swimlab.store.sweep_store import SweepStore
from swimlab.experiment.ablation import Ablation


@dataclass(frozen=True)
class ArmResult:
    """One planned trial and its result: `record` where it is committed, with those of its evaluations that are;
    `failure` of the trial or of an evaluation; neither where it has not run."""

    arm: str
    seed: int
    trial_id: str
    record: TrialResult | None
    failure: str | None


@dataclass(frozen=True)
class Results:
    """All a report needs. `quarantine`: reason → rows set aside, `quarantined`: those rows, each with file, row, key,
    field, reason and hint; `wall_s`: this invocation, cached trials included; `protocol`: what was declared, None where
    nobody looked; `tuning`: of each arm, where the ablation is tuned; `benchmarks`: those that metrics are of."""

    ablation: Ablation
    recipe: Recipe
    trials: tuple[ArmResult, ...]
    store: SweepStore
    quarantine: dict[str, int]
    wall_s: float
    quarantined: tuple[Mapping[str, Any], ...] = ()
    protocol: ProtocolStatus | None = None
    tuning: tuple[ArmTuning, ...] = ()
    benchmarks: tuple[PlannedBenchmark, ...] = ()
