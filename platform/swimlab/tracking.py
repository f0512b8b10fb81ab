"""Stored trials for trackers: TensorBoard (tensorboardX) and MLflow, by their own libraries.

The store is the truth, and everything a tracker shows is in it: curves, hyper-parameters, final metrics. So nothing
hooks into a running trial (`swimlab watch` shows those); trials are copied once they are done, and copying again skips
what is there. A trial never changes.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from swim.evaluation.types import MetricPoint
from swimlab.store.arrow_tables import from_parquet, metrics_from_table
from swimlab.store.records import TrialRecord
from swimlab.store.sweep_store import SweepStore
from swimlab.store.trial_diff import flat

NO_EXPERIMENT = "trials"
TRIAL_TAG = "swimlab.trial_id"
_MLFLOW_PARAMS, _MLFLOW_METRICS = 100, 1000  # what one request of its API takes


@dataclass(frozen=True)
class Run:
    """One trial as a tracker sees it. Times of a curve's points are spread evenly over the training time."""

    experiment: str
    arm: str
    record: TrialRecord
    curve: tuple[MetricPoint, ...]

    @property
    def name(self) -> str:
        return f"{self.arm} seed {self.record.seed} {self.record.trial_id[:8]}"

    @property
    def parameters(self) -> dict[str, bool | int | float | str]:
        """The recipe under its dotted paths; lists as JSON, nothing as text."""
        recipe = {key: value for key, value in self.record.recipe.items() if key not in ("name", "init")}
        return {
            "recipe": self.record.recipe_name,
            **{path: _scalar(value) for path, value in flat(recipe).items()},
            "init_trial_id": self.record.init_trial_id or "none",
        }

    @property
    def tags(self) -> dict[str, str]:
        made = self.record.provenance
        return {
            TRIAL_TAG: self.record.trial_id,
            "swimlab.arm": self.arm,
            "swimlab.code": self.record.code_fingerprint,
            "swimlab.data": self.record.data_fingerprint,
            "swimlab.git": made.git_sha or "unknown",
            "swimlab.host": made.host,
            "swimlab.execution.numerics": json.dumps(made.numerics, sort_keys=True),
        }

    @property
    def finished_s(self) -> float:
        """Seconds since 1970."""
        return datetime.fromisoformat(self.record.provenance.finished_at).timestamp()

    def at_s(self, step: int) -> float:
        """When a step was about, in seconds since 1970."""
        last = max((point.step for point in self.curve), default=1) or 1
        began = datetime.fromisoformat(self.record.provenance.started_at).timestamp()
        return began + self.record.cost.train_s * step / last


def runs(store: SweepStore, rows: Iterable[Mapping[str, Any]]) -> Iterable[Run]:
    """Each trial of the rows (`swimlab.store.query.of_experiment`) once. Raises StoreError for a damaged one."""
    seen: set[tuple[str, str]] = set()
    chosen = list(rows)
    records = store.records(row["trial_id"] for row in chosen)
    for row in chosen:
        record, experiment = records[row["trial_id"]], row["experiment"] or NO_EXPERIMENT
        if (experiment, record.trial_id) in seen:
            continue
        seen.add((experiment, record.trial_id))
        curve = metrics_from_table(from_parquet(store.open_file(record.trial_id, "metrics.parquet")))
        yield Run(experiment, row["arm"] or record.recipe_name, record, tuple(curve))


def to_tensorboard(chosen: Iterable[Run], folder: Path) -> tuple[int, int]:
    """Event files under folder/<experiment>/<arm and seed>/: scalars train/…, final/… and the hyper-parameters.
    (written, skipped because they are there)."""
    from tensorboardX import SummaryWriter
    from tensorboardX.summary import hparams

    written = skipped = 0
    for run in chosen:
        target = folder / _file_name(run.experiment) / _file_name(run.name)
        if target.exists():
            skipped += 1
            continue
        partial = target.with_name(f".{target.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        final = {f"final/{name}": value for name, value in run.record.metrics.items()}
        with SummaryWriter(str(partial)) as writer:
            for point in run.curve:
                writer.add_scalar(f"train/{point.name}", point.value, point.step, walltime=run.at_s(point.step))
            last = max((point.step for point in run.curve), default=0)
            for name, value in final.items():
                writer.add_scalar(name, value, last, walltime=run.finished_s)
            # The writer's own `add_hparams` would open a second run for them.
            for summary in hparams(run.parameters, final):
                writer.file_writer.add_summary(summary, last, walltime=run.finished_s)
            writer.add_text("trial", "  \n".join(f"{key}: {text}" for key, text in run.tags.items()), last)
        partial.rename(target)
        written += 1
    return written, skipped


def to_mlflow(chosen: Iterable[Run], tracking_uri: str) -> tuple[int, int]:
    """Runs of MLflow, in experiments named as ours. (written, skipped because they are there.)

    Raises ValueError when mlflow is not installed, or its store refuses.
    """
    try:
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
    except ImportError as error:
        raise ValueError("--to mlflow needs MLflow, which is not installed here: pip install mlflow") from error
    written = skipped = 0
    try:
        client = MlflowClient(tracking_uri)
        for run in chosen:
            if _to_mlflow(client, run):
                written += 1
            else:
                skipped += 1
    except MlflowException as error:
        raise ValueError(f"MLflow at {tracking_uri}: {error}") from error
    return written, skipped


def _to_mlflow(client: Any, run: Run) -> bool:
    """False when it is there."""
    from mlflow.entities import Metric, Param

    known = client.get_experiment_by_name(run.experiment)
    experiment_id = known.experiment_id if known else client.create_experiment(run.experiment)
    there = client.search_runs([experiment_id], f"tags.`{TRIAL_TAG}` = '{run.record.trial_id}'")
    if any(found.info.status == "FINISHED" for found in there):
        return False
    for broken in there:  # a copy that was cut off
        client.delete_run(broken.info.run_id)
    tags = {**run.tags, "mlflow.runName": run.name}
    made = client.create_run(experiment_id, round(run.at_s(0) * 1000), tags=tags).info.run_id
    parameters = [Param(key, str(value)) for key, value in run.parameters.items()]
    metrics = [Metric(f"train/{p.name}", p.value, round(run.at_s(p.step) * 1000), p.step) for p in run.curve]
    last, done_ms = max((p.step for p in run.curve), default=0), round(run.finished_s * 1000)
    metrics += [Metric(f"final/{name}", value, done_ms, last) for name, value in run.record.metrics.items()]
    for start in range(0, len(parameters), _MLFLOW_PARAMS):
        client.log_batch(made, params=parameters[start : start + _MLFLOW_PARAMS])
    for start in range(0, len(metrics), _MLFLOW_METRICS):
        client.log_batch(made, metrics=metrics[start : start + _MLFLOW_METRICS])
    client.set_terminated(made, "FINISHED", done_ms)
    return True


def _scalar(value: Any) -> bool | int | float | str:
    return value if isinstance(value, bool | int | float | str) else json.dumps(value)


def _file_name(text: str) -> str:
    """Arms are named freely; the trial id in a run's name keeps two of them apart."""
    return re.sub(r"[^A-Za-z0-9_=@+.-]+", "-", text).strip("-.") or "unnamed"
