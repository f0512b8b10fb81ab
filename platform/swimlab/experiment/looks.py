"""The trials that a table with declared looks needs at each look, and whether it goes on to the next.

At the first look every arm has the seeds of that look, but for arms that no claim names: two, which show a number and
decide nothing. At a later look the arms of undecided claims get its seeds; arms of decided claims only get no more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from swimlab.experiment.judged_claims import TrialsByArm, judge_claims
from swimlab.experiment.plan import Plan
from swimlab.experiment.results import Results
from swimlab.experiment.trial_spec import TrialSpec

UNCLAIMED_SEEDS = 2


def check_seeds(plan: Plan) -> None:
    """Raises ValueError where a plan has seeds that its ablation's looks do not: judged at a look that was not
    declared, they would raise the error rate."""
    ablation = plan.ablation
    if ablation.looks and (more := sorted(set(plan.seeds) - set(ablation.seeds))):
        raise ValueError(
            f"ablation {ablation.name!r} declares looks at {' and '.join(map(str, ablation.looks))} seeds, and none of "
            f"them has the seeds {more}. Declare another look in the experiment file, which amends the protocol"
        )


def at_look(plan: Plan, look: int, decided_at: Mapping[int, int] = {}) -> Plan:
    """The plan with the trials of look `look` (from 1) and of those before it; `decided_at`: number of a claim → the
    look at which it was decided."""
    whole = plan.whole or plan
    ablation = whole.ablation
    looks_of: dict[str, int] = {}
    for number, claim in enumerate(ablation.paper.claims):
        for arm in ablation.contrast(claim):
            looks_of[arm] = max(looks_of.get(arm, 1), decided_at.get(number, look))
    counts = {arm: ablation.looks[last - 1] for arm, last in looks_of.items()}
    seeds = {arm.name: set(ablation.seeds[: counts.get(arm.name, UNCLAIMED_SEEDS)]) for arm in ablation.arms}
    arms = tuple((planned, spec) for planned, spec in whole.arms if planned.seed in seeds[planned.arm])
    needed = {spec.trial_id for _, spec in arms}
    waves: list[tuple[TrialSpec, ...]] = []
    for wave in reversed(whole.waves):
        kept = tuple(spec for spec in wave if spec.trial_id in needed)
        needed |= {spec.init_trial_id for spec in kept if spec.init_trial_id}
        waves.append(kept)
    waves = [wave for wave in reversed(waves) if wave]
    return replace(whole, arms=arms, waves=tuple(waves), look=look, whole=whole)


def first_look(plan: Plan) -> Plan:
    """The plan of the first look; the plan itself where no looks are declared."""
    return at_look(plan, 1) if plan.ablation.looks else plan


def following(plan: Plan, results: Results) -> Plan | None:
    """The plan of the next look, given the results of this one. None where no claim is undecided, where a trial of
    this look has not ended, and after the last look."""
    if plan.look is None:
        return None
    outcomes = [c.outcome for c in judge_claims(results, TrialsByArm(results), comparable=False)]
    undecided = [outcome.evidence for outcome in outcomes if outcome.look is None and not outcome.evidence.same_trials]
    if any(None in evidence.at_looks[: plan.look] for evidence in undecided):
        return None
    if not any(outcome.next_look for outcome in outcomes):
        return None
    ended = {number: outcome.look or 1 for number, outcome in enumerate(outcomes) if not outcome.next_look}
    return at_look(plan, plan.look + 1, ended)


def has_begun(before: Results, now: Results) -> bool:
    """Whether a look was begun that has the results `now`, and the look before it those of `before`: a trial that it
    adds failed, or an undecided claim has a difference more. A single trial shared with another table does not begin
    it."""
    earlier = {trial.trial_id for trial in before.trials}
    if any(trial.failure for trial in now.trials if trial.trial_id not in earlier):
        return True
    counts = [
        [len(c.outcome.evidence.differences) for c in judge_claims(results, TrialsByArm(results), comparable=False)]
        for results in (before, now)
    ]
    return any(more > fewer for fewer, more in zip(*counts, strict=True))
