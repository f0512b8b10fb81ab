"""The Ray cluster a plan runs on: join or start it, check that the plan fits, see that nothing is left behind."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import ray

# Ray returns a trial's CPUs a little after `fit()` does (seconds were measured on a loaded machine).
RELEASE_S = 10.0


class PlanError(ValueError):
    """The plan cannot run here. Says what it needs, what there is, and what to change."""


@dataclass(frozen=True)
class Slots:
    """What one trial asks for, and how many run at a time. `trial` is the Tune trial itself, `worker` one of its Train
    workers (none in local mode, where the trial trains in its own process)."""

    trial: dict[str, float]
    worker: dict[str, float]
    workers: int
    at_a_time: int


@contextmanager
def session() -> Iterator[None]:
    """A Ray to work with: the surrounding job's, the running cluster's, or one of our own that ends with us."""
    for noisy in ("ray.data", "ray.tune", "ray.train", "ray._private"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    if ray.is_initialized():
        yield
        return
    # The dashboard belongs to `ray start --head`; a Ray of our own is gone before anybody could look.
    ray.init(include_dashboard=False, log_to_driver=False, logging_level="warning")
    try:
        yield
    finally:
        ray.shutdown()


def slots(*, workers: int, gpu: bool | None, concurrency: int | None) -> Slots:
    """How trials fit the cluster. Raises PlanError for a plan that could never start (Ray would wait for ever)."""
    total = ray.cluster_resources()
    use_gpu = total.get("GPU", 0) > 0 if gpu is None else gpu
    unit = {"GPU": 1.0, "CPU": 1.0} if use_gpu else {"CPU": 1.0}
    need = {name: amount * max(1, workers) for name, amount in unit.items()}
    fit = min(int(total.get(name, 0) // amount) for name, amount in need.items())
    if fit < 1:
        have = ", ".join(f"{total.get(name, 0):g} {name}" for name in need)
        wanted = ", ".join(f"{amount:g} {name}" for name, amount in need.items())
        raise PlanError(f"a trial needs {wanted} at once and the cluster has {have}: lower --workers or add nodes")
    at_a_time = fit if concurrency is None else min(fit, concurrency)
    # With a worker group the trial only waits for its workers: it must not hold a CPU that they need.
    return Slots(trial={"CPU": 0.0} if workers else unit, worker=unit, workers=workers, at_a_time=at_a_time)


def whole(timeout_s: float = RELEASE_S) -> bool:
    """Wait until every resource of the cluster is free again. False when some are still held at the timeout."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        total, free = ray.cluster_resources(), ray.available_resources()
        if all(free.get(name, 0) >= total[name] for name in ("CPU", "GPU") if name in total):
            return True
        time.sleep(0.2)
    return False
