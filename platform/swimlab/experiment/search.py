"""What an experiment file with a search declares: axes over recipe paths, objectives, a budget, and when to prune.

Like arms, everything is checked when the file is imported.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from pydantic import ValidationError

from swim import recipes
from swim.evaluation.suite import families
from swim.recipe import Recipe
from swimlab.base.nearest import nearest
from swimlab.experiment import entry
from swimlab.experiment.arms import Metric
from swimlab.identity.splits import CHOOSING_FIELDS, measured_on

Value = str | int | float
_MODEL_NAMES = ("model", "model.path", "model.revision")  # they decide which rows are too long
_ALSO_RECORDED = ("train.", "cost.")  # numbers of a record that no evaluation measures
_CHOOSING = tuple(f"data.{name}" for name in CHOOSING_FIELDS)


@dataclass(frozen=True)
class Choice:
    """A field with a few values: label → value, or values that are their own labels."""

    path: str
    values: Mapping[str, Any] | Sequence[Any]

    def __post_init__(self) -> None:
        declared = self.values
        named = dict(declared) if isinstance(declared, Mapping) else {str(value): value for value in declared}
        if len(named) != len(declared) or len(named) < 2:
            raise ValueError(f"axis {self.path!r} needs two values or more, each once: {declared}")
        object.__setattr__(self, "values", named)

    def value(self, label: Value) -> Any:
        assert isinstance(self.values, Mapping)
        if label not in self.values:
            raise ValueError(f"axis {self.path!r} has no value {label!r}{nearest(str(label), self.values)}")
        return self.values[str(label)]

    @property
    def test_values(self) -> tuple[Value, ...]:
        """Values with which to check that the recipe accepts the axis."""
        return tuple(self.values)

    def distribution(self) -> Any:
        import optuna

        return optuna.distributions.CategoricalDistribution(tuple(self.values))


@dataclass(frozen=True)
class Float:
    """A number from `low` to `high`, both included; with `log` it is drawn on a logarithmic scale."""

    path: str
    low: float
    high: float
    log: bool = False
    step: float | None = None

    def __post_init__(self) -> None:
        self.distribution()  # raises ValueError for a range that is none

    def value(self, number: Value) -> Any:
        return number

    @property
    def test_values(self) -> tuple[Value, ...]:
        return (self.low, self.high)

    def distribution(self) -> Any:
        import optuna

        return optuna.distributions.FloatDistribution(self.low, self.high, log=self.log, step=self.step)


@dataclass(frozen=True)
class Int:
    """A whole number from `low` to `high`, both included."""

    path: str
    low: int
    high: int
    log: bool = False
    step: int = 1

    def __post_init__(self) -> None:
        self.distribution()

    def value(self, number: Value) -> Any:
        return number

    @property
    def test_values(self) -> tuple[Value, ...]:
        return (self.low, self.high)

    def distribution(self) -> Any:
        import optuna

        return optuna.distributions.IntDistribution(self.low, self.high, log=self.log, step=self.step)


@dataclass(frozen=True)
class Pruning:
    """Rungs: after these fractions of the recipe's steps a trial scores the first objective on the first `clips`
    validation clips, and an Optuna `pruner` says whether it goes on (default: the median rule, after four complete
    trials)."""

    at: Sequence[float] = (0.25, 0.5)
    clips: int = 40
    pruner: Any = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "at", tuple(sorted(self.at)))
        if not self.at or not all(0 < share < 1 for share in self.at) or len(set(self.at)) != len(self.at):
            raise ValueError(f"Pruning(at={self.at}): fractions of the steps, between 0 and 1, each once")
        if self.clips < 1:
            raise ValueError(f"Pruning(clips={self.clips}): there is nothing to score")

    def steps(self, recipe: Recipe) -> tuple[int, ...]:
        """The rungs in optimiser steps."""
        return tuple(sorted({max(1, round(share * recipe.optim.total_steps)) for share in self.at}))

    def rule(self) -> Any:
        """The pruner. It keeps state, so callers must copy it."""
        import optuna

        return self.pruner or optuna.pruners.MedianPruner(n_startup_trials=4)


SearchAxis = Choice | Float | Int


@dataclass(frozen=True)
class Search:
    """`budget` points out of a space, `generation` of them at a time, all with one `seed`. All that is chosen is chosen
    on validation clips (`swimlab.identity.splits`); on the reported ones only the winner is measured.

    The points of a generation are proposed together, and only finished generations decide what is proposed and pruned
    next: a search is a function of its seed, however many trials run at once and however often it was stopped. `start`
    are points to propose first (axis path → label or number; what is left out is sampled). The first of `objectives`
    is the one that trials are pruned by. `sampler` is an Optuna sampler; default: TPE. The best point by the first
    objective is then measured on the reported clips, and trained again with the seeds of `confirm`, beside the recipe
    as it is: those numbers chose nothing.

    Raises ValueError, naming the nearest valid choice, for anything that cannot run.
    """

    name: str
    space: Sequence[SearchAxis]
    objectives: Sequence[Metric]
    budget: int
    question: str = ""
    recipe: str = "tiny-hard-look"
    seed: int = 0
    generation: int = 4
    start: Sequence[Mapping[str, Value]] = ()
    pruning: Pruning | None = field(default_factory=Pruning)
    sampler: Any = None
    confirm: Sequence[int] = ()

    def __post_init__(self) -> None:
        for name in ("space", "objectives", "start", "confirm"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", self.name):
            raise ValueError(f"search name {self.name!r}: lower-case letters, digits, - and _ only (it names a folder)")
        if self.budget < 1 or self.generation < 1:
            raise ValueError(f"search {self.name!r}: budget and generation count points")
        if self.seed in self.confirm or len(set(self.confirm)) != len(self.confirm):
            raise ValueError(f"search {self.name!r}: confirm {list(self.confirm)} are seeds it was not chosen by, once")
        self._check_objectives()
        self._check_space()

    def resolve(self, recipe: Recipe, params: Mapping[str, Value], seed: int | None = None) -> Recipe:
        """The recipe of a point. Raises ValueError where it does not fit."""
        changes = {axis.path: axis.value(params[axis.path]) for axis in self.space if axis.path in params}
        try:
            return recipe.override({**changes, "seed": self.seed if seed is None else seed})
        except ValidationError as error:
            # pydantic spreads its message over lines, with the whole input and a web address.
            problems = [": ".join(filter(None, (".".join(map(str, e["loc"])), e["msg"]))) for e in error.errors()]
            raise ValueError(f"search {self.name!r}, {dict(params)}: {'; '.join(problems)}") from error

    def judged_by(self, recipe: Recipe) -> tuple[str, ...]:
        """The objectives as results name them: on the clips that choose, but for what training and costs say."""
        names = (metric.measured(recipe.name) for metric in self.objectives)
        return tuple(n if n.startswith(_ALSO_RECORDED) else measured_on(n, "validation") for n in names)

    def reported(self, recipe: Recipe) -> tuple[str, ...]:
        """The objectives on the reported clips."""
        return tuple(metric.measured(recipe.name) for metric in self.objectives)

    def readings(self, recipe: Recipe) -> list[Recipe]:
        """A recipe for every set of clips that a point may read. Raises ValueError when they cannot be counted."""
        axes = [
            axis
            for axis in self.space
            if (axis.path.startswith("data") and axis.path != "data.fraction") or axis.path in _MODEL_NAMES
        ]
        for axis in axes:
            if not isinstance(axis, Choice):
                raise ValueError(f"search {self.name!r}: {axis.path!r} must be a Choice: each value is a data set")
        choices = (axis for axis in axes if isinstance(axis, Choice))
        combinations = product(*([(axis.path, label) for label in axis.values] for axis in choices))
        return [self.resolve(recipe, dict(labels)) for labels in combinations]

    def main(self, argv: Sequence[str] | None = None) -> None:
        """`swimlab.main(self)`, which replaces this spelling."""
        entry.run(self, argv=argv)

    def _check_objectives(self) -> None:
        if not self.objectives:
            raise ValueError(f"search {self.name!r} has no objectives")
        measured_families = families(recipes.named(self.recipe).evaluation)
        for metric in self.objectives:
            if not metric.measured(self.recipe).startswith((*measured_families, *_ALSO_RECORDED)):
                raise ValueError(f"search {self.name!r}: {metric.name!r} is not measured under recipe {self.recipe!r}")
        first = self.objectives[0].measured(self.recipe)
        if self.pruning and not first.startswith(measured_families):
            raise ValueError(f"search {self.name!r} prunes by {first!r}, which is known at the end only")

    def _check_space(self) -> None:
        paths = [axis.path for axis in self.space]
        if not paths or len(set(paths)) != len(paths):
            raise ValueError(f"search {self.name!r}: axes over paths, each once: {paths}")
        for axis in self.space:
            if axis.path.split(".")[0] in ("seed", "name", "init") or axis.path in _CHOOSING:
                raise ValueError(f"search {self.name!r} may not search {axis.path!r}: all points share it")
        base = recipes.named(self.recipe)
        for axis in self.space:
            for probe in axis.test_values:
                self.resolve(base, {axis.path: probe})
        for point in self.start:
            for path in point:
                if path not in paths:
                    raise ValueError(f"search {self.name!r}, start: no axis {path!r}{nearest(path, paths)}")
            self.resolve(base, point)
        self.readings(base)
