"""From a plan to results: prepare data once, run what the store lacks, gather what it has.

`run` is plan minus records, so running again resumes; when nothing is missing Ray is never started.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from rich.console import Console

from swim.recipe import DataConfig, ShapesWorld
from swimlab import announce, clips, identity, protocol, provenance, run_times
from swimlab.ablation import ArmResult, Results
from swimlab.plan import Plan, TrialSpec, missing
from swimlab.run_times import RunTimes, Wave
from swimlab.settings import Settings
from swimlab.store import SweepStore

NAMED_ARMS = 8
HELD_POLL_S = 2.0


def execute(plans: Sequence[Plan], settings: Settings, console: Console) -> list[Results]:
    """Run what is missing and return everything, a trial that several plans share once. Raises StoreError before any
    work when the store cannot be written, PlanError when a plan cannot fit, PipelineError when data cannot be used."""
    started_s = time.monotonic()
    store = SweepStore(settings.store)
    waves = missing(plans, store)
    todo = {spec.trial_id for wave in waves for spec in wave}
    for plan in plans:
        arm_ids = {spec.trial_id for _, spec in plan.arms}
        console.print(
            f"{plan.ablation.name} on {plan.recipe.name}: {len(arm_ids - todo)} of {len(arm_ids)} trials cached, "
            f"{len(todo & set(plan.trial_ids))} to run"
        )
    if len(plans) > 1:
        console.print(f"together {len(todo)} to run")
    if waves:
        store.check_writable()
    for plan in plans:
        protocol.declare(plan, store)
        announce.announce(plan, store, todo)
    if waves:
        _run(plans, waves, store, settings, console)
    results = [gather(plan, store, time.monotonic() - started_s) for plan in plans]
    store.write_tables(pa.concat_tables([_arms_table(found) for found in results]))
    return results


def _run(
    plans: Sequence[Plan],
    waves: tuple[tuple[TrialSpec, ...], ...],
    store: SweepStore,
    settings: Settings,
    console: Console,
) -> None:
    from swimlab import cluster, pipeline, sweep  # Ray, and only now
    from swimlab.progress import SweepProgress

    # What Tune and the progress show of a trial: the primary metric of the first plan that it is in.
    measured = {
        spec.trial_id: plan.ablation.primary.measured(plan.recipe.name)
        for plan in reversed(plans)
        for wave in plan.waves
        for spec in wave
    }
    cluster.check_durable(store.uri)
    started_at, began_s, took = provenance.utc_now(), time.monotonic(), list[Wave]()
    with cluster.session(), SweepProgress(console) as progress:
        slots = cluster.slots(
            workers=settings.workers,
            gpu=settings.gpu,
            concurrency=settings.concurrency,
            shard=settings.shard,
            decode_cpus=settings.decode_cpus,
        )
        # Before the data, which may take long: the files must still be those that named the trials.
        for spec in {s.code_fingerprint: s for wave in waves for s in wave}.values():
            store.put_create_only(f"code/{spec.code_fingerprint}.tar.gz", identity.source_archive(spec.recipe))
        needed: dict[str, DataConfig] = {s.clips_fingerprint: s.recipe.data for wave in waves for s in wave}
        for fingerprint, data in needed.items():
            pipeline.prepare(
                data,
                fingerprint,
                store,
                settings.cache,
                progress.stage,
                max_quarantined_share=settings.max_quarantined_share,
                store_clips=settings.clips == "store" or isinstance(data, ShapesWorld),
                max_clips_bytes=settings.max_clips_gb * 1e9,
            )
        prepared_s = time.monotonic()
        for wave in waves:
            done = store.records(s.init_trial_id for s in wave if s.init_trial_id)
            ready = [s for s in wave if s.init_trial_id is None or s.init_trial_id in done]
            if not ready:
                continue
            while ready:
                progress.wave(_summary(ready), len(ready))
                took.append(
                    sweep.run_wave(
                        ready,
                        primary=measured,
                        store=store.uri,
                        slots=slots,
                        micro_batch=settings.micro_batch,
                        progress=progress,
                    )
                )
                # What other drivers were running by then comes last: by now it has a record, or they died.
                ready = [spec for spec in ready if spec.trial_id in progress.held()]
                while ready and all(store.held(spec.trial_id) for spec in ready):
                    progress.stage("waiting for other drivers", 0, 0)
                    time.sleep(HELD_POLL_S)
        if not cluster.whole():
            held = "some of the cluster's resources are still held, by this run or by other jobs"
            console.print(f"[yellow]after {cluster.RELEASE_S:.0f} s {held}")
    run_times.write(
        store,
        RunTimes(
            started_at=started_at,
            experiments=tuple(plan.ablation.name for plan in plans),
            wall_s=time.monotonic() - began_s,
            prepare_s=prepared_s - began_s,
            waves=tuple(took),
        ),
    )


def _summary(wave: Sequence[TrialSpec]) -> str:
    arms = list(dict.fromkeys(spec.arm for spec in wave))
    return ", ".join(arms[:NAMED_ARMS]) + (f" and {more} more" if (more := len(arms) - NAMED_ARMS) > 0 else "")


def gather(plan: Plan, store: SweepStore, wall_s: float) -> Results:
    """What the store says about a plan: records, failures, quarantined rows."""
    found = store.records(plan.trial_ids)
    failed = store.failures(plan.trial_ids)
    by_id = {spec.trial_id: spec for wave in plan.waves for spec in wave}

    def why(trial_id: str | None) -> str | None:
        """The trial's own failure, or that of what it starts from."""
        while trial_id and trial_id not in found:
            if trial_id in failed:
                return f"{by_id[trial_id].recipe.name}: {failed[trial_id]['error']}"
            trial_id = by_id[trial_id].init_trial_id
        return None

    trials = tuple(
        ArmResult(
            arm=planned.arm,
            seed=planned.seed,
            trial_id=spec.trial_id,
            record=found.get(spec.trial_id),
            failure=why(spec.trial_id),
        )
        for planned, spec in plan.arms
    )
    quarantined: list[dict[str, Any]] = []
    counts: Counter[str] = Counter()
    for fingerprint in sorted({spec.clips_fingerprint for wave in plan.waves for spec in wave}):
        kinds = (clips.load_prepared(store, fingerprint, stored=stored) for stored in (True, False))
        if prepared := next((found for found in kinds if found), None):
            counts.update(prepared.quarantined)
            quarantined += clips.load_quarantine(store, prepared).to_pylist()
    standing = protocol.standing(plan, store)
    return Results(plan.ablation, plan.recipe, trials, store, dict(counts), wall_s, tuple(quarantined), standing)


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
