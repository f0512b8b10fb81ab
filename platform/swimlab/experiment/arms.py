"""Arms, the axes that declare several of them, and the metrics of a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from swim.supervision.presets import PRESETS
from swimlab.base.nearest import nearest


@dataclass(frozen=True)
class Arm:
    """A name and what it changes: dotted recipe path → value; `preset` (swim.supervision.presets) is applied first."""

    name: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    preset: str | None = None

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise ValueError("an arm needs a name")
        if self.preset is not None and self.preset not in PRESETS:
            raise ValueError(f"arm {self.name!r}: no preset {self.preset!r}{nearest(self.preset, PRESETS)}")
        if taken := {"seed", "name"} & set(self.overrides):
            raise ValueError(f"arm {self.name!r} may not override {sorted(taken)}: seeds belong to the ablation")
        object.__setattr__(self, "overrides", dict(self.overrides))

    @property
    def changes(self) -> dict[str, Any]:
        """Preset and overrides as one mapping, the overrides winning."""
        return {**(PRESETS[self.preset] if self.preset else {}), **self.overrides}


@dataclass(frozen=True)
class Axis:
    """Several arms that differ in one field: `[*Axis("objective.fusion", {"mean": "mean", "pool": "max"})]`."""

    path: str
    values: Mapping[str, Any]

    def __iter__(self) -> Iterator[Arm]:
        return (Arm(label, {self.path: value}) for label, value in self.values.items())


@dataclass(frozen=True)
class Metric:
    """A number of a trial's record. `standin`: recipe, or family of recipes → the metric that is measured there
    instead.

    A family is the part of a recipe's name before a dash: "tiny" covers "tiny-hard-look". The longest match counts.
    `judge` is the language model whose grades are shown, of a metric that one gives; a plan sets it
    (`swimlab.experiment.benchmark_suites`).
    """

    name: str
    standin: Mapping[str, str] = field(default_factory=dict)
    primary: bool = False
    higher_is_better: bool = True
    judge: str = ""

    def measured(self, recipe_name: str) -> str:
        """The record's metric read under this recipe: the stand-in where one is declared, else `name`; graded by a
        judge, `bench_d.avg by MODEL`, so that numbers of two judges never stand in one column."""
        families = [key for key in self.standin if recipe_name == key or recipe_name.startswith(f"{key}-")]
        measured = self.standin[max(families, key=len)] if families else self.name
        return judged_name(measured, self.judge)


def judged_name(metric: str, judge: str) -> str:
    """A metric as records name it: with the judge that gave it, "" without one."""
    return f"{metric} by {judge}" if judge else metric
