"""`plan`: what would run, what it takes, what it could find, and why a trial that ran before is new. Writes nothing."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from swim.recipe import Recipe
from swimlab.data.prepared_clips import load_prepared
from swimlab.experiment import plan as plans
from swimlab.experiment import protocol
from swimlab.experiment.cost_forecast import FIRST, CostEstimate, Totals, estimate, totals
from swimlab.experiment.detectable_effects import Sensitivity, sensitivity
from swimlab.experiment.first_estimate import first_estimate, reach
from swimlab.experiment.invalidation import Invalidation, Invalidations
from swimlab.experiment.protocol import ProtocolStatus
from swimlab.experiment.run_settings import Settings
from swimlab.experiment.trial_spec import TrialSpec
from swimlab.report.number_format import duration, number
from swimlab.store.records import TrialRecord
from swimlab.store.sweep_store import SweepStore


@dataclass(frozen=True)
class PlanPreview:
    """All that `plan` shows. `estimates` and `moves` are of the trials to run, by trial id; `at_a_time` is None where
    this machine cannot know (a GPU plan); `unprepared`: data sets whose clips are not in the store; `results`: how many
    an amendment would come after; `unread`: records of recipes this code cannot read."""

    plan: plans.Plan
    waves: tuple[tuple[TrialSpec, ...], ...]
    done: Mapping[str, TrialRecord]
    estimates: Mapping[str, CostEstimate | None]
    moves: Mapping[str, Invalidation]
    totals: Totals
    at_a_time: int | None
    unprepared: int
    sensitivity: Sensitivity
    standing: ProtocolStatus
    results: int
    unread: int


def preview(plan: plans.Plan, store: SweepStore, settings: Settings) -> PlanPreview:
    """Reads every record of the store once; starts no Ray."""
    everything = store.records()
    waves = plans.missing([plan], store)
    new = [spec for wave in waves for spec in wave]
    seeds = {spec.recipe.seed for _, spec in plan.arms} | {spec.recipe.seed for spec in new}
    moves = Invalidations(store, (record for record in everything.values() if record.seed in seeds))
    estimates = {
        spec.trial_id: estimate(spec, everything.values()) or first_estimate(spec.recipe, settings.cache)
        for spec in new
    }
    at_a_time = slots(settings)
    measured = plan.ablation.primary.measured(plan.recipe.name)
    scores: dict[str, dict[int, float]] = {}
    for planned, spec in plan.arms:
        # A result of older code still says how far apart seeds lie.
        record = everything.get(spec.trial_id) or moves.earlier(spec.recipe)
        if record and measured in record.metrics:
            scores.setdefault(planned.arm, {})[planned.seed] = record.metrics[measured]
    stored = settings.clips == "store"
    clips = {spec.clips_fingerprint for spec in new}
    return PlanPreview(
        plan=plan,
        waves=waves,
        done={trial_id: everything[trial_id] for trial_id in plan.trial_ids if trial_id in everything},
        estimates=estimates,
        moves={spec.trial_id: move for spec in new if (move := moves.of(spec))},
        totals=totals(waves, estimates, at_a_time=at_a_time or 1, devices_a_trial=max(1, settings.workers)),
        at_a_time=at_a_time,
        unprepared=sum(load_prepared(store, name, stored=True) is None for name in clips) if stored else 0,
        sensitivity=sensitivity(plan.ablation, len(plan.seeds), scores, plan.shared),
        standing=protocol.standing(plan, store),
        results=protocol.results_so_far(plan, store),
        unread=moves.unread,
    )


def slots(settings: Settings) -> int | None:
    """Trials at a time on this machine's CPUs; None for GPUs that nobody has counted."""
    if settings.gpu:
        return settings.concurrency
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    fit = max(1, cpus // (max(1, settings.workers) + settings.decode_cpus))
    return min(fit, settings.concurrency or fit)


def render(seen: PlanPreview) -> RenderableType:
    """For any rich console."""
    return Group(_trials(seen), *(Text(line) for line in lines(seen)))


def lines(seen: PlanPreview) -> list[str]:
    """All but the table of trials."""
    said = [*_tuning(seen.plan), *_price(seen), *_moved(seen), *_detectable(seen), f"protocol   {_protocol(seen)}"]
    if seen.unread:
        said.append(f"note       {seen.unread} results in the store are of recipes that this code cannot read")
    return said


def _trials(seen: PlanPreview) -> Table:
    new = {spec.trial_id for wave in seen.waves for spec in wave}
    plan = seen.plan
    table = Table(title=f"{plan.ablation.name} on {plan.recipe.name}: {len(new)} to run")
    for column in ("trial", "arm", "seed", "recipe", "steps", "state", "time"):
        table.add_column(column, justify="right" if column in ("seed", "steps", "time") else "left")
    arm_ids = {spec.trial_id for _, spec in plan.arms}
    bases = [("(starts arms)", s) for wave in plan.waves for s in wave if s.trial_id not in arm_ids]
    for arm, spec in bases + [(planned.arm, spec) for planned, spec in plan.arms]:
        record, guess = seen.done.get(spec.trial_id), seen.estimates.get(spec.trial_id)
        state = "cached" if record else "not needed"
        time = duration(record.cost.wall_s) if record else ""
        if spec.trial_id in new:
            state = "new (moved)" if spec.trial_id in seen.moves else "new"
            time = f"≈ {duration(guess.wall_s)}" if guess else "unknown"
        if (first := plan.shared.get(arm, arm)) != arm:
            arm = f"{arm} = {first}"
        row = (spec.trial_id, arm, str(spec.seed), spec.recipe.name, str(spec.recipe.optim.steps), state, time)
        table.add_row(*map(Text, row))
    return table


def _tuning(plan: plans.Plan) -> list[str]:
    if plan.ablation.tuned is None:
        return []
    points, answered = sum(one.budget for one in plan.tuning), sum(one.answered for one in plan.tuning)
    out = [f"tuning     {plan.ablation.tuned.text}; {answered} of {points} answered"]
    out += [f"           {one.arm}: {one.text}" for one in plan.tuning]
    if any(one.choice is None for one in plan.tuning):
        out.append("           trials, time and bytes below are of tuned arms alone, without the tuning itself")
    return out


def _price(seen: PlanPreview) -> list[str]:
    arm_ids = {spec.trial_id for _, spec in seen.plan.arms}
    cached = len(arm_ids & set(seen.done))
    said = f"trials     {seen.totals.trials} to run; {cached} of the table's {len(arm_ids)} cached"
    if (again := len(seen.plan.arms) - len(arm_ids)) > 0:
        said += f"; {again} more places in it are filled by trials that arms share"
    out, total = [said], seen.totals
    if not total.trials:
        return out
    return [*out, *_time(total, seen.estimates, seen.plan.recipe, seen.at_a_time), _bytes(total, seen.unprepared)]


def _time(
    total: Totals, estimates: Mapping[str, CostEstimate | None], recipe: Recipe, at_a_time: int | None
) -> Iterator[str]:
    if total.unknown == total.trials:
        yield "time       unknown: the store has no result of this model, and its size is not known from here"
        return
    sources = Counter(e.source for e in estimates.values() if e)
    basis = "; ".join(f"{count} trials by the {source}" for source, count in sources.items())
    hours = f"{total.device_hours:.3g} device-hours ({', '.join(total.devices)})"
    yield f"time       ≈ {duration(total.trials_s)} of trials, {hours}; {basis}"
    if FIRST in sources:
        yield f"           {reach(recipe)}"
    if total.unknown:
        yield f"           not counted: {total.unknown} trials of models the store has no result of"
    elif at_a_time is None:
        yield "           wall-clock unknown: say how many trials run at a time (--concurrency)"
    elif total.wall_s is not None:
        yield f"           wall-clock ≈ {duration(total.wall_s)} with {at_a_time} at a time, as here"


def _bytes(total: Totals, unprepared: int) -> str:
    if total.unknown == total.trials:
        return "bytes      unknown, likewise"
    more = f", and the decoded clips of {unprepared} data sets, not counted" if unprepared else ""
    return f"bytes      ≈ {total.size_bytes / 1e6:.3g} MB to write{more}"


def together(seen: Sequence[PlanPreview], store: SweepStore, settings: Settings) -> list[str]:
    """Of several tables: the trials that they need between them, each once, and what those take."""
    waves = plans.missing([one.plan for one in seen], store)
    alone = sum(one.totals.trials for one in seen)
    count = sum(map(len, waves))
    shared = f"; {alone - count} of the {alone} above are shared by tables, and run once" if alone > count else ""
    lines = [f"together   {count} trials to run for {len(seen)} tables{shared}"]
    if not count:
        return lines
    estimates = {trial_id: found for one in seen for trial_id, found in one.estimates.items()}
    total = totals(waves, estimates, at_a_time=seen[0].at_a_time or 1, devices_a_trial=max(1, settings.workers))
    return [*lines, *_time(total, estimates, seen[0].plan.recipe, seen[0].at_a_time)]


def _moved(seen: PlanPreview) -> list[str]:
    counts = Counter(move.text for move in seen.moves.values())
    return [f"moved      {text} ({count} of the new trials ran before that)" for text, count in counts.most_common()]


def _detectable(seen: PlanPreview) -> list[str]:
    power = seen.sensitivity
    if not power.claims:
        return []
    if math.isinf(power.detectable_in_sds):
        return ["detects    nothing: one seed has no spread, at least 2 are needed"]
    family = f"Holm over {power.claims} claims" if power.claims > 1 else "one claim"
    out = [
        f"detects    {power.seeds} seeds find a difference of {power.detectable_in_sds:.2f} SDs of paired differences "
        f"4 times in 5 ({family})"
    ]
    metric = seen.plan.ablation.primary.measured(seen.plan.recipe.name)
    for claim in power.by_claim:
        if not claim.tested:
            out.append(f"           {claim.text}: the same trials under this recipe, never tested")
        elif claim.detectable is None or claim.sd is None:
            out.append(f"           {claim.text}: in {metric} unknown, the store has no two seeds of its arms")
        else:
            out.append(
                f"           {claim.text}: {number(claim.detectable)} {metric} (SD {number(claim.sd)} over "
                f"{claim.sd_seeds} seeds in the store)"
            )
    return out


def _protocol(seen: PlanPreview) -> str:
    standing = seen.standing
    if not standing.history:
        after = f"after {seen.results} results" if seen.results else "before any result"
        return f"not declared yet; `run` declares it {after}"
    last = standing.history[-1]
    if standing.undeclared:
        moved = "; ".join(standing.undeclared)
        return f"{last.hash} stands; `run` would amend it after {seen.results} results: {moved}"
    return standing.text
