"""One trial through Ray Train: claim, train, evaluate, store, commit.

The same loop runs inside the trial's process (`workers` 0, Ray Train's local mode) and in a worker group (gloo, NCCL).
Rank 0 evaluates and writes the attempt's files; the trial's process holds the claim and commits.
"""

from __future__ import annotations

import ctypes
import logging
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import ray.train
import torch
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer, get_device

from swim import models
from swim.data.clips import Clips
from swim.evaluate import evaluate, film
from swim.evaluation.types import FilmFrame
from swim.recipe import Frozen, HubModel, NLReferFiles, Recipe
from swim.train import Host, Moment, train
from swimlab import identity, provenance, records, steps
from swimlab.attempts import Attempt
from swimlab.clips import Split, StoredClips, load_prepared
from swimlab.cluster import Slots
from swimlab.once import run_once
from swimlab.plan import TrialSpec
from swimlab.records import Cost, FileEntry, TrialRecord
from swimlab.store import SweepStore
from swimlab.streaming import StreamedClips

REPORT_EVERY_STEPS = 10
FILM_FRAMES = 60
POLL_S = 2.0


class Outcome(Frozen):
    """What rank 0 hands back to the trial's process."""

    metrics: dict[str, float]
    files: dict[str, FileEntry]
    train_s: float
    eval_s: float
    data_wait_s: float
    resumed_step: int
    device: str
    world_size: int
    peak_rss_bytes: int


Report = Callable[[dict[str, Any]], None]


def run_trial(
    spec: TrialSpec, store_uri: str, slots: Slots, micro_batch: int | None, report: Report
) -> dict[str, float]:
    """The trial's final metrics, from the store when it has a record already (also when somebody else is running it:
    then this waits). A failure is written into the attempt and raised."""
    store = SweepStore(store_uri)

    def waiting() -> None:
        report({"stage": "waiting for another driver"})
        time.sleep(POLL_S)

    def work(attempt: Attempt) -> TrialRecord:
        return _run_attempt(spec, attempt, store, slots, micro_batch, report)

    return run_once(store, spec.trial_id, work, waiting).metrics


def _run_attempt(
    spec: TrialSpec, attempt: Attempt, store: SweepStore, slots: Slots, micro_batch: int | None, report: Report
) -> TrialRecord:
    started_at, started_s, cpu_s = provenance.utc_now(), time.monotonic(), time.process_time()
    config = {
        "spec": spec.model_dump_json(),
        "store": store.uri,
        "attempt": attempt.number,
        "nonce": attempt.nonce,
        "micro_batch": micro_batch,
        "shard": slots.shard,
        "decode_cpus": slots.decode_cpus,
    }
    with tempfile.TemporaryDirectory(prefix="swimlab-train-") as scratch:
        if slots.workers == 0:
            # In local mode `ray.train`'s context and report raise inside a Tune trial: the trial's reporter stands in.
            config["local"] = {"report": report, "gpu": "GPU" in slots.worker}
        result = TorchTrainer(
            train_loop,
            train_loop_config=config,
            scaling_config=ScalingConfig(
                num_workers=slots.workers, use_gpu="GPU" in slots.worker, resources_per_worker=slots.worker
            ),
            run_config=RunConfig(name=spec.trial_id, storage_path=scratch),
        ).fit()
    outcome: Outcome = Outcome.model_validate(result.return_value)
    attempt.files.update(outcome.files)
    return TrialRecord(
        trial_id=spec.trial_id,
        attempt=attempt.number,
        nonce=attempt.nonce,
        recipe=spec.recipe.model_dump(mode="json"),
        recipe_name=spec.recipe.name,
        seed=spec.recipe.seed,
        init_trial_id=spec.init_trial_id,
        code_fingerprint=spec.code_fingerprint,
        data_fingerprint=spec.data_fingerprint,
        metrics=outcome.metrics,
        files=outcome.files,
        cost=Cost(
            wall_s=time.monotonic() - started_s,
            cpu_s=time.process_time() - cpu_s,
            train_s=outcome.train_s,
            eval_s=outcome.eval_s,
            data_wait_s=outcome.data_wait_s,
            resumed_step=outcome.resumed_step,
            peak_rss_bytes=outcome.peak_rss_bytes,
        ),
        provenance=provenance.gather(
            device=outcome.device,
            dtype=_dtype(spec.recipe),
            world_size=outcome.world_size,
            started_at=started_at,
            finished_at=provenance.utc_now(),
        ),
    )


def _trim_heap() -> None:
    """Give freed memory back: glibc keeps a heap per thread, and each trial of a reused process runs in a new one.
    Without this six trials grew a process from 0.98 to 1.85 GB, with it to 0.99."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):  # glibc only
        libc.malloc_trim(0)


def _check_code(spec: TrialSpec) -> None:
    """Raises RuntimeError when this worker's sources are not those that named the trial."""
    here = identity.code_fingerprint(spec.recipe)
    if here != spec.code_fingerprint:
        raise RuntimeError(
            f"this process has code {here}, the trial was planned with {spec.code_fingerprint}: a source file changed "
            f"since the sweep began, or differs on this node, so the result would bear the wrong name; bring the "
            f"nodes to one state and run the same command again"
        )


def _dtype(recipe: Recipe) -> str:
    return recipe.model.dtype if isinstance(recipe.model, HubModel) else "float32"


def _reader(spec: TrialSpec, store: SweepStore, decode_cpus: float) -> Callable[[Split], Clips]:
    """Where a trial finds the clips of a split: in the store, or decoded on CPUs of its own as it goes."""
    data = spec.recipe.data
    streams = decode_cpus > 0 and isinstance(data, NLReferFiles)
    prepared = load_prepared(store, spec.clips_fingerprint, stored=not streams)
    if prepared is None:
        raise FileNotFoundError(f"clips/{spec.clips_fingerprint} is not in the store {store.uri}: prepare it first")
    if isinstance(data, NLReferFiles) and streams:
        return partial(StreamedClips, store, prepared, data=data, cpus=decode_cpus)
    return partial(StoredClips, store, prepared)


def train_loop(config: dict[str, Any]) -> dict[str, Any] | None:
    """What every worker runs. Rank 0 returns an `Outcome`."""
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
    device_name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    numerics = provenance.numerics(device=device_name, dtype=_dtype(spec.recipe), world_size=world)
    attempt = Attempt(store.backend, spec.trial_id, config["attempt"], config["nonce"])
    clips = _reader(spec, store, config["decode_cpus"] / world)
    held_out = clips("held_out")
    last_step = spec.recipe.optim.steps
    standing = steps.latest(store.backend, attempt, numerics) if world == 1 else None
    saved = steps.StepCheckpoints(attempt, numerics) if world == 1 else None
    frames: list[FilmFrame] = list(standing.film) if standing else []
    # A share of a model sees nothing, and streamed clips would be decoded for a film alone.
    films = rank == 0 and not config["shard"] and not config["decode_cpus"]
    filmed = list(held_out.read(range(min(spec.recipe.evaluation.overlays, len(held_out.keys))))) if films else []
    film_every = REPORT_EVERY_STEPS * max(1, round(last_step / FILM_FRAMES / REPORT_EVERY_STEPS))

    process, peak_rss_bytes = psutil.Process(), 0

    def look(now: Moment) -> None:
        if filmed and now.step % film_every == 0:
            with now.trained() as trained:
                frames.extend(film(spec.recipe, trained, filmed, now.step))

    def on_step(step: int, values: dict[str, float], now: Moment) -> None:
        nonlocal peak_rss_bytes
        look(now)
        if step % REPORT_EVERY_STEPS == 0 and step < last_step:
            # Sampled here: the system's own peak is of a process that other trials have used before.
            peak_rss_bytes = max(peak_rss_bytes, process.memory_info().rss)
            if saved:
                saved.save(now, frames)
            report({"stage": "train", "step": step, "steps": last_step, "loss": values["loss"]})

    with tempfile.TemporaryDirectory(prefix="swimlab-trial-") as scratch:
        init_dir = None
        if spec.init_trial_id:
            init_dir = store.download(spec.init_trial_id, "checkpoint/", Path(scratch) / "init")
        started_s = time.monotonic()
        host = Host(
            device=device,
            micro_batch=config["micro_batch"],
            shard=config["shard"],
            on_start=look,
            on_step=on_step,
            resume=standing.run if standing else None,
        )
        trained = train(spec.recipe, clips("train"), init_dir=init_dir, host=host)
        trained_s = time.monotonic()
        last = {point.name: point.value for point in trained.curve if point.step == last_step}
        report({"stage": "evaluate", "step": last_step, "steps": last_step, **last})
        if rank != 0:
            return None
        result = evaluate(spec.recipe, trained, held_out, config["micro_batch"])
        evaluated_s = time.monotonic()
        models.save(trained.model, trained.tokenizer, Path(scratch) / "checkpoint")
        if spec.keep_checkpoint:
            attempt.put_dir(Path(scratch) / "checkpoint", "checkpoint")
        else:
            attempt.leave_out(Path(scratch) / "checkpoint", "checkpoint", "run with --keep-checkpoints bases")
    for name, table in (
        ("metrics.parquet", records.metrics_table(trained.curve)),
        ("samples.parquet", records.samples_table(result.scores)),
        ("overlays.parquet", records.overlays_table(result.overlays)),
        ("film.parquet", records.film_table(frames)),
    ):
        attempt.put(name, records.to_parquet(table))
    final = result.metrics | {f"train.{name}": last[name] for name in ("loss", "text_loss", "mask_loss") if last}
    final["train.clips"] = float(trained.clips)
    return Outcome(
        metrics=final,
        files=attempt.files,
        train_s=trained_s - started_s,
        eval_s=evaluated_s - trained_s,
        data_wait_s=trained.data_wait_s,
        resumed_step=standing.run.step if standing else 0,
        device=device_name,
        world_size=world,
        peak_rss_bytes=max(peak_rss_bytes, process.memory_info().rss),
    ).model_dump()
