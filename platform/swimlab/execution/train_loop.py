"""What every worker of a trial runs: read the clips, train, evaluate, write the attempt's files."""

from __future__ import annotations

import ctypes
import logging
import time
from dataclasses import asdict
from typing import Any

import psutil
import ray.train
import torch
from pydantic import Field
from ray.train.torch import get_device

from swim import models
from swim.data.sources import with_steps
from swim.evaluation.film import film, filmed_clips
from swim.models.vision_features import Features, FrozenTower
from swim.outputs import FilmFrame
from swim.recipe import Frozen
from swim.train import Host, Moment, train
from swimlab.execution import evaluations, resume_points, step_checkpoints, trial_features
from swimlab.execution.faults import Failure
from swimlab.execution.numerics import numerics_of, of_all_ranks
from swimlab.execution.search.pruning_rungs import PruningContext
from swimlab.execution.search.rung_evaluation import PrunedAt, RungWatch
from swimlab.execution.speed import Speed, SpeedMeter
from swimlab.execution.start_weights import start_weights
from swimlab.execution.step_checkpoints import Saving
from swimlab.execution.stop_notice import StopNotice
from swimlab.execution.trial_clips import reader
from swimlab.experiment.trial_spec import TrialSpec
from swimlab.identity import naming
from swimlab.store import arrow_tables
from swimlab.store.attempts import Attempt
from swimlab.store.live_progress import Report, both
from swimlab.store.records import FileEntry
from swimlab.store.scratch import scratch_folder
from swimlab.store.sweep_store import SweepStore

REPORT_EVERY_STEPS = 10
FILM_FRAMES = 60


class TrialOutcome(Frozen):
    """What rank 0 returns to the trial's process. `pruned_at`: the rung at which a search ended the trial (None: it
    was trained to its end); `rungs`: the values up to there; `metrics` are then those of that rung, else those of
    training. `speed`: None of a single step; `peak_device_bytes`: None on a CPU.

    `numerics` is the class of the worker group, whose machines may differ from the trial's own.
    `failed_evaluations`: evaluation id → why."""

    metrics: dict[str, float]
    files: dict[str, FileEntry]
    train_s: float
    eval_s: float
    data_wait_s: float
    resumed_step: int
    hosted_s: float
    numerics: dict[str, str | int]
    start_weights: str
    peak_rss_bytes: int
    speed: Speed | None = None
    peak_device_bytes: int | None = None
    pruned_at: int | None = None
    rungs: dict[int, float] | None = None
    failed_evaluations: dict[str, Failure] = Field(default_factory=dict)


def _trim_heap() -> None:
    """Returns freed memory to the system: glibc keeps a heap for each thread, and each trial of a reused process
    runs in a new one. Without this six trials grew a process from 0.98 to 1.85 GB, with it to 0.99."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):  # glibc only
        libc.malloc_trim(0)


def _check_code(spec: TrialSpec) -> None:
    """Raises RuntimeError when this worker's sources are not those that named the trial."""
    fingerprint = naming.code_fingerprint(spec.recipe)
    if fingerprint != spec.code_fingerprint:
        raise RuntimeError(
            f"this process has code {fingerprint}, the trial was planned with {spec.code_fingerprint}: a source file "
            "changed since the sweep began, or differs on this node, so the result would bear the wrong name; bring "
            "the nodes to one state and run the same command again"
        )


def train_loop(config: dict[str, Any]) -> dict[str, Any] | None:
    """What every worker runs. Rank 0 returns an `TrialOutcome`."""
    logging.getLogger("ray.train").setLevel(logging.WARNING)
    _trim_heap()
    spec = TrialSpec.model_validate_json(config["spec"])
    _check_code(spec)
    store = SweepStore(config["store"])
    report: Report
    if local := config.get("local"):
        rank, world, report = 0, 1, local["report"]
        device = torch.device("cuda" if local["gpu"] else "cpu")
    else:
        context = ray.train.get_context()
        # `ray.train.report` is a barrier: every rank calls it, at the same steps.
        rank, world, report = context.get_world_rank(), context.get_world_size(), ray.train.report
        device = get_device()
    numerics = of_all_ranks(numerics_of(spec.recipe, device, world_size=world), device)
    attempt = Attempt(store.backend, spec.trial_id, config["attempt"], config["nonce"])
    if not local and rank == 0:
        report = both(attempt.progress_file().tell, report)
    clips = reader(spec, store, config["decode_cpus"] / world)
    held_out, to_train_on = clips("held_out"), clips("train")
    last_step = with_steps(spec.recipe, to_train_on.keys).optim.total_steps
    saving: Saving = config["saving"]
    resume_point = resume_points.latest(store.backend, attempt, numerics, device, other_workers=saving.other_workers)
    if resume_point:
        numerics = resume_point.numerics
    frames: list[FilmFrame] = list(resume_point.film) if resume_point else []
    # A share of a model sees nothing, and streamed clips would be decoded for a film alone.
    films = rank == 0 and not config["shard"] and not config["decode_cpus"]
    filmed = list(held_out.read(range(min(filmed_clips(spec.recipe), len(held_out.keys))))) if films else []
    film_every = REPORT_EVERY_STEPS * max(1, round(last_step / FILM_FRAMES / REPORT_EVERY_STEPS))

    watch = None
    if config["gate"]:
        gate = PruningContext.model_validate_json(config["gate"])
        scored = clips(spec.evaluation(gate.suite).split)
        watch = RungWatch(gate, config["pruner"], spec, store, scored, device, config["micro_batch"])

    process, peak_rss_bytes, hosted_s = psutil.Process(), 0, 0.0
    meter = SpeedMeter(device, world)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)  # a reused process has the peak of earlier trials
    started_from = resume_point.start_weights if resume_point else ""

    def on_start(now: Moment) -> None:
        nonlocal started_from
        started_from = start_weights(now.module) or ""
        film_step(now)

    def film_step(now: Moment) -> None:
        if filmed and now.step % film_every == 0:
            with now.trained() as trained:
                frames.extend(film(spec.recipe, trained, filmed, now.step))

    def on_step(step: int, values: dict[str, float], now: Moment) -> None:
        nonlocal peak_rss_bytes, hosted_s
        began_s = time.monotonic()
        meter.step(now, hosted_s)
        film_step(now)
        # Measured before the step is saved and judged after: whoever goes on from here finds the rung in the store.
        at_rung = watch is not None and watch.measure(now)
        told, due = notice.given(saved.due())
        if (at_rung or told or due) and step < last_step:
            saved.save(now, frames, started_from)
            if at_rung or told:
                saved.wait()
        if told:
            notice.saved()
        if (at_rung or step % REPORT_EVERY_STEPS == 0) and step < last_step:
            # Sampled here: the system's own peak is of a process that other trials have used before.
            peak_rss_bytes = max(peak_rss_bytes, process.memory_info().rss)
            speed = asdict(meter.speed) if meter.speed else {}
            report({"stage": "train", "step": step, "steps": last_step, "loss": values["loss"], **speed})
        hosted_s += time.monotonic() - began_s
        if watch:
            watch.judge(now)

    def take_features(tower: FrozenTower) -> Features:
        nonlocal hosted_s
        began_s = time.monotonic()
        reads = {spec.clips_fingerprint: last_step * spec.recipe.optim.batch}
        for split in spec.scored:
            fingerprint = spec.clips(split).clips_fingerprint
            reads[fingerprint] = reads.get(fingerprint, 0) + len(clips(split).keys)
        known = trial_features.features(spec, store, device, tower, reads=reads)
        hosted_s += time.monotonic() - began_s
        return known

    def outcome(**measured: Any) -> dict[str, Any]:
        return TrialOutcome(
            **{"files": {}, "eval_s": 0.0, "data_wait_s": 0.0} | measured,
            resumed_step=resume_point.run.step if resume_point else 0,
            hosted_s=hosted_s,
            numerics=numerics,
            start_weights=started_from,
            peak_rss_bytes=max(peak_rss_bytes, process.memory_info().rss),
            speed=meter.speed,
            peak_device_bytes=torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None,
        ).model_dump()

    with scratch_folder("trial") as scratch:
        init_dir = None
        if spec.init_trial_id:
            init_dir = store.download(spec.init_trial_id, "checkpoint/", scratch / "init")
        started_s = time.monotonic()
        host = Host(
            device=device,
            micro_batch=config["micro_batch"],
            shard=config["shard"],
            features=take_features if trial_features.wanted(spec.recipe, config["features"]) else None,
            on_start=on_start,
            on_step=on_step,
            resume=resume_point.run if resume_point else None,
        )
        try:
            with (
                step_checkpoints.StepCheckpoints(attempt, numerics, saving.every_s) as saved,
                StopNotice(saving.session, spec.trial_id, device, grouped=not local) as notice,
            ):
                trained = train(spec.recipe, to_train_on, init_dir=init_dir, host=host)
        except PrunedAt as pruned:
            return (
                outcome(
                    metrics=pruned.rung.named_metrics,
                    train_s=time.monotonic() - started_s,
                    pruned_at=pruned.rung.step,
                    rungs=pruned.values,
                )
                if pruned.rung
                else None
            )
        trained_s = time.monotonic()
        last = {point.name: point.value for point in trained.curve if point.step == last_step}
        report({"stage": "evaluate", "step": last_step, "steps": last_step, **last})
        if rank != 0:
            return None
        failed = evaluations.after_training(spec, trained, clips, attempt, numerics, config["micro_batch"])
        evaluated_s = time.monotonic()
        models.save(trained.model, trained.tokenizer, scratch / "checkpoint")
        if spec.keep_checkpoint or failed:  # what could not be evaluated is evaluated from there
            attempt.put_dir(scratch / "checkpoint", "checkpoint")
        else:
            attempt.record_without_storing(scratch / "checkpoint", "checkpoint", "run with --keep-checkpoints bases")
    for name, table in (
        ("metrics.parquet", arrow_tables.metrics_table(trained.curve)),
        ("film.parquet", arrow_tables.film_table(frames)),
    ):
        attempt.put(name, arrow_tables.to_parquet(table))
    final = {f"train.{name}": last[name] for name in ("loss", "text_loss", "mask_loss") if last}
    return outcome(
        metrics=final | {"train.clips": float(trained.clips)},
        failed_evaluations=failed,
        files=attempt.files,
        train_s=trained_s - started_s,
        eval_s=evaluated_s - trained_s,
        data_wait_s=trained.data_wait_s,
    )
