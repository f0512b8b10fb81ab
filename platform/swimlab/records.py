"""What a trial leaves behind: one JSON record and three Parquet files, all declared once as pydantic models.

Metric, sample and overlay files carry no time and no host, so that a rerun writes the same bytes.
"""

import io
import json
import types
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import FiniteFloat, ValidationError

from swim.evaluation.types import FilmFrame, MetricPoint, Overlay, SampleScore
from swim.recipe import Frozen

# A field with a default may be added under the same version: a record that lacks it is read with the default. Whoever
# renames, retypes or removes one raises the version, and says in UPGRADES how a record of the last becomes a new one.
SCHEMA_VERSION = 1
UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}

Row = TypeVar("Row", bound=Frozen)


class FileEntry(Frozen):
    """A file of an attempt as it was written."""

    sha256: str
    size_bytes: int


class Cost(Frozen):
    """What a trial took, for its driver process; `data_wait_s`: how much of `train_s` rank 0 waited for clips,
    `hosted_s`: how much of it went into looking at, saving and reporting the run. Of a trial that went on from an
    earlier attempt's step `resumed_step`, what came after."""

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
    (`swimlab.numerics`; older records do not name their processor). Times are UTC, ISO 8601."""

    git_sha: str | None
    git_dirty: bool | None
    versions: dict[str, str]
    host: str
    numerics: dict[str, str | int]
    started_at: str
    finished_at: str


class TrialRecord(Frozen):
    """The commit of a trial. `files` are named relative to attempts/<trial_id>/<attempt>/; `recipe` is
    `Recipe.model_dump(mode="json")`; `start_weights` is the hash of the weights before the first step (None: an older
    record, which does not say). A metric that is not finite is refused: such a trial failed."""

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
        raise ValueError(f"is no JSON ({error}); delete it to run the trial again") from error
    version = tree.get("schema_version") if isinstance(tree, dict) else None
    if not isinstance(version, int) or not min((SCHEMA_VERSION, *UPGRADES)) <= version <= SCHEMA_VERSION:
        raise ValueError(f"has schema_version {version}, this swimlab reads {SCHEMA_VERSION}; update swimlab")
    for older in range(version, SCHEMA_VERSION):
        tree = UPGRADES[older](tree) | {"schema_version": older + 1}
    try:
        return TrialRecord.model_validate_json(json.dumps(tree))
    except ValidationError as error:
        raise ValueError(
            f"is no trial record of this swimlab ({error}); update swimlab if a newer one wrote it, else delete it to "
            "run the trial again"
        ) from error


_ARROW = {int: pa.int64(), float: pa.float64(), str: pa.string(), bool: pa.bool_(), bytes: pa.binary()}


def arrow_schema(model: type[Frozen]) -> pa.Schema:
    """The Arrow schema of a flat model; tuples become lists. Raises TypeError naming a field it cannot hold."""
    hints = get_type_hints(model)
    return pa.schema([pa.field(name, _arrow_type(model, name, hints[name])) for name in model.model_fields])


def _arrow_type(model: type[Frozen], name: str, hint: Any) -> pa.DataType:
    if get_origin(hint) is tuple:
        items = {item for item in get_args(hint) if not isinstance(item, types.EllipsisType)}
        if len(items) == 1 and (item := items.pop()) in _ARROW:
            return pa.list_(_ARROW[item])
    elif hint in _ARROW:
        return _ARROW[hint]
    raise TypeError(
        f"{model.__name__}.{name}: {hint} has no Arrow type here; use int, float, str, bool, bytes or a tuple"
    )


def _table(model: type[Frozen], rows: Sequence[Frozen]) -> pa.Table:
    return pa.Table.from_pylist([row.model_dump() for row in rows], schema=arrow_schema(model))


def _rows(model: type[Row], table: pa.Table) -> list[Row]:
    return [model.model_validate(row) for row in table.to_pylist()]


def metrics_table(points: Sequence[MetricPoint]) -> pa.Table:
    """Curves as an Arrow table, one row a point."""
    return _table(MetricPoint, points)


def metrics_from_table(table: pa.Table) -> list[MetricPoint]:
    """Inverse of `metrics_table`."""
    return _rows(MetricPoint, table)


def samples_table(scores: Sequence[SampleScore]) -> pa.Table:
    """Per-sample numbers as an Arrow table, long format."""
    return _table(SampleScore, scores)


def samples_from_table(table: pa.Table) -> list[SampleScore]:
    """Inverse of `samples_table`."""
    return _rows(SampleScore, table)


def overlays_table(overlays: Sequence[Overlay]) -> pa.Table:
    """Attention maps for pictures as an Arrow table; arrays stay raw bytes (see `Overlay`)."""
    return _table(Overlay, overlays)


def overlays_from_table(table: pa.Table) -> list[Overlay]:
    """Inverse of `overlays_table`."""
    return _rows(Overlay, table)


def film_table(frames: Sequence[FilmFrame]) -> pa.Table:
    """Attention maps over training as an Arrow table; maps stay raw bytes (see `FilmFrame`)."""
    return _table(FilmFrame, frames)


def film_from_table(table: pa.Table) -> list[FilmFrame]:
    """Inverse of `film_table`."""
    return _rows(FilmFrame, table)


def to_parquet(table: pa.Table) -> bytes:
    """Parquet bytes that depend on the rows and the pyarrow version only."""
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(None), buffer, compression="zstd")
    return buffer.getvalue()


def from_parquet(data: bytes) -> pa.Table:
    """Inverse of `to_parquet`."""
    return pq.read_table(io.BytesIO(data))
