"""A group of workers of Ray Train, for a trial or for a later evaluation of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from swimlab.execution.cluster import Slots
from swimlab.store.scratch import scratch_folder


def run_workers(
    loop: Callable[[dict[str, Any]], Any],
    config: dict[str, Any],
    slots: Slots,
    workers: int,
    *,
    name: str,
    purpose: str,
) -> Any:
    """Runs `loop` with `config` in each of the workers, inside this process where there are 0 (Ray Train's local mode).
    Returns what rank 0 returned. `purpose` names the scratch folder."""
    with scratch_folder(purpose) as scratch:
        trainer = TorchTrainer(
            loop,
            train_loop_config=config,
            scaling_config=ScalingConfig(
                num_workers=workers, use_gpu="GPU" in slots.worker, resources_per_worker=slots.worker
            ),
            # Ray would begin the loop anew, inside the attempt that had saved its steps. The session tries again.
            run_config=RunConfig(
                name=name, storage_path=str(scratch), failure_config=FailureConfig(max_preemption_failures=0)
            ),
        )
        return trainer.fit().return_value
