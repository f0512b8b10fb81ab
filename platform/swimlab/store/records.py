"""The result of a trial: one JSON record and its Parquet files, declared as pydantic models.

Metric, sample and overlay files carry no time and no host, so that a rerun writes identical bytes.
"""

import json
from collections.abc import Callable
from typing import Any

from pydantic import FiniteFloat, ValidationError

from swim.recipe import Frozen

# A field with a default may be added under the same version: a record that lacks it is read with the default. To
# rename, retype or remove a field, raise the version and add to UPGRADES how a record of the old version is converted.
SCHEMA_VERSION = 1
UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}


class FileEntry(Frozen):
    """A file of an attempt as it was written."""

    sha256: str
    size_bytes: int


class Cost(Frozen):
    """Resources that a trial used, measured in its driver process. `data_wait_s`: how much of `train_s` rank 0
    waited for clips; `hosted_s`: how much of it was spent on evaluating, saving and reporting. For a trial that resumed
    from step `resumed_step` of an earlier attempt, only the part after that step."""

    wall_s: FiniteFloat
    cpu_s: FiniteFloat
    train_s: FiniteFloat
    eval_s: FiniteFloat
    peak_rss_bytes: int
    data_wait_s: FiniteFloat = 0.0
    resumed_step: int = 0
    hosted_s: FiniteFloat = 0.0


class Provenance(Frozen):
    """Recorded beside a result, never part of its identity. `numerics` is the class within which numbers compare
    (`swimlab.execution.numerics`; older records do not name their processor). Times are UTC, ISO 8601."""

    git_sha: str | None
    git_dirty: bool | None
    versions: dict[str, str]
    host: str
    numerics: dict[str, str | int]
    started_at: str
    finished_at: str


class TrialRecord(Frozen):
    """The commit of a trial. `files` are named relative to attempts/<trial_id>/<attempt>/; `recipe` is
    `Recipe.model_dump(mode="json")`; `start_weights` is the hash of the weights before the first step (None in
    older records). A metric that is not finite is refused, and the trial counts as failed."""

    schema_version: int = SCHEMA_VERSION
    trial_id: str
    attempt: int
    nonce: str
    recipe: dict[str, Any]
    recipe_name: str
    seed: int
    init_trial_id: str | None
    start_weights: str | None = None
    code_fingerprint: str
    data_fingerprint: str
    metrics: dict[str, FiniteFloat]
    files: dict[str, FileEntry]
    cost: Cost
    provenance: Provenance


def read_record(data: bytes) -> TrialRecord:
    """A record of this schema version, or an older one brought up to it. Raises ValueError for anything else."""
    try:
        tree = json.loads(data)
    except ValueError as error:
        raise ValueError(f"is not JSON ({error}); delete it to run the trial again") from error
    version = tree.get("schema_version") if isinstance(tree, dict) else None
    if not isinstance(version, int) or not min((SCHEMA_VERSION, *UPGRADES)) <= version <= SCHEMA_VERSION:
        raise ValueError(f"has schema_version {version}, this swimlab reads {SCHEMA_VERSION}; update swimlab")
    for older in range(version, SCHEMA_VERSION):
        tree = UPGRADES[older](tree) | {"schema_version": older + 1}
    try:
        return TrialRecord.model_validate_json(json.dumps(tree))
    except ValidationError as error:
        raise ValueError(
            f"is not a trial record of this swimlab ({error}); update swimlab if a newer one wrote it, else delete it "
            "to run the trial again"
        ) from error
