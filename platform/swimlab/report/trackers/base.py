"""Stored trials for trackers: TensorBoard (tensorboardX) and MLflow, by their own libraries.

The store is the truth, and everything a tracker shows is in it: curves, hyper-parameters, final metrics. So nothing
hooks into a running trial (`swimlab watch` shows those); trials are copied once they are done, and copying again skips
what is there. A trial never changes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from swim.evaluation.types import MetricPoint
from swimlab.store.arrow_tables import from_parquet, metrics_from_table
from swimlab.store.records import TrialRecord
from swimlab.store.sweep_store import SweepStore
from swimlab.store.trial_diff import flat

NO_EXPERIMENT = "trials"
TRIAL_TAG = "swimlab.trial_id"


@dataclass(frozen=True)
class TrackedTrial:
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


def runs(store: SweepStore, rows: Iterable[Mapping[str, Any]]) -> Iterable[TrackedTrial]:
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
        yield TrackedTrial(experiment, row["arm"] or record.recipe_name, record, tuple(curve))


def _scalar(value: Any) -> bool | int | float | str:
    return value if isinstance(value, bool | int | float | str) else json.dumps(value)


def _file_name(text: str) -> str:
    """Arms are named freely; the trial id in a run's name keeps two of them apart."""
    return re.sub(r"[^A-Za-z0-9_=@+.-]+", "-", text).strip("-.") or "unnamed"
