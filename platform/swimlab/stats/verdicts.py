"""From paired differences to a verdict. Pure functions; the replicates are seeds, or of two trained models videos
(`swimlab.stats.row_differences`).

Student t with n−1 degrees of freedom: with 3 seeds a percentile bootstrap has 20 % false positives at a nominal 5.
Differences are oriented: positive agrees with the claim. δ is the margin declared before the run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from swimlab.stats import hypothesis_tests
from swimlab.stats.hypothesis_tests import Finding
from swimlab.stats.intervals import ALPHA, Interval, _critical, interval
from swimlab.stats.power import POWER, _power

MOST_SEEDS = 200


class Verdict(StrEnum):
    REPRODUCED = "REPRODUCED"
    SHIFTED = "SHIFTED"
    CONTRADICTED = "CONTRADICTED"
    EQUIVALENT = "EQUIVALENT"
    UNDERPOWERED = "UNDERPOWERED"
    NOT_RUN = "NOT_RUN"


@dataclass(frozen=True)
class ClaimData:
    """The data of one claim. `paper_gap` is None when the paper's number cannot be compared (direction only).
    `same_trials`: its arms are the same trials under this recipe, so there is no test; `unpaired`: seeds of every arm
    that are left out because their trials may not be compared. `estimate`: the difference and its interval where the
    replicates are videos, not seeds; then there are no `differences` to state."""

    differences: tuple[float, ...] = ()
    margin: float = 0.0
    non_inferiority: bool = False
    paper_gap: float | None = None
    direction_only: bool = False
    same_trials: bool = False
    unpaired: int = 0
    estimate: Interval | None = None

    @property
    def replicate(self) -> str:
        """What is repeated."""
        return "seed" if self.estimate is None else "video"

    @property
    def interval(self) -> Interval | None:
        """Of the difference; None where nothing was measured."""
        return self.estimate or (interval(self.differences) if self.differences else None)


@dataclass(frozen=True)
class JudgedClaim:
    """A judged claim. `verdict` is None for a mixed table; `reason` explains it in words.

    `seeds_needed`: seeds that settle the claim with power 0.8 if the observed mean and SD are the true ones; None when
    settled, or when `MOST_SEEDS` would not suffice.
    """

    verdict: Verdict | None
    reason: str
    interval: Interval | None
    p_holm: float | None
    seeds_needed: int | None
    evidence: ClaimData


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment, in the order given."""
    adjusted: list[float] = hypothesis_tests.holm(p_values).tolist()
    return adjusted


def judge(claims: Sequence[ClaimData], *, alpha: float = ALPHA, mixed: bool = False) -> tuple[JudgedClaim, ...]:
    """Verdicts of one table, in order.

    REPRODUCED: lower bound above 0 (above −δ for a non-inferiority claim) and the paper's gap, if it can be compared,
    inside our 95 % interval; SHIFTED: the same bound, but the paper's gap outside; CONTRADICTED: upper bound below −δ;
    EQUIVALENT: interval inside ±δ; else UNDERPOWERED. The bounds are Holm's: each claim enters with
    2 · min(p[d ≤ 0], p[d ≥ −δ]), so with one claim they are those of the 95 % interval; equivalence (two one-sided
    tests) is a family of its own. `mixed`: the table has trials that may not be compared, so no verdict at all. A claim
    between arms that are the same trials is NOT_RUN and does not count in Holm's family.
    """
    tested = {
        i: estimate
        for i, claim in enumerate(claims)
        if not claim.same_trials and (estimate := claim.interval) is not None and estimate.n > 1
    }
    family, intervals = [claims[i] for i in tested], list(tested.values())
    decided = hypothesis_tests.decide(
        mean=[estimate.mean for estimate in intervals],
        sd=[estimate.sd or 0.0 for estimate in intervals],
        n=np.array([estimate.n for estimate in intervals], int),
        margin=[claim.margin for claim in family],
        non_inferiority=np.array([claim.non_inferiority for claim in family], bool),
        alpha=alpha,
    )
    findings = dict(zip(tested, zip(map(Finding, decided.finding), decided.p_holm.tolist(), strict=True), strict=True))
    return tuple(_outcome(claim, findings.get(i), alpha, len(tested), mixed) for i, claim in enumerate(claims))


def seeds_to_settle(evidence: ClaimData, alpha: float = ALPHA) -> int | None:
    """The least n above the present one with power 0.8 for any settled verdict, by the noncentral t; None beyond
    `MOST_SEEDS`, with fewer than two differences, and where the replicates are not seeds."""
    estimate = evidence.interval
    if estimate is None or not estimate.sd or evidence.replicate != "seed":
        return None
    margin, d = evidence.margin, estimate.mean
    above, below = d - _lower_null(evidence), -margin - d
    for n in range(estimate.n + 1, MOST_SEEDS + 1):
        critical, scale = _critical(alpha, n), math.sqrt(n) / estimate.sd
        powers = [_power(gap * scale, n, critical) for gap in (above, below) if gap > 0]
        if not evidence.non_inferiority and abs(d) < margin:
            # Both one-sided tests must reject; their miss rates add up at most.
            powers.append(sum(_power(gap * scale, n, critical) for gap in (margin - d, margin + d)) - 1)
        if powers and max(powers) >= POWER:
            return n
    return None


def _lower_null(evidence: ClaimData) -> float:
    return -evidence.margin if evidence.non_inferiority else 0.0


def _outcome(
    evidence: ClaimData, test_result: tuple[Finding, float] | None, alpha: float, claims: int, mixed: bool
) -> JudgedClaim:
    """`test_result`: the finding and Holm's p, None for a claim that was not tested."""
    estimate = None if evidence.same_trials else evidence.interval

    def out(verdict: Verdict | None, reason: str, seeds_needed: int | None = None) -> JudgedClaim:
        return JudgedClaim(
            verdict, reason, estimate, test_result[1] if test_result and not mixed else None, seeds_needed, evidence
        )

    if evidence.same_trials:
        return out(Verdict.NOT_RUN, "the same trials under this recipe: equal by construction, nothing to compare")
    if estimate is None and not evidence.unpaired:
        return out(Verdict.NOT_RUN, "no seed has finished in every arm of this claim")
    if mixed or estimate is None:
        left_out = f"; seeds of this claim that are not paired: {evidence.unpaired}" if evidence.unpaired else ""
        return out(None, f"MIXED: the table has trials that may not be compared{left_out}")
    if test_result is None or estimate.low is None or estimate.high is None:
        return out(Verdict.UNDERPOWERED, f"one {evidence.replicate} has no spread: at least 2 are needed")
    delta, gap = evidence.margin, evidence.paper_gap
    bound = "−δ" if evidence.non_inferiority and delta else "0"
    if test_result[0] is Finding.ABOVE:
        if evidence.direction_only or gap is None:
            why = "direction only" if evidence.direction_only else "the paper prints no number to compare"
            return out(Verdict.REPRODUCED, f"lower bound above {bound}; {why}")
        if estimate.low <= gap <= estimate.high:
            return out(Verdict.REPRODUCED, f"lower bound above {bound}; the paper's {gap:+.3g} is inside our interval")
        return out(Verdict.SHIFTED, f"lower bound above {bound}, but the paper's {gap:+.3g} is outside our interval")
    if test_result[0] is Finding.BELOW:
        return out(Verdict.CONTRADICTED, f"upper bound below {f'−δ = {-delta:g}' if delta else '0'}")
    if test_result[0] is Finding.INSIDE:
        same = (
            f"identical in every {evidence.replicate}"
            if estimate.sd == 0 and estimate.mean == 0
            else f"interval inside ±{delta:g}"
        )
        return out(Verdict.EQUIVALENT, same)
    needed = seeds_to_settle(evidence, alpha / claims)
    hope = f"about {needed} seeds would settle it" if needed else f"{MOST_SEEDS} seeds would not settle it"
    if evidence.replicate != "seed":
        hope = "more videos are needed, or a larger difference"
    alone = (
        estimate.low > _lower_null(evidence) or estimate.high < -delta or -delta < estimate.low <= estimate.high < delta
    )
    why = f"enough on its own, not after Holm over {claims} claims" if alone else "undecided"
    return out(Verdict.UNDERPOWERED, f"{why}; {hope}", needed)
