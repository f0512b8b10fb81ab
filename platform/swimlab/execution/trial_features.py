"""The output of a trial's frozen vision tower out of the store, for whoever encodes its clips."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from swim import parallel
from swim.models.vision_features import Features, FrozenTower
from swim.recipe import Recipe, TinyModel
from swimlab.data.feature_table import FeatureTable, StoredFeatures, load_features, make_features
from swimlab.data.prepared_clips import load_prepared
from swimlab.execution.numerics import numerics_of
from swimlab.execution.trial_clips import KEPT_BYTES
from swimlab.experiment.trial_spec import TrialSpec
from swimlab.identity import naming
from swimlab.store.sweep_store import SweepStore


def wanted(recipe: Recipe, asked: bool | None) -> bool:
    """Whether tables are read and made: as asked, else for tiny models. That of a hub model is as large as the
    clips."""
    return isinstance(recipe.model, TinyModel) if asked is None else asked


def features(
    spec: TrialSpec, store: SweepStore, device: torch.device, tower: FrozenTower, *, reads: Mapping[str, int]
) -> Features:
    """What the store knows of a tower's output: `swim.train.Host.features`. Every rank of a trial must call it.

    A process that finds no table makes it, where the clips are stored and it is going to read at least half as many as
    there are: that pays from the second reading of a clip on, and other trials of the data set are likely. `reads`: how
    many it reads, by the fingerprint of the clips.
    """
    tables = [_table(spec, store, device, tower, clips, count) for clips, count in reads.items()]

    def known(frames_THWC: NDArray[np.uint8]) -> Tensor | None:
        return next((output for table in tables if (output := table(frames_THWC)) is not None), None)

    return known


def _table(
    spec: TrialSpec, store: SweepStore, device: torch.device, tower: FrozenTower, clips: str, reads: int
) -> Features:
    rank, _ = parallel.ranks()
    name, table, makes = _name(spec.recipe, tower, device), None, False
    if (prepared := load_prepared(store, clips)) is not None:
        table = load_features(store, prepared, name)
        makes = 2 * reads >= sum(map(prepared.rows, prepared.splits))
    # All ranks or none: a sharded tower runs on all of them together.
    if prepared is None or not parallel.on_all_ranks(table is not None or makes, device):
        return _nothing
    table = table or make_features(store, prepared, name, tower, f"{spec.trial_id} {rank}")
    small = table.memory_bytes <= KEPT_BYTES
    return _kept(store.uri, table.to_json()) if small else StoredFeatures(store, table)


@lru_cache(maxsize=2)
def _kept(uri: str, manifest: bytes) -> StoredFeatures:
    """The last tables that this process read, for its next trial: of its data, and of the clips that choose."""
    return StoredFeatures(SweepStore(uri), FeatureTable.from_json(manifest))


def _nothing(frames_THWC: NDArray[np.uint8]) -> Tensor | None:
    return None


def _name(recipe: Recipe, tower: FrozenTower, device: torch.device) -> str:
    """The name of a table: of all that decides its bits, 20 hex digits."""
    parts = {
        "tower": tower.digest,
        "numerics": numerics_of(recipe, device, world_size=1),
        "weights": getattr(recipe.model, "weights", "float32"),  # with the dtype it says whether autocast is on
        "code": naming.tower_code_fingerprint(),
    }
    return naming.digest(json.dumps(parts, sort_keys=True))
