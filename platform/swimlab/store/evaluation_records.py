"""The result of evaluating trained weights with one suite: a JSON record and its Parquet files.

An evaluation is made right after the training, or later from the stored checkpoint. A trial's result is its record
together with its evaluations (`TrialResult`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, Self

from pydantic import FiniteFloat

from swim import registry
from swim.recipe import SUITES, Frozen
from swimlab.identity.splits import Scored, measured_on
from swimlab.store.records import FileEntry, Provenance, TrialRecord, Upgrade, read_versioned
from swimlab.store.sealed_json import SealedModel

# See SCHEMA_VERSION in `swimlab.store.records`.
EVALUATION_VERSION = 1
EVALUATION_UPGRADES: dict[int, Upgrade] = {}


class TrialTarget(Frozen):
    """The weights that were evaluated: those of one committed attempt of a trial. A trial that was deleted and trained
    again has another nonce, and evaluations of the old weights no longer count."""

    kind: Literal["trial"] = "trial"
    trial_id: str
    attempt: int
    nonce: str

    @classmethod
    def of(cls, record: TrialRecord) -> Self:
        """The weights behind a trial's record."""
        return cls(trial_id=record.trial_id, attempt=record.attempt, nonce=record.nonce)


class EvaluationRecord(SealedModel):
    """The commit of an evaluation. `config` is the suite's configuration. `files` are named relative to `folder`, which
    is relative to the store: below the trial's attempt, or an attempt of the evaluation's own; `attempt` and `nonce`
    are of that attempt. `split` says of which clips the metrics are. A metric that is not finite is refused."""

    schema_version: int = EVALUATION_VERSION
    evaluation_id: str
    suite: str
    config: dict[str, Any]
    target: TrialTarget
    suite_fingerprint: str
    code_fingerprint: str
    data_fingerprint: str
    split: Scored = "held_out"
    metrics: dict[str, FiniteFloat]
    folder: str
    files: dict[str, FileEntry]
    attempt: int
    nonce: str
    eval_s: FiniteFloat
    provenance: Provenance

    @property
    def path(self) -> str:
        """Where the record is, relative to the store."""
        return f"evaluations/{self.evaluation_id}.json"

    @property
    def named_metrics(self) -> dict[str, float]:
        """The metrics as results name them (`splits.measured_on`)."""
        return {measured_on(name, self.split): value for name, value in self.metrics.items()}

    def fits(self, record: TrialRecord) -> bool:
        """Whether the weights of this trial's record were evaluated."""
        target = self.target
        return (target.trial_id, target.attempt, target.nonce) == (record.trial_id, record.attempt, record.nonce)


class TrialResult(TrialRecord):
    """A trial's record with evaluations of its weights, in memory only; `metrics` are those of all, in which a number
    of the clips that choose has another name than one of the reported clips."""

    evaluations: tuple[EvaluationRecord, ...] = ()

    @classmethod
    def of(cls, record: TrialRecord, evaluations: Iterable[EvaluationRecord]) -> Self:
        """Merge the metrics; of two that measured the same metric the later one in `evaluations` counts."""
        evaluations = tuple(evaluations)
        fields = {name: getattr(record, name) for name in TrialRecord.model_fields}
        for evaluation in evaluations:
            fields["metrics"] = fields["metrics"] | evaluation.named_metrics
        return cls(**fields, evaluations=evaluations)

    def whole_recipe(self) -> dict[str, Any]:
        """The stored recipe, which is of the training alone, with the suites that measured it. Benchmarks that the
        model was asked later are no suites of a recipe."""
        suites = set(registry.names(SUITES))
        measured = {e.suite: e.config for e in self.evaluations if e.suite in suites}
        return self.recipe | ({"evaluation": measured} if measured else {})


def read_evaluation(data: bytes) -> EvaluationRecord:
    """A record of this schema version, or an older one brought up to it. Raises ValueError for anything else."""
    return read_versioned(
        EvaluationRecord,
        "an evaluation record",
        data,
        EVALUATION_VERSION,
        EVALUATION_UPGRADES,
        EVALUATION_VERSION,
        "evaluate the trial again",
    )
