"""What an experiment file declares: arms × seeds, the metrics, and the paper's rows and claims beside them.

Everything is checked when the file is imported: a typo in a path, a preset, an arm or a value fails before anything
runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from swim import recipes
from swim.recipe import Recipe
from swimlab.experiment import entry
from swimlab.experiment.claim import Claim

if TYPE_CHECKING:
    from swimlab.experiment.tuning import Tuned
from swimlab.base.nearest import nearest
from swimlab.experiment.arms import Arm, Metric


@dataclass(frozen=True)
class Paper:
    """What the paper prints: `rows` (arm → the primary metric), its claims, and `notes` on known inconsistencies.

    `recipe` is the recipe that those numbers were measured with: results of any other are not compared with them.
    """

    table: str
    rows: Mapping[str, float] = field(default_factory=dict)
    claims: Sequence[Claim] = ()
    notes: Sequence[str] = ()
    recipe: str = "qwen2.5-vl-7b"


@dataclass(frozen=True)
class PlannedTrial:
    arm: str
    seed: int
    recipe: Recipe


@dataclass(frozen=True)
class Ablation:
    """Arms × seeds on one recipe. Raises ValueError, naming the nearest valid choice, for anything that cannot run.

    `recipe` is the default of `--recipe`; `reference` names the control arm, with which every arm is also compared;
    `tuned`: the parameters that are tuned for each arm before its seeds run.
    """

    name: str
    arms: Sequence[Arm]
    seeds: Sequence[int]
    metrics: Sequence[Metric]
    paper: Paper = field(default_factory=lambda: Paper(""))
    recipe: str = "tiny-hard-look"
    reference: str | None = None
    question: str = ""
    tuned: Tuned | None = None

    def __post_init__(self) -> None:
        for name in ("arms", "seeds", "metrics"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", self.name):
            raise ValueError(
                f"ablation name {self.name!r}: lower-case letters, digits, - and _ only (it names a folder)"
            )
        self._check_arms()
        if not self.metrics or (len(self.metrics) > 1 and sum(m.primary for m in self.metrics) != 1):
            raise ValueError(f"ablation {self.name!r} needs exactly one metric with primary=True: claims are about it")
        self._check_seeds(self.seeds)
        for claim in self.paper.claims:
            self.contrast(claim)
        base = recipes.named(self.recipe)
        for arm in self.arms:
            self.resolve(base, arm, int(self.seeds[0]))
        if self.tuned:
            arm_recipes = [(arm, self.resolve(base, arm, self.tuned.seed)) for arm in self.arms]
            self.tuned.check(self.name, self.primary, self.recipe, arm_recipes)

    @property
    def primary(self) -> Metric:
        """The metric the claims are about."""
        return next((metric for metric in self.metrics if metric.primary), self.metrics[0])

    def contrast(self, claim: Claim) -> dict[str, float]:
        """The claim as weights over arms, positive as claimed where more of the metric is better. Raises ValueError for
        arms or axes that this ablation lacks."""
        weights = claim.weights(self.arms)
        for name in weights:
            self._check_known(name, f"claim {claim.text!r}")
        return weights

    def oriented_weights(self, claim: Claim) -> dict[str, float]:
        """The claim as weights over arms, positive as claimed on the primary metric, whatever its direction."""
        return claim.oriented_weights(self.arms, self.primary.higher_is_better)

    def plan(
        self,
        recipe: Recipe,
        seeds: Sequence[int] | None = None,
        chosen_values: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> tuple[PlannedTrial, ...]:
        """Arms × seeds, arm by arm. `chosen_values`: arm → path → value, as tuning chose them; an arm of a tuned
        ablation that has none is not planned. Raises ValueError where an arm does not fit `recipe`, and where
        `seeds` is empty or repeats."""
        planned_seeds = tuple(self.seeds if seeds is None else seeds)
        values = chosen_values or {}
        self._check_seeds(planned_seeds)
        return tuple(
            PlannedTrial(arm.name, seed, replicate)
            for arm in self.arms
            if self.tuned is None or arm.name in values
            for seed, replicate in self._replicates(recipe, arm, planned_seeds, values.get(arm.name))
        )

    def _replicates(
        self, recipe: Recipe, arm: Arm, seeds: Sequence[int], chosen_values: Mapping[str, Any] | None
    ) -> Iterator[tuple[int, Recipe]]:
        first = self.resolve(recipe, arm, seeds[0], chosen_values)
        for seed in seeds:
            # An int is what a recipe holds: the rest of it was validated with the first seed, which takes 1 ms.
            valid = type(seed) is int
            yield (
                seed,
                first.model_copy(update={"seed": seed}) if valid else self.resolve(recipe, arm, seed, chosen_values),
            )

    def resolve(self, recipe: Recipe, arm: Arm, seed: int, chosen_values: Mapping[str, Any] | None = None) -> Recipe:
        """The recipe of one trial, with the `chosen_values` of tuning. Raises ValueError where the arm does not fit."""
        try:
            return recipe.override({**arm.changes, **(chosen_values or {}), "seed": seed})
        except ValueError as error:
            # pydantic spreads its message over lines, with the whole input and a web address.
            problems = [e["msg"] for e in error.errors()] if isinstance(error, ValidationError) else [str(error)]
            raise ValueError(f"ablation {self.name!r}, arm {arm.name!r}: {'; '.join(problems)}") from error

    def main(self, *pages: Ablation, argv: Sequence[str] | None = None) -> None:
        """`swimlab.main(self, *pages)`, which replaces this spelling."""
        entry.run(self, *pages, argv=argv)

    def _check_arms(self) -> None:
        names = [arm.name for arm in self.arms]
        if not names:
            raise ValueError(f"ablation {self.name!r} has no arms")
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"ablation {self.name!r} names arms twice: {repeated}")
        if self.reference is not None:
            self._check_known(self.reference, "reference")
        for name in self.paper.rows:
            self._check_known(name, "paper.rows")

    def _check_known(self, arm: str, place: str) -> None:
        names = [a.name for a in self.arms]
        if arm not in names:
            raise ValueError(f"ablation {self.name!r}, {place}: no arm {arm!r}{nearest(arm, names)}")

    def _check_seeds(self, seeds: Sequence[int]) -> None:
        if not seeds:
            raise ValueError(f"ablation {self.name!r} has no seeds: without replicates there is nothing to compare")
        if len(set(seeds)) != len(seeds):
            raise ValueError(f"ablation {self.name!r} repeats a seed: {list(seeds)}")
        if self.tuned and self.tuned.seed in seeds:
            raise ValueError(
                f"ablation {self.name!r} is tuned on seed {self.tuned.seed}, which is also one of its seeds "
                f"{list(seeds)}: choose Tuned(seed=…) among others"
            )
