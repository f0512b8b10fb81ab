"""The tuned axes that an ablation declares, and the state of an arm's tuning."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import product
from typing import TYPE_CHECKING, Any

from swimlab.experiment.search import Choice, Search, SearchAxis
from swimlab.identity.naming import SuiteIdentity

if TYPE_CHECKING:
    from swim.recipe import Recipe
    from swimlab.experiment.arms import Arm, Metric

# An arm that chose its own data or its own ruler could not be compared with the others.
_SHARED = ("data", "evaluation")


@dataclass(frozen=True)
class Tuned:
    """Every arm tries `budget` points of `space`, trained with `seed`, which also seeds the sampler (TPE, nothing
    pruned). The best by the ablation's primary metric on validation clips becomes part of that arm, for all seeds of
    the table.

    Raises ValueError here and in `check`, which Ablation calls at import.
    """

    space: Sequence[SearchAxis]
    budget: int
    seed: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "space", tuple(self.space))
        if self.budget < 2:
            raise ValueError(f"Tuned(budget={self.budget}): with less than two points nothing is chosen")
        if shared := [axis.path for axis in self.space if axis.path.split(".")[0] in _SHARED]:
            raise ValueError(f"Tuned may not choose {', '.join(shared)}: arms share the data and the evaluation")

    def check(self, name: str, primary: Metric, recipe: str, arms: Sequence[tuple[Arm, Recipe]]) -> None:
        """`arms`: each with its own recipe. Raises ValueError for an arm that sets a tuned path itself, or that a value
        does not fit."""
        for arm, arm_recipe in arms:
            for path, axis in product(arm.changes, self.space):
                if f"{path}.".startswith(f"{axis.path}.") or f"{axis.path}.".startswith(f"{path}."):
                    raise ValueError(
                        f"ablation {name!r}, arm {arm.name!r} sets {path!r}, and {axis.path!r} is tuned: an arm's own "
                        "value and a chosen one cannot both hold; leave one out"
                    )
            search = self.search(name, primary, recipe, arm.name)
            for path, probe in [(axis.path, probe) for axis in self.space for probe in axis.test_values]:
                search.resolve(arm_recipe, {path: probe})

    def search(self, ablation: str, primary: Metric, recipe: str, arm: str) -> Search:
        """The search of one arm; its study is named after the ablation and the arm. `recipe` is the ablation's
        default."""
        name = re.sub(r"[^a-z0-9_-]+", "-", arm.lower()).strip("-")
        if name != arm:  # "Mean" and "mean" are two arms
            name = f"{name}-{hashlib.sha256(arm.encode()).hexdigest()[:8]}".strip("-")
        return Search(
            name=f"{ablation}-tuning-{name}",
            space=self.space,
            objectives=(primary,),
            budget=self.budget,
            question=f"which values does arm {arm!r} of {ablation} get?",
            recipe=recipe,
            seed=self.seed,
            pruning=None,
        )

    @property
    def declared(self) -> dict[str, Any]:
        """What the protocol declares of it."""
        space = {
            axis.path: {"kind": type(axis).__name__}
            | {parameter.name: getattr(axis, parameter.name) for parameter in fields(axis) if parameter.name != "path"}
            for axis in self.space
        }
        return {"space": space, "budget": self.budget, "seed": self.seed, "sampler": "TPE", "chosen_on": "validation"}

    @property
    def text(self) -> str:
        """`6 points an arm of optim.lr 0.0005…0.004 (log), on seed 100`."""
        axes = [
            f"{a.path} " + (", ".join(a.values) if isinstance(a, Choice) else f"{a.low:g}…{a.high:g}{' (log)' * a.log}")
            for a in self.space
        ]
        return f"{self.budget} points an arm of {'; '.join(axes)}, on seed {self.seed}"


@dataclass(frozen=True)
class ArmTuning:
    """The state of an arm's tuning. `answered` of `budget` points have ended, `failed` of them without a result;
    `choice`: path → value of the best point, None while points are open and where none has a result. `trial_ids`:
    the points so far; `suites`: how they are measured; `validation_fingerprint`: of the clips they are measured on.
    `scores`: the primary metric of the best point there, and on the reported clips once it was measured on them."""

    arm: str
    budget: int
    answered: int
    failed: int
    choice: Mapping[str, Any] | None
    trial_ids: tuple[str, ...]
    data_fingerprint: str
    validation_fingerprint: str
    suites: tuple[SuiteIdentity, ...] = ()
    scores: tuple[float, float] | None = None

    @property
    def text(self) -> str:
        """`optim.lr = 0.00123, the best of 6 points (0.620 on validation clips, 0.584 on the reported ones)` or why
        there is no choice."""
        failed = f" ({self.failed} failed)" if self.failed else ""
        if self.choice is not None:
            values = [f"{p} = {f'{v:.4g}' if isinstance(v, float) else v}" for p, v in self.choice.items()]
            text = f"{', '.join(values)}, the best of {self.budget} points{failed}"
            if self.scores is not None:
                text += " ({:.3f} on validation clips, {:.3f} on the reported ones)".format(*self.scores)
            return text
        if self.answered < self.budget:
            return f"{self.answered} of {self.budget} points answered{failed}: not planned yet"
        return f"all {self.budget} points failed: cannot be planned"


def caveat(tuned: Tuned | None, tuning: Sequence[ArmTuning], metric: str) -> str:
    """How each arm was tuned, in a sentence of the table's caveat; "" where nothing is tuned."""
    if tuned is None or not tuning:
        return ""
    arms = "; ".join(f"{state.arm}: {state.text}" for state in tuning)
    return (
        f" Every arm is tuned alone with the same budget, {tuned.text} (not in this table), by {metric} on "
        f"validation clips, which no number of this table is of: {arms}."
    )
