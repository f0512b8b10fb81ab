"""From paired differences to a verdict. Pure functions; the replicates are seeds, or of two trained models videos
(`swimlab.stats.row_differences`).

Student t with n−1 degrees of freedom: with 3 seeds a percentile bootstrap has 20 % false positives at a nominal 5.
Differences are oriented: positive agrees with the claim. δ is the margin declared before the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from swimlab.stats import hypothesis_tests, looks
from swimlab.stats.hypothesis_tests import Finding
from swimlab.stats.intervals import ALPHA, Interval, interval
from swimlab.stats.looks import LookData
from swimlab.stats.power import POWER, chance_to_settle
from swimlab.stats.schedule import Schedule

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
    replicates are videos, not seeds; then there are no `differences` to state. `at_looks`: where looks are declared,
    the first so many of the differences that each look has, None at a look whose trials have not all ended."""

    differences: tuple[float, ...] = ()
    margin: float = 0.0
    non_inferiority: bool = False
    paper_gap: float | None = None
    direction_only: bool = False
    same_trials: bool = False
    unpaired: int = 0
    estimate: Interval | None = None
    at_looks: tuple[int | None, ...] = ()

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

    `interval`, `evidence`: of the look that decided, where looks are declared. `p_holm`: times the number of looks.
    `seeds_needed`: seeds that settle the claim with power 0.8 if the observed mean and SD are the true ones; None when
    settled, or when `MOST_SEEDS` would not suffice. `look`: the look that decided or, for futility, ended it, from 1.
    `next_look`: the look that an undecided claim waits for or goes on to.
    """

    verdict: Verdict | None
    reason: str
    interval: Interval | None
    p_holm: float | None
    seeds_needed: int | None
    evidence: ClaimData
    look: int | None = None
    next_look: int | None = None


@dataclass(frozen=True)
class _Tested:
    """The tests of one claim: what they found, its adjusted p, the look that decided, and the look after which it was
    given up; 0 for none."""

    finding: Finding
    p: float
    look: int = 0
    futile: int = 0


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment, in the order given."""
    adjusted: list[float] = hypothesis_tests.holm(p_values).tolist()
    return adjusted


def judge(
    claims: Sequence[ClaimData], *, alpha: float = ALPHA, mixed: bool = False, schedule: Schedule | None = None
) -> tuple[JudgedClaim, ...]:
    """Verdicts of one family of claims, in order.

    REPRODUCED: lower bound above 0 (above −δ for a non-inferiority claim) and the paper's gap, if it can be compared,
    inside our 95 % interval; SHIFTED: the same bound, but the paper's gap outside; CONTRADICTED: upper bound below −δ;
    EQUIVALENT: interval inside ±δ; else UNDERPOWERED. The bounds are Holm's: each claim enters with
    2 · min(p[d ≤ 0], p[d ≥ −δ]), so with one claim they are those of the 95 % interval; equivalence (two one-sided
    tests) is a family of its own. `mixed`: the table has trials that may not be compared, so no verdict at all. A claim
    between arms that are the same trials is NOT_RUN and does not count in Holm's family.

    With a `schedule` every claim has `at_looks`; a claim keeps the verdict of the look that decided it
    (`swimlab.stats.looks`).
    """
    family = [i for i, claim in enumerate(claims) if not claim.same_trials]
    if schedule is None:
        family = [i for i in family if (estimate := claims[i].interval) is not None and estimate.n > 1]
        results = _at_once([claims[i] for i in family], alpha)
    else:
        results = _at_looks([claims[i] for i in family], schedule, alpha)
    by_claim = dict(zip(family, results, strict=True))
    return tuple(
        _outcome(claim, by_claim.get(i), alpha, len(family), mixed, schedule) for i, claim in enumerate(claims)
    )


def judge_families(
    claims: Sequence[ClaimData],
    metrics: Sequence[str],
    *,
    alpha: float = ALPHA,
    mixed: bool = False,
    schedule: Schedule | None = None,
) -> tuple[JudgedClaim, ...]:
    """Verdicts in order; the claims about each metric (`metrics`: of each claim) are a family, judged as by `judge`."""
    judged: dict[int, JudgedClaim] = {}
    for metric in dict.fromkeys(metrics):
        family = [i for i, of_claim in enumerate(metrics) if of_claim == metric]
        outcomes = judge([claims[i] for i in family], alpha=alpha, mixed=mixed, schedule=schedule)
        judged |= zip(family, outcomes, strict=True)
    return tuple(judged[i] for i in range(len(claims)))


def _at_once(family: Sequence[ClaimData], alpha: float) -> list[_Tested]:
    intervals = [estimate for claim in family if (estimate := claim.interval) is not None]
    decided = hypothesis_tests.decide(
        mean=[estimate.mean for estimate in intervals],
        sd=[estimate.sd or 0.0 for estimate in intervals],
        n=np.array([estimate.n for estimate in intervals], int),
        margin=[claim.margin for claim in family],
        non_inferiority=np.array([claim.non_inferiority for claim in family], bool),
        alpha=alpha,
    )
    return [_Tested(Finding(f), p) for f, p in zip(decided.finding, decided.p_holm.tolist(), strict=True)]


def _at_looks(family: Sequence[ClaimData], schedule: Schedule, alpha: float) -> list[_Tested]:
    if not family:
        return []
    data = []
    for number, planned in enumerate(schedule.at):
        parts = [claim.differences[: claim.at_looks[number] or 0] for claim in family]
        estimates = [interval(part) if part else Interval(0, 0.0) for part in parts]
        sds = [estimate.sd or 0.0 for estimate in estimates]
        counts = np.array([estimate.n for estimate in estimates], int)
        data.append(LookData([estimate.mean for estimate in estimates], sds, counts, planned))
    decided = looks.decide_at_looks(
        data,
        [claim.margin for claim in family],
        np.array([claim.non_inferiority for claim in family], bool),
        alpha,
        schedule.futility,
    )
    fields = (decided.finding, decided.p.tolist(), decided.look.tolist(), decided.futile.tolist())
    return [_Tested(Finding(finding), *rest) for finding, *rest in zip(*fields, strict=True)]


def seeds_to_settle(evidence: ClaimData, alpha: float = ALPHA) -> int | None:
    """The least n above the present one with power 0.8 for any settled verdict, by the noncentral t; None beyond
    `MOST_SEEDS`, with fewer than two differences, and where the replicates are not seeds."""
    estimate = evidence.interval
    if estimate is None or not estimate.sd or evidence.replicate != "seed":
        return None
    counts = np.arange(estimate.n + 1, MOST_SEEDS + 1)
    chances = chance_to_settle(estimate.mean, estimate.sd, counts, evidence.margin, evidence.non_inferiority, alpha)
    enough = counts[chances >= POWER]
    return int(enough[0]) if len(enough) else None


def _outcome(
    evidence: ClaimData,
    tests: _Tested | None,
    alpha: float,
    claims: int,
    mixed: bool,
    schedule: Schedule | None,
) -> JudgedClaim:
    """`tests`: None for a claim that was not tested."""
    look = (tests.look or tests.futile or None) if tests and not mixed else None
    if look:
        evidence = replace(evidence, differences=evidence.differences[: evidence.at_looks[look - 1]])
    estimate = None if evidence.same_trials else evidence.interval

    def out(
        verdict: Verdict | None, reason: str, seeds_needed: int | None = None, next_look: int | None = None
    ) -> JudgedClaim:
        p = tests.p if tests and not mixed and estimate and estimate.n > 1 else None
        return JudgedClaim(verdict, reason, estimate, p, seeds_needed, evidence, look, next_look)

    if evidence.same_trials:
        return out(Verdict.NOT_RUN, "the same trials under this recipe: equal by construction, nothing to compare")
    if estimate is None and not evidence.unpaired:
        return out(Verdict.NOT_RUN, "no seed has finished in every arm of this claim")
    if mixed or estimate is None:
        left_out = f"; seeds of this claim that are not paired: {evidence.unpaired}" if evidence.unpaired else ""
        return out(None, f"MIXED: the table has trials that may not be compared{left_out}")
    ahead = _look_ahead(evidence, schedule)
    if tests is None or estimate.low is None or estimate.high is None:
        few = f"one {evidence.replicate} has no spread: at least 2 are needed"
        return out(Verdict.UNDERPOWERED, few, next_look=ahead)
    delta, gap = evidence.margin, evidence.paper_gap
    bound = "−δ" if evidence.non_inferiority and delta else "0"
    at_look = f"; decided at look {tests.look} of {len(schedule.at)}" if schedule and tests.look else ""
    if tests.finding is Finding.ABOVE:
        if evidence.direction_only or gap is None:
            why = "direction only" if evidence.direction_only else "the paper prints no number to compare"
            return out(Verdict.REPRODUCED, f"lower bound above {bound}; {why}{at_look}")
        if estimate.low <= gap <= estimate.high:
            inside = f"lower bound above {bound}; the paper's {gap:+.3g} is inside our interval{at_look}"
            return out(Verdict.REPRODUCED, inside)
        outside = f"lower bound above {bound}, but the paper's {gap:+.3g} is outside our interval{at_look}"
        return out(Verdict.SHIFTED, outside)
    if tests.finding is Finding.BELOW:
        return out(Verdict.CONTRADICTED, f"upper bound below {f'−δ = {-delta:g}' if delta else '0'}{at_look}")
    if tests.finding is Finding.INSIDE:
        same = (
            f"identical in every {evidence.replicate}"
            if estimate.sd == 0 and estimate.mean == 0
            else f"interval inside ±{delta:g}"
        )
        return out(Verdict.EQUIVALENT, same + at_look)
    level = alpha / (len(schedule.at) if schedule else 1) / claims
    needed = seeds_to_settle(evidence, level)
    why = "undecided"
    if estimate.low > _lower_null(evidence) or estimate.high < -delta or -delta < estimate.low <= estimate.high < delta:
        why = f"enough on its own, not after Holm over {claims} claims"
        why += f" and {len(schedule.at)} looks" if schedule else ""
    if tests.futile:
        return out(Verdict.UNDERPOWERED, f"{why}; ended for futility at look {tests.futile}", needed)
    if schedule is not None and ahead is not None:
        return out(Verdict.UNDERPOWERED, f"{why}; {_next_look_text(evidence, schedule, ahead, level)}", needed, ahead)
    return out(Verdict.UNDERPOWERED, f"{why}; {_without_look_text(evidence, needed)}", needed)


def _lower_null(evidence: ClaimData) -> float:
    return -evidence.margin if evidence.non_inferiority else 0.0


def _look_ahead(evidence: ClaimData, schedule: Schedule | None) -> int | None:
    """The first look that has not all its trials; None after the last."""
    if schedule is None or None not in evidence.at_looks:
        return None
    return evidence.at_looks.index(None) + 1


def _next_look_text(evidence: ClaimData, schedule: Schedule, ahead: int, level: float) -> str:
    """What the look brings that an undecided claim goes on to."""
    planned, estimate = schedule.at[ahead - 1], evidence.interval
    name = f"look {ahead} of {len(schedule.at)}, at {planned} seeds"
    if ahead == 1 or estimate is None or estimate.sd is None:
        return f"{name}, has not all its trials yet"
    chance = chance_to_settle(estimate.mean, estimate.sd, planned, evidence.margin, evidence.non_inferiority, level)
    return f"{name}, settles it with a chance of {float(chance):.0%} if mean and SD are as observed".replace("%", " %")


def _without_look_text(evidence: ClaimData, needed: int | None) -> str:
    """What helps an undecided claim for which no look is left."""
    if evidence.replicate != "seed":
        return "more videos are needed, or a larger difference"
    if needed is None:
        return f"{MOST_SEEDS} seeds would not settle it"
    return f"a new run of about {needed} seeds would settle it (seeds added to these raise the error rate)"
