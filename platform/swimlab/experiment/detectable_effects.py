"""The smallest difference that a table's seeds can detect, known before the run: in SDs, and in units of the metric
where there are results to estimate the SD from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from swimlab.experiment.ablation import Ablation
from swimlab.experiment.claim import Claim, cancels
from swimlab.stats import intervals, power


@dataclass(frozen=True)
class ClaimPower:
    """One claim: `sd` of the paired differences over the seeds that the store has (None with fewer than two), and the
    smallest true difference that the planned seeds find. `metric`: as the experiment file names it. `tested` is False
    where its arms are the same trials."""

    text: str
    metric: str
    tested: bool
    sd: float | None
    sd_seeds: int
    detectable: float | None


@dataclass(frozen=True)
class Sensitivity:
    """A table. `at`: number of seeds at each look → the smallest difference in SDs that is found there, with power 0.8,
    at the first step of Holm's procedure over `claims` claims (if one of them is true), the largest family of the
    table; infinite for a single seed. Without looks `at` has the planned seeds alone."""

    claims: int
    at: Mapping[int, float]
    by_claim: tuple[ClaimPower, ...]


def sensitivity(
    ablation: Ablation,
    seeds: int,
    scores: Mapping[str, Mapping[str, Mapping[int, float]]],
    shared: Mapping[str, str],
) -> Sensitivity:
    """`seeds`: of the plan, where no looks are declared; `scores`: name of a metric → arm → seed → value, of what is
    known; `shared`: arm → the first arm with the same trials."""
    looks = ablation.looks or (seeds,)
    alpha = ablation.alpha / len(looks)
    contrasts = {i: ablation.contrast(claim) for i, claim in enumerate(ablation.paper.claims)}
    tested = {i: not cancels(weights, shared) for i, weights in contrasts.items()}
    metrics = {i: ablation.metric_of(claim).name for i, claim in enumerate(ablation.paper.claims)}
    families = {name: sum(tested[i] for i, metric in metrics.items() if metric == name) for name in metrics.values()}
    largest = max(families.values(), default=0)

    def of_claim(i: int, claim: Claim) -> ClaimPower:
        known = scores.get(metrics[i], {})
        differences = list(intervals.paired_differences(contrasts[i], known).values()) if tested[i] else []
        sd = intervals.interval(differences).sd if len(differences) > 1 else None
        sds = power.detectable_in_sds(looks[-1], alpha, max(1, families[metrics[i]]))
        reach = None if sd is None or math.isinf(sds) else sd * sds
        return ClaimPower(claim.text, metrics[i], tested[i], sd, len(differences) if sd is not None else 0, reach)

    return Sensitivity(
        claims=largest,
        at={look: power.detectable_in_sds(look, alpha, max(1, largest)) for look in looks},
        by_claim=tuple(of_claim(i, claim) for i, claim in enumerate(ablation.paper.claims)),
    )
