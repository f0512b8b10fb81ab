"""Stored trials for trackers: TensorBoard (tensorboardX) and MLflow, by their own libraries.

The store holds everything that a tracker shows: curves, hyper-parameters, final metrics. Trials are therefore copied
when they are done, and running trials need no hook (`swimlab watch` shows those). Copying again skips trials that were
copied before, because a finished trial does not change.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from swim.outputs import MetricPoint
from swimlab.base.printable import LINE, printable
from swimlab.base.times import utc_time
from swimlab.store.arrow_tables import from_parquet, metrics_from_table
from swimlab.store.newest_results import newest_results
from swimlab.store.records import TrialRecord
from swimlab.store.sweep_store import SweepStore
from swimlab.store.trial_diff import flat

NO_EXPERIMENT = "trials"
TRIAL_TAG = "swimlab.trial_id"


@dataclass(frozen=True)
class TrackedTrial:
    """One trial for a tracker; its names and tags are printable. Times of a curve's points are spread evenly over the
    training time."""

    experiment: str
    arm: str
    record: TrialRecord
    curve: tuple[MetricPoint, ...]

    @property
    def name(self) -> str:
        return f"{self.arm} seed {self.record.seed} {self.record.trial_id[:8]}"

    @property
    def parameters(self) -> dict[str, bool | int | float | str]:
        """The fields of the recipe by dotted path; values other than numbers and text as JSON."""
        recipe = {key: value for key, value in self.record.recipe.items() if key not in ("name", "init")}
        return {
            "recipe": self.record.recipe_name,
            **{path: _scalar(value) for path, value in flat(recipe).items()},
            "init_trial_id": self.record.init_trial_id or "none",
        }

    @property
    def tags(self) -> dict[str, str]:
        provenance = self.record.provenance
        tags = {
            TRIAL_TAG: self.record.trial_id,
            "swimlab.arm": self.arm,
            "swimlab.code": self.record.code_fingerprint,
            "swimlab.data": self.record.data_fingerprint,
            "swimlab.git": provenance.git_sha or "unknown",
            "swimlab.host": provenance.host,
            "swimlab.numerics": json.dumps(provenance.numerics, sort_keys=True),
        }
        return {name: printable(text, LINE) for name, text in tags.items()}

    @property
    def finished_s(self) -> float:
        """Seconds since 1970."""
        return utc_time(self.record.provenance.finished_at).timestamp()

    def time_of_step(self, step: int) -> float:
        """The approximate time of a step, in seconds since 1970."""
        last = max((point.step for point in self.curve), default=1) or 1
        began = utc_time(self.record.provenance.started_at).timestamp()
        return began + self.record.cost.train_s * step / last


def runs(store: SweepStore, rows: Iterable[Mapping[str, Any]]) -> Iterable[TrackedTrial]:
    """The trials of the rows (`swimlab.store.query.of_experiment`), each once.

    Raises:
        StoreError: for a damaged trial.
    """
    yielded: set[tuple[str, str]] = set()
    listed = list(rows)
    records = newest_results(store, (row["trial_id"] for row in listed))
    for row in listed:
        record, experiment = records[row["trial_id"]], row["experiment"] or NO_EXPERIMENT
        if (experiment, record.trial_id) in yielded:
            continue
        yielded.add((experiment, record.trial_id))
        curve = metrics_from_table(from_parquet(store.open_file(record.trial_id, "metrics.parquet")))
        name = row["arm"] or record.recipe_name
        yield TrackedTrial(printable(experiment, LINE), printable(name, LINE), record, tuple(curve))


def _scalar(value: Any) -> bool | int | float | str:
    return value if isinstance(value, bool | int | float | str) else json.dumps(value)


def _file_name(text: str) -> str:
    """A name for a file. Arms may have any characters; the trial id in a run's name keeps it unique."""
    return re.sub(r"[^A-Za-z0-9_=@+.-]+", "-", text).strip("-.") or "unnamed"
