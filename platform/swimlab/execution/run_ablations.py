"""From a plan to results: prepares the data once, runs what the store lacks, and gathers everything.

Only trials without a record run, so running again resumes; when none is missing Ray is never started.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from rich.console import Console

from swimlab.data import prepared_clips
from swimlab.data.planned_steps import PlannedSteps
from swimlab.execution import run_times, tune_arms
from swimlab.execution.run_times import RunTimes, WaveTiming
from swimlab.experiment import looks, protocol, run_manifest
from swimlab.experiment.plan import Plan, missing
from swimlab.experiment.results import ArmResult, Results
from swimlab.experiment.run_settings import Settings
from swimlab.experiment.stored_results import failures, is_complete, stored_results
from swimlab.experiment.trial_spec import TrialSpec
from swimlab.store import provenance
from swimlab.store.presence import Presence
from swimlab.store.published_tables import write_tables
from swimlab.store.sweep_store import SweepStore, reachable_store

if TYPE_CHECKING:
    from swimlab.execution.session import RunSession

Measure = Callable[[list[Results]], list[Results]]


def execute(
    plans: Sequence[Plan],
    settings: Settings,
    console: Console,
    measure: Measure = list,
) -> list[Results]:
    """Run what is missing and return everything, a trial that several plans share once. Where a plan has looks, what is
    undecided at one goes on to the next, up to `settings.looks`. `measure`: adds to results what is measured after
    training (`swimlab.evaluating.table_benchmarks`), before they are judged.

    Raises StoreError before any work when the store cannot be written, PlanError when a plan cannot fit, PipelineError
    when data cannot be used.
    """
    started_s = time.monotonic()
    store = reachable_store(settings.store)
    with ExitStack() as resources:
        current = [looks.first_look(plan) for plan in tune_arms.tune(plans, store, settings, console, resources)]
        going_on = list(range(len(current)))
        results: dict[int, Results] = {}
        while going_on:
            _run_missing([current[i] for i in going_on], store, settings, console)
            gathered = [gather(current[i], store, time.monotonic() - started_s) for i in going_on]
            results |= zip(going_on, measure(gathered), strict=True)
            following = {i: next_look(current[i], results[i], settings) for i in going_on}
            going_on = []
            for i, plan in following.items():
                if plan is not None:
                    console.print(
                        f"{plan.ablation.name}: on to look {plan.look}, of what look {current[i].look} left open"
                    )
                    current[i] = plan
                    going_on.append(i)
    ordered = [results[i] for i in range(len(current))]
    write_tables(store, pa.concat_tables([_arms_table(result) for result in ordered]))
    return ordered


def next_look(plan: Plan, results: Results, settings: Settings) -> Plan | None:
    """The plan of the next look, as `looks.following`; None after `settings.looks` looks."""
    if settings.looks is not None and (plan.look or 0) >= settings.looks:
        return None
    return looks.following(plan, results)


def at_latest_look(plan: Plan, store: SweepStore, settings: Settings, measure: Measure = list) -> Results:
    """What the store says about a plan at the latest look that was begun, which `report` shows."""
    plan = looks.first_look(plan)
    (results,) = measure([gather(plan, store, 0.0)])
    while (following := next_look(plan, results, settings)) is not None:
        (begun,) = measure([gather(following, store, 0.0)])
        if not looks.has_begun(results, begun):
            break
        plan, results = following, begun
    return results


def _run_missing(plans: Sequence[Plan], store: SweepStore, settings: Settings, console: Console) -> None:
    present = Presence.read(store)
    waves = missing(plans, store, present)
    todo = {spec.trial_id for wave in waves for spec in wave}
    to_evaluate = todo & set(present.trials)
    for plan in plans:
        arm_ids = {spec.trial_id for _, spec in plan.arms}
        console.print(
            f"{plan.ablation.name} on {plan.recipe.name}: {len(arm_ids - todo)} of {len(arm_ids)} trials cached, "
            f"{_counts(todo & set(plan.trial_ids), to_evaluate)}"
        )
    if len(plans) > 1:
        console.print(f"together {_counts(todo, to_evaluate)}")
    if waves:
        store.check_writable()
        _run(plans, waves, store, settings, console)
    else:
        _declare(plans, store, todo, settings.cache)


def _counts(todo: set[str], to_evaluate: set[str]) -> str:
    evaluations = f", {len(todo & to_evaluate)} to evaluate again" if todo & to_evaluate else ""
    return f"{len(todo - to_evaluate)} to run{evaluations}"


def _declare(plans: Sequence[Plan], store: SweepStore, todo: set[str], cache: Path) -> None:
    steps = PlannedSteps(store, cache)
    for plan in plans:
        protocol.declare(plan, store)
        run_manifest.announce(plan, store, todo, lambda spec: steps.of(spec).recipe.optim.total_steps)


def _run(
    plans: Sequence[Plan],
    waves: tuple[tuple[TrialSpec, ...], ...],
    store: SweepStore,
    settings: Settings,
    console: Console,
) -> None:
    from swimlab.execution.session import run_session  # Ray, and only now

    # What Tune and the progress show of an arm: the primary metric of the first plan that it is in. Of a base nothing.
    measured = {
        spec.trial_id: plan.ablation.primary.measured(plan.recipe.name)
        for plan in reversed(plans)
        for _, spec in plan.arms
    }
    started_at, began_s = provenance.utc_now(), time.monotonic()
    with run_session(store, settings, console) as session:
        # Not before the plan is known to fit: a refused one leaves no file.
        _declare(plans, store, {spec.trial_id for wave in waves for spec in wave}, settings.cache)
        _prepare(session, waves)
        prepared_s = time.monotonic()
        wave_timings = _train(session, waves, measured)
    run_times.write(
        store,
        RunTimes(
            started_at=started_at,
            experiments=tuple(plan.ablation.name for plan in plans),
            wall_s=time.monotonic() - began_s,
            prepare_s=prepared_s - began_s,
            waves=tuple(wave_timings),
        ),
    )


def _prepare(session: RunSession, waves: tuple[tuple[TrialSpec, ...], ...]) -> None:
    specs = [spec for wave in waves for spec in wave]
    session.archive(specs)
    session.prepare({spec.clips_fingerprint: spec.recipe for spec in specs})


def _train(
    session: RunSession, waves: tuple[tuple[TrialSpec, ...], ...], measured: Mapping[str, str]
) -> list[WaveTiming]:
    wave_timings = []
    for wave in waves:
        done = session.store.records([i for s in wave for i in (s.trial_id, s.init_trial_id) if i])
        # What is only evaluated needs its own weights.
        ready = [
            s for s in wave if s.init_trial_id is None or not done.keys().isdisjoint((s.trial_id, s.init_trial_id))
        ]
        wave_timings += session.run(ready, measured)
    return wave_timings


def gather(plan: Plan, store: SweepStore, wall_s: float) -> Results:
    """What the store says about a plan: records, failures, quarantined rows."""
    by_id = {spec.trial_id: spec for wave in plan.waves for spec in wave}
    records = stored_results(store, by_id.values())
    complete = all(is_complete(spec, records) for _, spec in plan.arms)
    failed = {} if complete else failures(store, by_id.values(), records)

    def why(trial_id: str | None) -> str | None:
        """The trial's own failure or that of its evaluation, else that of what it starts from."""
        while trial_id:
            if trial_id in failed:
                return f"{by_id[trial_id].recipe.name}: {failed[trial_id]}"
            trial_id = None if trial_id in records else by_id[trial_id].init_trial_id
        return None

    trials = tuple(
        ArmResult(
            arm=planned.arm,
            seed=planned.seed,
            trial_id=spec.trial_id,
            record=records.get(spec.trial_id),
            failure=why(spec.trial_id),
        )
        for planned, spec in plan.arms
    )
    quarantined: list[dict[str, Any]] = []
    counts: Counter[str] = Counter()
    for fingerprint in sorted({spec.clips_fingerprint for wave in plan.waves for spec in wave}):
        kinds = (prepared_clips.load_prepared(store, fingerprint, stored=stored) for stored in (True, False))
        if prepared := next((clips for clips in kinds if clips), None):
            counts.update(prepared.quarantined)
            quarantined += prepared_clips.load_quarantine(store, prepared).to_pylist()
    status = protocol.standing(plan, store)
    return Results(
        plan.ablation,
        plan.recipe,
        trials,
        store,
        dict(counts),
        wall_s,
        tuple(quarantined),
        status,
        plan.tuning,
        plan.benchmarks,
    )


def _arms_table(results: Results) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                "experiment": results.ablation.name,
                "recipe": results.recipe.name,
                "arm": trial.arm,
                "seed": trial.seed,
                "trial_id": trial.trial_id,
            }
            for trial in results.trials
        ]
    )
