"""How long a run took, wave by wave and slot by slot: what the platform costs beside training and evaluation.

runs/<started>-<nonce>.json    create-only, one a run that trained anything
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import uuid4

from pydantic import FiniteFloat

from swim.recipe import Frozen
from swimlab.store.errors import StoreError
from swimlab.store.records import Cost, TrialRecord
from swimlab.store.sealed_json import SealedModel
from swimlab.store.sweep_store import SweepStore

FOLDER = "runs"


class WaveTiming(Frozen):
    """Trials that ran at the same time on `slots` slots; `occupied_s`: how long each held its slot, from claim to
    commit."""

    wall_s: FiniteFloat
    slots: int
    occupied_s: dict[str, FiniteFloat]


class RunTimes(SealedModel):
    """One run. `wall_s` is its whole time; `prepare_s` is the part of it for starting Ray and preparing the data."""

    schema_version: int = 1
    started_at: str
    experiments: tuple[str, ...]
    wall_s: FiniteFloat
    prepare_s: FiniteFloat
    waves: tuple[WaveTiming, ...]


@dataclass(frozen=True)
class Overhead:
    """What a run cost beyond its trials' training and evaluation. `per_trial_s`: of each trial, in its slot, commit
    included; `ratio`: the waves' wall time by their compute over their slots. Waves with fewer trials than slots
    are left out of the ratio: a base has nobody to share the machine with."""

    trials: int
    compute_s: float
    per_trial_s: tuple[float, ...]
    ratio: float | None


def computed_s(cost: Cost) -> float:
    """Training and evaluation alone."""
    return cost.train_s - cost.hosted_s + cost.eval_s


def write(store: SweepStore, times: RunTimes) -> None:
    """Raises StoreError when the store cannot be written."""
    name = f"{times.started_at.replace(':', '').replace('+', '-')}-{uuid4().hex[:8]}"
    store.put_create_only(f"{FOLDER}/{name}.json", times.to_json())


def read(store: SweepStore) -> list[RunTimes]:
    """Every run, the earliest first. Raises StoreError for one that cannot be read."""
    runs = []
    for path, data in sorted(store.backend.read_many(store.list_files(FOLDER)).items()):
        try:
            runs.append(RunTimes.from_json(data))
        except ValueError as error:
            raise StoreError(f"{store.uri}/{path} is no run of schema 1, or is damaged ({error}); delete it") from error
    return runs


def overhead(times: RunTimes, records: Mapping[str, TrialRecord]) -> Overhead:
    """What a run cost beyond training and evaluation. A trial that resumed an earlier attempt counts from its
    resumption."""
    per_trial, compute, wall, full = [], 0.0, 0.0, 0.0
    for wave in times.waves:
        costs = {t: records[t].cost for t in wave.occupied_s if t in records}
        spent = math.fsum(map(computed_s, costs.values()))
        compute += spent
        per_trial += [wave.occupied_s[t] - computed_s(cost) for t, cost in costs.items()]
        if len(costs) >= wave.slots:
            wall, full = wall + wave.wall_s, full + spent / wave.slots
    return Overhead(len(per_trial), compute, tuple(per_trial), wall / full if full else None)
