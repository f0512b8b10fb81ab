"""What an experiment file declares: arms × seeds, the metrics, and the paper's rows and claims beside them.

Everything is checked when the file is imported: a typo in a path, a preset, an arm or a value fails before anything
runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic import ValidationError

from swim import recipes
from swim.recipe import Recipe
from swim.worlds import Replicate, world
from swimlab.experiment import entry
from swimlab.experiment.claim import Claim
from swimlab.stats.schedule import ALPHA, Schedule

if TYPE_CHECKING:
    from swimlab.experiment.benchmark_suites import BenchmarkSuite
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
    `tuned`: the parameters that are tuned for each arm before its seeds run. `replicate`: what the seeds are, numbers
    of worlds (`swim.worlds`), each with its own data, base and order of batches, or orders of batches in world 0 alone,
    which are cheaper and say nothing about another base.

    `looks`: numbers of seeds at which claims are judged, in the order of `seeds`, each at α ÷ their number; what is
    decided gets no more seeds. `looks=(4, 8)` alone has seeds 0 to 7. None: one look, at all seeds. `futility`: a claim
    ends whose chance to be settled at the last look is below this, were its observed mean and SD the true ones; 0: none
    ends.

    `designs`: how many designs at most ask this question, this one included. Each is judged at α ÷ their number, so
    that a new design after a look at the results raises no error rate.

    `benchmarks`: how the benchmarks that metrics are of are asked, where not by default (`bench_d.avg` is measured on
    rows that the command line names). `verdicts`: over "replicates" they are about this way of training; over "rows" of
    the stored samples, clustered by video, about the models that were trained. Both tests are shown.
    """

    name: str
    arms: Sequence[Arm]
    seeds: Sequence[int] = ()
    metrics: Sequence[Metric] = ()
    paper: Paper = field(default_factory=lambda: Paper(""))
    recipe: str = "tiny-hard-look"
    reference: str | None = None
    question: str = ""
    tuned: Tuned | None = None
    replicate: Replicate = "world"
    looks: Sequence[int] = ()
    futility: float = 0.0
    designs: int = 1
    benchmarks: Sequence[BenchmarkSuite] = ()
    verdicts: Literal["replicates", "rows"] = "replicates"

    def __post_init__(self) -> None:
        for name in ("arms", "seeds", "metrics", "looks"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.looks and not self.seeds:
            object.__setattr__(self, "seeds", tuple(range(self.looks[-1])))
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", self.name):
            raise ValueError(
                f"ablation name {self.name!r}: lower-case letters, digits, - and _ only (it names a folder)"
            )
        if self.replicate not in get_args(Replicate):
            raise ValueError(
                f"ablation {self.name!r}: replicate is {self.replicate!r}: choose one of {get_args(Replicate)}"
            )
        self._check_arms()
        if not self.metrics or (len(self.metrics) > 1 and sum(m.primary for m in self.metrics) != 1):
            raise ValueError(f"ablation {self.name!r} needs exactly one metric with primary=True: claims are about it")
        if self.verdicts not in ("replicates", "rows"):
            raise ValueError(f"ablation {self.name!r}: verdicts={self.verdicts!r} is neither 'replicates' nor 'rows'")
        if self.verdicts == "rows" and self.looks:
            raise ValueError(f"ablation {self.name!r}: looks are at replicates, and verdicts='rows' are not about them")
        self._check_seeds(self.seeds)
        for claim in self.paper.claims:
            self.contrast(claim)
            self.metric_of(claim)
        self._check_looks()
        if self.designs < 1:
            raise ValueError(f"ablation {self.name!r}: designs={self.designs}, and this is one")
        base = recipes.named(self.recipe)
        for arm in self.arms:
            self.resolve(base, arm, int(self.seeds[0]))
        if self.tuned:
            arm_recipes = [(arm, self.resolve(base, arm, self.tuned.seed)) for arm in self.arms]
            self.tuned.check(self.name, self.primary, self.recipe, arm_recipes)

    @property
    def primary(self) -> Metric:
        """The metric of the paper's rows, and of the claims that name no other."""
        return next((metric for metric in self.metrics if metric.primary), self.metrics[0])

    def metric_of(self, claim: Claim) -> Metric:
        """The metric that a claim is about. Raises ValueError for one that this ablation lacks."""
        if claim.metric is None:
            return self.primary
        metrics = {metric.name: metric for metric in self.metrics}
        if claim.metric not in metrics:
            near = nearest(claim.metric, metrics)
            raise ValueError(f"ablation {self.name!r}, claim {claim.text!r}: no metric {claim.metric!r}{near}")
        return metrics[claim.metric]

    @property
    def alpha(self) -> float:
        """The rate of false results that the claims about one metric may have, all looks together."""
        return ALPHA / self.designs

    @property
    def schedule(self) -> Schedule | None:
        """The declared looks; None for one look at all seeds."""
        return Schedule(tuple(self.looks), self.futility) if self.looks else None

    def contrast(self, claim: Claim) -> dict[str, float]:
        """The claim as weights over arms, positive as claimed where more of the metric is better. Raises ValueError for
        arms or axes that this ablation lacks."""
        weights = claim.weights(self.arms)
        for name in weights:
            self._check_known(name, f"claim {claim.text!r}")
        return weights

    def oriented_weights(self, claim: Claim) -> dict[str, float]:
        """The claim as weights over arms, positive as claimed on its metric, whatever the metric's direction."""
        return claim.oriented_weights(self.arms, self.metric_of(claim).higher_is_better)

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
        named = self._named(recipe, arm, seeds[0], chosen_values)
        for seed in seeds:
            # An int is what a recipe holds: the rest of it was validated with the first seed, which takes 1 ms.
            valid = type(seed) is int
            yield (
                seed,
                self._replicated(named, seed) if valid else self.resolve(recipe, arm, seed, chosen_values),
            )

    def resolve(self, recipe: Recipe, arm: Arm, seed: int, chosen_values: Mapping[str, Any] | None = None) -> Recipe:
        """The recipe of one trial, with the `chosen_values` of tuning. Raises ValueError where the arm does not fit."""
        named = self._named(recipe, arm, seed, chosen_values)
        return self._replicated(named, named.seed)

    def _replicated(self, named: Recipe, seed: int) -> Recipe:
        return world(named, seed if self.replicate == "world" else 0, order=seed)

    def _named(self, recipe: Recipe, arm: Arm, seed: int, chosen_values: Mapping[str, Any] | None) -> Recipe:
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

    def _check_looks(self) -> None:
        looks = list(self.looks)
        if not looks:
            if self.futility:
                raise ValueError(f"ablation {self.name!r}: futility={self.futility:g} needs looks, say looks=(4, 8)")
            return
        if sorted(set(looks)) != looks or looks[0] < 2 or looks[-1] != len(self.seeds):
            raise ValueError(
                f"ablation {self.name!r}: looks={tuple(looks)} must rise, from 2 seeds or more to all "
                f"{len(self.seeds)} of its seeds"
            )
        if sorted(self.seeds) != list(self.seeds):
            raise ValueError(f"ablation {self.name!r} has looks: its seeds {list(self.seeds)} must rise")
        if not self.paper.claims:
            raise ValueError(f"ablation {self.name!r} has looks and no claim that they could decide")
        if not 0 <= self.futility < 1:
            raise ValueError(f"ablation {self.name!r}: futility={self.futility:g} is a chance, from 0 to below 1")

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
