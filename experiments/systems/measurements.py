"""Measurements: rows of a run, kept in the store beside the trials, and what a pair of schemes says.

    measurements/<experiment>/<run_id>.json     create-only, one a run: a measurement is never overwritten
    tables/measurements/<experiment>.parquet    all runs as one flat table, rebuilt from those

Schemes are compared within a round of one run, so that whatever drifts (clocks, neighbours) hits both.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pydantic import Field, FiniteFloat, SerializeAsAny

from swim.recipe import Frozen
from swimlab.stats.intervals import Interval, interval
from swimlab.store.arrow_tables import to_parquet
from swimlab.store.errors import StoreError
from swimlab.store.flat_rows import rows_table
from swimlab.store.paths import checked_path
from swimlab.store.records import Provenance
from swimlab.store.sealed_json import SealedModel
from swimlab.store.sweep_store import SweepStore

SCHEMA_VERSION = 1


class Measurement(Frozen):
    """What a fresh process measured of one scheme. Where it did not survive, `outcome` says why and the numbers are
    None. An experiment adds what it measures and what it varies: each combination of `size` (the model, or the
    pictures) and what else is named when asking is compared on its own.

    `time_s`: as the experiment says; `peak_bytes`: most memory at a time.
    """

    scheme: str
    size: str
    round: int
    outcome: Literal["ok", "out of memory"] = "ok"
    time_s: FiniteFloat | None = Field(None, gt=0)
    peak_bytes: int | None = None


class MeasurementRun(SealedModel):
    """Everything one invocation measured. `machine` is the name of the CPU or GPU. An experiment derives its own, with
    the type of its rows."""

    schema_version: int = SCHEMA_VERSION
    experiment: str
    run_id: str
    machine: str
    settings: dict[str, Any]
    provenance: Provenance
    rows: tuple[SerializeAsAny[Measurement], ...]

    def of(self, scheme: str, **filters: Any) -> list[Measurement]:
        """The rows of a scheme whose fields have these values."""
        rows = (row for row in self.rows if row.scheme == scheme)
        return [row for row in rows if all(getattr(row, name) == value for name, value in filters.items())]

    def values(self, quantity: str, scheme: str, **filters: Any) -> dict[int, float]:
        """Round → value, of those rows that have one."""
        return {row.round: float(v) for row in self.of(scheme, **filters) if (v := getattr(row, quantity)) is not None}

    def ratio(self, quantity: str, scheme: str, over: str | None, **filters: Any) -> Interval | None:
        """`ratio` of two schemes' values; `over` None: the scheme's own values, over 1."""
        numerators = self.values(quantity, scheme, **filters)
        return ratio(
            numerators, dict.fromkeys(numerators, 1.0) if over is None else self.values(quantity, over, **filters)
        )


RunT = TypeVar("RunT", bound=MeasurementRun)


def commit(store: SweepStore, run: MeasurementRun) -> None:
    """Write a run and rebuild its experiment's table. Raises StoreError when the run is already there."""
    path = checked_path(f"measurements/{run.experiment}/{run.run_id}.json")
    if not store.put_create_only(path, run.to_json()):
        raise StoreError(f"{store.uri}/{path} exists: measurements are never overwritten; take a new run_id")
    write_table(store, run.experiment, type(run))


def runs(store: SweepStore, experiment: str, kind: type[RunT]) -> list[RunT]:
    """Every run of an experiment, oldest first. Raises StoreError naming a file that cannot be read."""
    results = []
    paths = store.list_files(f"measurements/{experiment}")
    for path, data in sorted(store.backend.read_many(paths).items()):
        try:
            results.append(kind.from_json(data))
        except ValueError as error:
            raise StoreError(
                f"{store.uri}/{path} is no run of schema {SCHEMA_VERSION}, or is damaged: {error}; read it with the "
                "code that wrote it, or move it away"
            ) from error
    return results


def write_table(store: SweepStore, experiment: str, kind: type[MeasurementRun]) -> str:
    """tables/measurements/<experiment>.parquet, one row a measurement, with the run's provenance beside it."""
    path = checked_path(f"tables/measurements/{experiment}.parquet")
    rows = []
    for run in runs(store, experiment, kind):
        origin = run.provenance
        about: dict[str, Any] = {"run_id": run.run_id, "machine": run.machine, "host": origin.host}
        about |= {"finished_at": origin.finished_at, "git_sha": origin.git_sha, "git_dirty": origin.git_dirty}
        about |= _dotted("numerics", origin.numerics)
        about |= _dotted("versions", origin.versions)
        rows += [{"experiment": experiment, **_flat(row), **about} for row in run.rows]
    store.backend.replace(path, to_parquet(rows_table(rows)))
    return path


def _flat(row: Measurement) -> dict[str, Any]:
    return {k: json.dumps(v) if isinstance(v, list) else v for k, v in row.model_dump(mode="json").items()}


def _dotted(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{prefix}.{name}": value for name, value in values.items()}


def ratio(numerator: Mapping[int, float], denominator: Mapping[int, float]) -> Interval | None:
    """Geometric mean of the paired ratios over the rounds both have, with the t interval of their logarithms (`sd` is
    that of the logarithms). None without a common round; 0 bytes (a step that needed no new memory) have no ratio."""
    shared = sorted(r for r in set(numerator) & set(denominator) if numerator[r] > 0 and denominator[r] > 0)
    if not shared:
        return None
    logs = interval([math.log(numerator[r] / denominator[r]) for r in shared])

    def back(value: float | None) -> float | None:
        return None if value is None else math.exp(value)

    return Interval(logs.n, math.exp(logs.mean), logs.sd, back(logs.low), back(logs.high))


@dataclass(frozen=True)
class Bound:
    """A promise about a paired ratio, or about a quantity itself (`over` None), where the fields `where` have those
    values: the whole 95 % interval lies on the right side of `limit`."""

    quantity: str
    scheme: str
    over: str | None
    limit: float
    at_most: bool
    where: Mapping[str, str | int]

    @property
    def text(self) -> str:
        """`time_s swim ÷ sft ≤ 1.05 (small, 4096 tokens)`."""
        compared = self.scheme if self.over is None else f"{self.scheme} ÷ {self.over}"
        at = ", ".join(value if isinstance(value, str) else f"{value} {name}" for name, value in self.where.items())
        return f"{self.quantity} {compared} {'≤' if self.at_most else '≥'} {self.limit:g} ({at})"

    def judge(self, run: MeasurementRun) -> tuple[str, Interval | None]:
        """("met" | "not met" | "undecided" | "not measured", what was measured). Undecided: the interval holds the
        limit, or there is one round only."""
        measured = run.ratio(self.quantity, self.scheme, self.over, **self.where)
        if measured is None:
            return "not measured", None
        if measured.low is None or measured.high is None:
            return "undecided", measured
        inside, outside = (measured.high, measured.low) if self.at_most else (measured.low, measured.high)
        holds: Callable[[float], bool] = (lambda v: v <= self.limit) if self.at_most else (lambda v: v >= self.limit)
        return ("met" if holds(inside) else "undecided" if holds(outside) else "not met"), measured


def rotated(items: Sequence[str], by: int) -> tuple[str, ...]:
    """The items from the `by`-th on, then those before: each goes first equally often."""
    start = by % len(items)
    return (*items[start:], *items[:start])
