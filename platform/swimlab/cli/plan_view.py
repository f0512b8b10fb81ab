"""What `plan` prints: trials to run, time, bytes, detectable differences, and why a trial that ran before is new.

Nothing is written and no Ray is started."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from swim.recipe import DataConfig, HubModel, NLReferFiles, Recipe
from swimlab.cli import forecast_view, looks_view
from swimlab.cli.forecast_view import Forecasts
from swimlab.cli.plan_table import TrialRow, trials_table
from swimlab.data.planned_steps import PlannedSteps, StepCount
from swimlab.data.prepared_clips import load_prepared
from swimlab.experiment import cards, protocol
from swimlab.experiment import plan as plans
from swimlab.experiment.cost_forecast import FIRST, CostEstimate, Forecast, Totals, of_evaluation, totals
from swimlab.experiment.data_forecast import drawing
from swimlab.experiment.detectable_effects import Sensitivity, sensitivity
from swimlab.experiment.first_estimate import first_estimate, reach
from swimlab.experiment.invalidation import Invalidation, Invalidations
from swimlab.experiment.protocol import ProtocolStatus
from swimlab.experiment.run_settings import Settings
from swimlab.experiment.training_forecast import TrainingForecast
from swimlab.experiment.trial_spec import TrialSpec
from swimlab.report.number_format import duration, number
from swimlab.store.presence import Presence, StoreContent
from swimlab.store.sweep_store import SweepStore


@dataclass(frozen=True)
class PlanPreview:
    """What `plan` shows of one table.

    Attributes:
        done: finished trials, with their wall-clock in seconds.
        steps: of the trials of arms and of those to run, by trial id.
        estimates, invalidations: of the trials to run, by trial id.
        on_gpu: of the first arm, where there are trials of a hub model to run.
        usd_per_hour: of a GPU; None where it is to be assumed.
        at_a_time: trials at the same time; None for a GPU plan, where this machine cannot know.
        unprepared: data sets whose clips are not in the store, by the fingerprint of their clips.
        results: finished trials that an amendment of the protocol would come after.
        looks: lines about declared looks.
        unread: records in the store whose recipes this code cannot read.
        benchmarks: lines about the benchmarks that metrics are of.
    """

    plan: plans.Plan
    waves: tuple[tuple[TrialSpec, ...], ...]
    done: Mapping[str, float]
    steps: Mapping[str, StepCount]
    estimates: Mapping[str, CostEstimate | None]
    invalidations: Mapping[str, Invalidation]
    on_gpu: TrainingForecast | None
    usd_per_hour: float | None
    totals: Totals
    at_a_time: int | None
    unprepared: Mapping[str, DataConfig]
    sensitivity: Sensitivity
    status: ProtocolStatus
    results: int
    looks: tuple[str, ...]
    unread: int
    benchmarks: tuple[str, ...] = ()


def check_data(previews: Sequence[PlanPreview], store: SweepStore, settings: Settings) -> list[str]:
    """A sentence for each data set of the user's own files that is to be prepared. Raises PipelineError where `run`
    would refuse it."""
    stored = settings.clips == "store"
    data = {
        spec.clips_fingerprint: spec.recipe.data
        for preview in previews
        for wave in preview.waves
        for spec in wave
        if isinstance(spec.recipe.data, NLReferFiles)
    }
    new = [files for name, files in data.items() if load_prepared(store, name, stored=stored) is None]
    if not new:
        return []
    # PyAV's child process and the readers of rows take a second to import, and only one's own data needs them.
    from swimlab.data import data_check

    return [
        data_check.check_data(
            files,
            store.uri,
            max_quarantined_share=settings.max_quarantined_share,
            store_clips=stored,
            max_clips_bytes=settings.max_clips_gb * 1e9,
        )
        for files in new
    ]


def preview(
    plan: plans.Plan, store: SweepStore, settings: Settings, content: StoreContent | None = None
) -> PlanPreview:
    """The preview of a plan. `content`: of the store, for several plans. Records are read only where trials are to
    run, whose time is estimated from them; of what is committed, the leaderboard has the numbers."""
    content = content or StoreContent(store)
    present = content.present
    waves = plans.missing([plan], store, present)
    new = [spec for wave in waves for spec in wave]
    everything = content.records if new else {}
    seeds = {spec.recipe.seed for _, spec in plan.arms} | {spec.recipe.seed for spec in new}
    invalidations = Invalidations(store, (record for record in everything.values() if record.seed in seeds))
    forecast = Forecast(everything.values())
    counting = PlannedSteps(store, settings.cache)
    steps = {spec.trial_id: counting.of(spec) for spec in (*new, *(spec for _, spec in plan.arms))}

    forecasts = Forecasts(store, settings)

    def on_gpu(spec: TrialSpec) -> TrainingForecast | None:
        return forecasts.of(steps[spec.trial_id].recipe, spec.clips_fingerprint)

    def estimate(spec: TrialSpec) -> CostEstimate | None:
        counted = spec.model_copy(update={"recipe": steps[spec.trial_id].recipe})
        if recorded := forecast.estimate(counted):
            return recorded
        arithmetic = on_gpu(spec)
        return forecast_view.estimate(arithmetic) if arithmetic else first_estimate(counted.recipe, settings.cache)

    estimates = {
        spec.trial_id: of_evaluation(everything[spec.trial_id]) if spec.trial_id in everything else estimate(spec)
        for spec in new
    }
    gpu = bool(settings.gpu) or (settings.gpu is None and isinstance(plan.recipe.model, HubModel))
    at_a_time = slots(settings, gpu)
    scores: dict[str, dict[str, dict[int, float]]] = {}
    for metric in {m.name: m for m in map(plan.ablation.metric_of, plan.ablation.paper.claims)}.values():
        measured = metric.measured(plan.recipe.name)
        known = present.column(measured)
        for planned, spec in plan.arms:
            value = known.get(spec.trial_id)
            if spec.trial_id not in present.trials and (record := invalidations.earlier(spec.recipe)):
                value = known.get(record.trial_id)  # a result of older code still estimates the spread over seeds
            if value is not None:
                scores.setdefault(metric.name, {}).setdefault(planned.arm, {})[planned.seed] = value
    stored = settings.clips == "store"
    clips = {spec.clips_fingerprint: spec.recipe.data for spec in new}
    walls_s = present.column("cost.wall_s")
    return PlanPreview(
        plan=plan,
        waves=waves,
        done={trial_id: walls_s[trial_id] for trial_id in plan.trial_ids if trial_id in walls_s},
        steps=steps,
        estimates=estimates,
        invalidations={
            spec.trial_id: invalidation
            for spec in new
            if spec.trial_id not in everything and (invalidation := invalidations.of(spec))
        },
        on_gpu=on_gpu(plan.arms[0][1]) if plan.arms and new else None,
        usd_per_hour=settings.usd_per_hour,
        totals=totals(waves, estimates, at_a_time=at_a_time or 1, devices_a_trial=max(1, settings.workers)),
        at_a_time=at_a_time,
        unprepared={name: data for name, data in clips.items() if load_prepared(store, name, stored=True) is None}
        if stored
        else {},
        sensitivity=sensitivity(plan.ablation, len(plan.seeds), scores, plan.shared),
        status=protocol.standing(plan, store),
        results=protocol.results_so_far(plan, store),
        looks=tuple(looks_view.lines(plan, estimates, settings)),
        unread=invalidations.unread,
        benchmarks=_benchmarks(plan, store, settings, present),
    )


def _benchmarks(plan: plans.Plan, store: SweepStore, settings: Settings, present: Presence) -> tuple[str, ...]:
    if not plan.benchmarks:
        return ()
    from swimlab.cli import benchmark_view  # readers of rows take a second to import, and few tables have benchmarks

    trials = list(dict.fromkeys(spec.trial_id for _, spec in plan.arms))
    records = store.read_records(trial_id for trial_id in trials if trial_id in present.trials)
    return tuple(benchmark_view.lines(plan.benchmarks, plan.recipe, trials, records, store, settings))


def slots(settings: Settings, gpu: bool) -> int | None:
    """Trials at the same time on this machine's CPUs; for GPUs the --concurrency flag, None without it."""
    if gpu:
        return settings.concurrency
    fit = max(1, _cpus() // (max(1, settings.workers) + settings.decode_cpus))
    return min(fit, settings.concurrency or fit)


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def render(view: PlanPreview) -> RenderableType:
    """The preview as a table of trials and lines of text, for any rich console."""
    return Group(_trials(view), *(Text(line) for line in lines(view)))


def lines(view: PlanPreview) -> list[str]:
    """The lines below the table of trials."""
    out = [
        *_steps(view),
        *_tuning(view.plan),
        *_price(view),
        *(forecast_view.lines(view.on_gpu) if view.on_gpu else ()),
        *view.benchmarks,
        *view.looks,
        *_moved(view),
        *_detectable(view),
        f"protocol   {_protocol(view)}",
    ]
    if view.unread:
        out.append(f"note       {view.unread} results in the store are of recipes that this code cannot read")
    return out


def _trials(view: PlanPreview) -> Table:
    new = {spec.trial_id for wave in view.waves for spec in wave}
    plan = view.plan
    return trials_table(f"{plan.ablation.name} on {plan.recipe.name}: {len(new)} to run", list(_rows(view, new)))


def _rows(view: PlanPreview, new: Collection[str]) -> Iterator[TrialRow]:
    plan = view.plan
    arm_ids = {spec.trial_id for _, spec in plan.arms}
    bases = [("(starts arms)", s) for wave in plan.waves for s in wave if s.trial_id not in arm_ids]
    for arm, spec in bases + [(planned.arm, spec) for planned, spec in plan.arms]:
        wall_s, guess = view.done.get(spec.trial_id), view.estimates.get(spec.trial_id)
        state = "not needed" if wall_s is None else "cached"
        time = "" if wall_s is None else duration(wall_s)
        if spec.trial_id in new:
            state = (
                "new (moved)" if spec.trial_id in view.invalidations else "new" if wall_s is None else "evaluate again"
            )
            time = f"≈ {duration(guess.wall_s)}" if guess else "unknown"
        if (first := plan.shared.get(arm, arm)) != arm:
            arm = f"{arm} = {first}"
        steps = view.steps[spec.trial_id].text if spec.trial_id in view.steps else str(spec.recipe.optim.steps)
        yield TrialRow(spec.trial_id, arm, str(spec.seed), spec.recipe.name, steps, state, time)


def _steps(view: PlanPreview) -> list[str]:
    texts = dict.fromkeys(count.reason for count in view.steps.values() if count.reason)
    return [f"steps      {text}" for text in texts]


def _tuning(plan: plans.Plan) -> list[str]:
    if plan.ablation.tuned is None:
        return []
    points, answered = sum(state.budget for state in plan.tuning), sum(state.answered for state in plan.tuning)
    out = [f"tuning     {plan.ablation.tuned.text}; {answered} of {points} answered"]
    out.append("           chosen on validation clips, which are neither trained on nor reported")
    out += [f"           {state.arm}: {state.text}" for state in plan.tuning]
    if any(state.choice is None for state in plan.tuning):
        out.append("           trials, time and bytes below count the tuned arms only, not the tuning itself")
    return out


def _price(view: PlanPreview) -> list[str]:
    arm_ids = {spec.trial_id for _, spec in view.plan.arms}
    todo = {spec.trial_id for wave in view.waves for spec in wave}
    cached, reevaluated = len((arm_ids & set(view.done)) - todo), len(todo & set(view.done))
    text = f"trials     {view.totals.trials - reevaluated} to run; {cached} of the table's {len(arm_ids)} cached"
    if reevaluated:
        text += f"; {reevaluated} to evaluate again, and not to train"
    if (repeats := len(view.plan.arms) - len(arm_ids)) > 0:
        text += f"; {repeats} more cells show trials that arms share"
    out, total = [text], view.totals
    if not total.trials:
        return out
    times = _time(total, view.estimates, view.plan.recipe, view.at_a_time, view.usd_per_hour)
    return [*out, *_data(view.unprepared), *times, _bytes(total, len(view.unprepared))]


def _data(unprepared: Mapping[str, DataConfig]) -> Iterator[str]:
    forecast = drawing(unprepared.values())
    if forecast.clips:
        took = duration(forecast.cpu_s / _cpus())
        yield (
            f"data       ≈ {took} on {_cpus()} CPUs to draw {forecast.clips:,} clips of {forecast.data_sets} data sets "
            "before the first trial"
        )


def _time(
    total: Totals,
    estimates: Mapping[str, CostEstimate | None],
    recipe: Recipe,
    at_a_time: int | None,
    usd_per_hour: float | None,
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
        yield "           wall-clock unknown: give the number of trials at a time (--concurrency)"
    elif total.wall_s is not None:
        yield f"           wall-clock ≈ {duration(total.wall_s)} with {at_a_time} at a time, as here"
    if len(total.devices) == 1 and (card := cards.of_device(total.devices[0])):
        yield forecast_view.price(total.device_hours, card, usd_per_hour)


def _bytes(total: Totals, unprepared: int) -> str:
    if total.unknown == total.trials:
        return "bytes      unknown, for the same reason"
    more = f", and the decoded clips of {unprepared} data sets, not counted" if unprepared else ""
    return f"bytes      ≈ {total.size_bytes / 1e6:.3g} MB to write{more}"


def together(
    views: Sequence[PlanPreview], store: SweepStore, settings: Settings, content: StoreContent | None = None
) -> list[str]:
    """The lines about several tables together: the trials that they need, shared ones counted once, and their cost."""
    waves = plans.missing([view.plan for view in views], store, content.present if content else None)
    alone = sum(view.totals.trials for view in views)
    count = sum(map(len, waves))
    shared = f"; {alone - count} of the {alone} above are shared by tables, and run once" if alone > count else ""
    lines = [f"together   {count} trials to run for {len(views)} tables{shared}"]
    if not count:
        return lines
    estimates = {trial_id: cost for view in views for trial_id, cost in view.estimates.items()}
    total = totals(waves, estimates, at_a_time=views[0].at_a_time or 1, devices_a_trial=max(1, settings.workers))
    first = views[0]
    unprepared = {name: data for view in views for name, data in view.unprepared.items()}
    times = _time(total, estimates, first.plan.recipe, first.at_a_time, first.usd_per_hour)
    return [*lines, *_data(unprepared), *times]


def _moved(view: PlanPreview) -> list[str]:
    counts = Counter(invalidation.text for invalidation in view.invalidations.values())
    return [f"moved      {text} ({count} of the new trials ran before that)" for text, count in counts.most_common()]


def _detectable(view: PlanPreview) -> list[str]:
    power = view.sensitivity
    if not power.claims:
        return []
    if any(map(math.isinf, power.at.values())):
        return ["detects    nothing: one seed has no spread, at least 2 are needed"]
    family = f"Holm over {power.claims} claims" if power.claims > 1 else "one claim"
    family += f", {len(power.at)} looks" if len(power.at) > 1 else ""
    at = "; ".join(f"{seeds} seeds find a difference of {sds:.2f} SDs" for seeds, sds in power.at.items())
    out = [f"detects    {at} of paired differences 4 times in 5 ({family})"]
    metrics = {m.name: m.measured(view.plan.recipe.name) for m in view.plan.ablation.metrics}
    for claim in power.by_claim:
        metric = metrics[claim.metric]
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


def _protocol(view: PlanPreview) -> str:
    status = view.status
    if not status.history:
        after = f"after {view.results} results" if view.results else "before any result"
        return f"not declared yet; `run` declares it {after}"
    last = status.history[-1]
    if status.undeclared:
        moved = "; ".join(status.undeclared)
        return f"{last.hash} stands; `run` would amend it after {view.results} results: {moved}"
    return status.text
