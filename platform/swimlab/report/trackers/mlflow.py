"""Stored trials for MLflow, by its own client."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from swimlab.report.tracked_trials import TRIAL_TAG, TrackedTrial

TARGET = "tracking_uri"
_MLFLOW_PARAMS, _MLFLOW_METRICS = 100, 1000  # what one request of its API takes


def copy(trials: Iterable[TrackedTrial], tracking_uri: str) -> tuple[int, int]:
    """Copies trials to MLflow as runs, in experiments of the same names.

    Args:
        trials: see `tracked_trials.runs`.
        tracking_uri: MLflow's server or store.

    Returns:
        The number of trials written, and of those skipped because they had been copied before.

    Raises:
        ValueError: when mlflow is not installed, or its store refuses.
    """
    try:
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
    except ImportError as error:
        raise ValueError("--to mlflow needs MLflow, which is not installed here: pip install mlflow") from error
    written = skipped = 0
    try:
        client = MlflowClient(tracking_uri)
        for run in trials:
            if _copy_trial(client, run):
                written += 1
            else:
                skipped += 1
    except MlflowException as error:
        raise ValueError(f"MLflow at {tracking_uri}: {error}") from error
    return written, skipped


def _copy_trial(client: Any, run: TrackedTrial) -> bool:
    """Copies one trial; False when it had been copied before."""
    from mlflow.entities import Metric, Param

    experiment = client.get_experiment_by_name(run.experiment)
    experiment_id = experiment.experiment_id if experiment else client.create_experiment(run.experiment)
    copies = client.search_runs([experiment_id], f"tags.`{TRIAL_TAG}` = '{run.record.trial_id}'")
    if any(copy.info.status == "FINISHED" for copy in copies):
        return False
    for broken in copies:  # interrupted copies
        client.delete_run(broken.info.run_id)
    tags = {**run.tags, "mlflow.runName": run.name}
    run_id = client.create_run(experiment_id, round(run.time_of_step(0) * 1000), tags=tags).info.run_id
    parameters = [Param(_key(key), str(value)) for key, value in run.parameters.items()]
    metrics = [
        Metric(_key(f"train/{p.name}"), p.value, round(run.time_of_step(p.step) * 1000), p.step) for p in run.curve
    ]
    last, done_ms = max((p.step for p in run.curve), default=0), round(run.finished_s * 1000)
    metrics += [Metric(_key(f"final/{name}"), value, done_ms, last) for name, value in run.record.metrics.items()]
    for start in range(0, len(parameters), _MLFLOW_PARAMS):
        client.log_batch(run_id, params=parameters[start : start + _MLFLOW_PARAMS])
    for start in range(0, len(metrics), _MLFLOW_METRICS):
        client.log_batch(run_id, metrics=metrics[start : start + _MLFLOW_METRICS])
    client.set_terminated(run_id, "FINISHED", done_ms)
    return True


def _key(name: str) -> str:
    """The name as MLflow takes it for a metric or a parameter: it refuses all but words and / . - : and spaces."""
    return re.sub(r"[^/\w.\- :]", "_", name)
