"""What `plan` prints about declared looks: which trials are certain, and what a further look adds at most."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from swimlab.execution import run_ablations
from swimlab.experiment import looks
from swimlab.experiment.cost_forecast import CostEstimate
from swimlab.experiment.plan import Plan
from swimlab.experiment.run_settings import Settings
from swimlab.report.number_format import duration
from swimlab.store.sweep_store import SweepStore


def certain(plan: Plan, store: SweepStore, settings: Settings) -> Plan:
    """The plan of the first look that has open trials, which `run` is going to run whatever they say; of the last look
    that is needed where nothing is open. The plan itself where no looks are declared."""
    plan = looks.first_look(plan)
    while plan.look is not None:
        following = run_ablations.next_look(plan, run_ablations.gather(plan, store, 0.0), settings)
        if following is None:
            break
        plan = following
    return plan


def lines(plan: Plan, estimates: Mapping[str, CostEstimate | None], settings: Settings) -> Iterator[str]:
    """`estimates`: of trials of the plan that are to run, by trial id; those of a look to come cost what the first of
    the same arm costs."""
    ablation = plan.ablation
    if plan.look is None:
        return
    at, each = " and ".join(map(str, ablation.looks)), 100 * ablation.alpha / len(ablation.looks)
    yield f"looks      claims are judged at {at} seeds, at α = {each:.3g} % each; above is look {plan.look}"
    last = min(len(ablation.looks), settings.looks or len(ablation.looks))
    if untuned := [state.arm for state in plan.tuning if state.choice is None]:
        yield f"           no trials are planned yet of arms that are to be tuned first: {', '.join(untuned)}"
        return
    if not estimates:
        open_claims = "no claim is left open for a later one" if last == len(ablation.looks) else f"--looks {last}"
        yield f"           all of its trials are there: {open_claims}"
        return
    by_arm = {planned.arm: estimates[spec.trial_id] for planned, spec in plan.arms if spec.trial_id in estimates}
    earlier = plan
    for look in range(plan.look + 1, last + 1):
        later = looks.at_look(plan, look)
        added = {spec.trial_id: planned.arm for planned, spec in later.arms if spec.trial_id not in earlier.trial_ids}
        costs = [cost.wall_s for arm in added.values() if (cost := by_arm.get(arm)) is not None]
        time = f", ≈ {duration(sum(costs))} of trials" if len(costs) == len(added) else ""
        yield f"           look {look} adds at most {len(added)} trials{time}: of arms whose claims are open by then"
        earlier = later
