"""Whether the rows that an arm supervises carry its answers: what qualifies a verdict about answers.

The suite `mediation` (`swim.evaluation.suites.mediation`) measures by how much contested accuracy falls when those rows
are blind to the video. An arm whose answers do not fall cannot answer better because of where these rows look.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from swim.recipe import Recipe
from swimlab.stats.intervals import Interval, interval

# Metrics of answers as shares of right words, in which the mediation and a claim's margin are measured too.
ANSWER_METRICS = ("answer.", "mediation.accuracy")
NOT_MEDIATED = "NOT_MEDIATED"


@dataclass(frozen=True)
class Mediation:
    """What `metric` of an arm measures over its seeds, and the margin below which it is too small to matter."""

    arm: str
    metric: str
    interval: Interval
    margin: float

    @property
    def absent(self) -> bool:
        """Whether the upper bound lies below the margin: NOT_MEDIATED. One seed has no bound."""
        return self.interval.high is not None and self.interval.high < self.margin


def mediating_metric(recipe: Recipe) -> str | None:
    """The metric of the rows that a recipe supervises; None where it supervises none. Queries whose names hold
    "answer" read answering rows ("noun-and-answer" among others), the rest rows of the noun
    (`swim.supervision.query`)."""
    if recipe.objective.mask_weight == 0 or not recipe.optim.trains:
        return None
    return "mediation.by_answer" if "answer" in recipe.objective.query else "mediation.by_noun"


def of_claim(
    claimed: str,
    weights: Mapping[str, float],
    margin: float,
    metrics: Mapping[str, str | None],
    values: Mapping[str, Mapping[str, Mapping[int, float]]],
) -> tuple[Mediation, ...]:
    """The mediation of the arms that a claim about the metric `claimed` says are better (those with a positive weight),
    where they supervise rows and it was measured. `metrics` is `mediating_metric` of each arm; `values` are metric →
    arm → seed → value. Empty for a claim that is not about answers."""
    if not claimed.startswith(ANSWER_METRICS):
        return ()
    measured = []
    for arm, weight in weights.items():
        metric = metrics.get(arm)
        if weight > 0 and metric is not None and (of_seeds := values.get(metric, {}).get(arm)):
            measured.append(Mediation(arm, metric, interval(list(of_seeds.values())), margin))
    return tuple(measured)
