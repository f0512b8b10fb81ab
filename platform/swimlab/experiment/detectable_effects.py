"""The smallest difference that a table's seeds can detect, known before the run: in SDs, and in units of the metric
where there are results to estimate the SD from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from swimlab.experiment.ablation import Ablation
from swimlab.experiment.claim import cancels
from swimlab.stats import intervals, power


@dataclass(frozen=True)
class ClaimPower:
    """One claim: `sd` of the paired differences over the seeds that the store has (None with fewer than two), and the
    smallest true difference that the planned seeds find. `tested` is False where its arms are the same trials."""

    text: str
    tested: bool
    sd: float | None
    sd_seeds: int
    detectable: float | None


@dataclass(frozen=True)
class Sensitivity:
    """A table. `detectable_in_sds`: with power 0.8, at the first step of Holm's procedure over `claims` claims (if
    one of them is true); infinite for a single seed."""

    seeds: int
    claims: int
    detectable_in_sds: float
    by_claim: tuple[ClaimPower, ...]


def sensitivity(
    ablation: Ablation, seeds: int, scores: Mapping[str, Mapping[int, float]], shared: Mapping[str, str]
) -> Sensitivity:
    """`scores`: arm → seed → primary metric, of what is known; `shared`: arm → the first arm with the same trials."""
    contrasts = [(claim, ablation.contrast(claim)) for claim in ablation.paper.claims]
    tested = [not cancels(weights, shared) for _, weights in contrasts]
    sds = power.detectable_in_sds(seeds, claims=max(1, sum(tested)))
    powers = []
    for (claim, weights), counts in zip(contrasts, tested, strict=True):
        differences = list(intervals.paired_differences(weights, scores).values()) if counts else []
        sd = intervals.interval(differences).sd if len(differences) > 1 else None
        reach = None if sd is None or math.isinf(sds) else sd * sds
        powers.append(ClaimPower(claim.text, counts, sd, len(differences) if sd is not None else 0, reach))
    return Sensitivity(seeds, sum(tested), sds, tuple(powers))
