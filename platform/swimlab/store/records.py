"""The result of a trial's training: one JSON record and its Parquet files, declared as pydantic models. What was
measured on the trained weights is in evaluation records (`swimlab.store.evaluation_records`); records of version 1 hold
it in `metrics`.

Metric, sample and overlay files carry no time and no host, so that a rerun writes identical bytes.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import FiniteFloat, ValidationError

from swim.recipe import Frozen
from swimlab.store.paths import folder_of
from swimlab.store.sealed_json import SealedModel, unsealed

# A field with a default may be added under the same version: a record that lacks it is read with the default. To
# rename, retype or remove a field, raise the version and add to UPGRADES how a record of the old version is converted.
# Version 2 moved the metrics of evaluation out of the record, and has a digest. A swimlab that reads version 1 only
# would show such a trial without them; here a record of version 1 is read as it is.
SCHEMA_VERSION = 2
SEALED_SINCE = 2
Upgrade = Callable[[dict[str, Any]], dict[str, Any]]
UPGRADES: dict[int, Upgrade] = {1: dict}

Record = TypeVar("Record", bound=Frozen)


class FileEntry(Frozen):
    """A file of an attempt as it was written."""

    sha256: str
    size_bytes: int


class Cost(Frozen):
    """Resources that a trial used, measured in its driver process. `data_wait_s`: how much of `train_s` rank 0
    waited for clips; `hosted_s`: how much of it was spent on evaluating, saving and reporting. For a trial that resumed
    from step `resumed_step` of an earlier attempt, only the part after that step.

    Of training after its first step (None where it had only one, and in older records): `tokens_per_s` over all
    workers, padding not counted; `model_flops_per_s`: operations of the text tower on one device, recomputed ones not
    counted; `mfu`: their share of a known GPU's dense bf16 peak. `peak_device_bytes`: the most that was allocated on
    rank 0's GPU.
    """

    wall_s: FiniteFloat
    cpu_s: FiniteFloat
    train_s: FiniteFloat
    eval_s: FiniteFloat
    peak_rss_bytes: int
    data_wait_s: FiniteFloat = 0.0
    resumed_step: int = 0
    hosted_s: FiniteFloat = 0.0
    tokens_per_s: FiniteFloat | None = None
    model_flops_per_s: FiniteFloat | None = None
    mfu: FiniteFloat | None = None
    peak_device_bytes: int | None = None


class Provenance(Frozen):
    """Recorded beside a result, never part of its identity. `numerics` is the class within which numbers compare
    (`swimlab.execution.numerics`; older records do not name their processor). `source_sha256` is the hash of
    code/<code_fingerprint>.tar.gz at the time of the commit (None in older records). Times are UTC, ISO 8601."""

    git_sha: str | None
    git_dirty: bool | None
    versions: dict[str, str]
    host: str
    numerics: dict[str, str | int]
    started_at: str
    finished_at: str
    source_sha256: str | None = None


class TrialRecord(SealedModel):
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

    @property
    def folder(self) -> str:
        """Where its files are, relative to the store."""
        return folder_of(self.trial_id, self.attempt)

    @property
    def path(self) -> str:
        """Where the record is, relative to the store."""
        return f"records/{self.trial_id}.json"


def read_record(data: bytes) -> TrialRecord:
    """A record of this schema version, or an older one brought up to it. Raises ValueError for anything else."""
    return read_versioned(
        TrialRecord, "a trial record", data, SCHEMA_VERSION, UPGRADES, SEALED_SINCE, "run the trial again"
    )


def read_versioned(
    model: type[Record],
    title: str,
    data: bytes,
    newest: int,
    upgrades: Mapping[int, Upgrade],
    sealed_since: int,
    remedy: str,
) -> Record:
    """JSON of schema version `newest`, or of an older one that `upgrades` bring up to it. Versions from `sealed_since`
    on have a digest. `remedy`: what deleting the file does, for the messages. Raises ValueError for anything else."""
    try:
        tree = json.loads(data)
    except ValueError as error:
        raise ValueError(f"is not JSON ({error}); restore it from a backup, or delete it to {remedy}") from error
    version = tree.get("schema_version") if isinstance(tree, dict) else None
    if not isinstance(version, int) or not min((newest, *upgrades)) <= version <= newest:
        raise ValueError(f"has schema_version {version}, this swimlab reads {newest}; update swimlab")
    try:
        tree = unsealed(tree, required=version >= sealed_since)
    except ValueError as error:
        raise ValueError(
            f"is not {title} of this swimlab, or is damaged ({error}); restore it from a backup, or delete it to "
            f"{remedy}"
        ) from error
    for older in range(version, newest):
        tree = upgrades[older](tree) | {"schema_version": older + 1}
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        raise ValueError(
            f"is not {title} of this swimlab ({error}); update swimlab if a newer one wrote it, else delete it "
            f"to {remedy}"
        ) from error
