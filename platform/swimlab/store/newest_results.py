"""Committed trials with their newest evaluations, for whoever reads a store without a plan that names them."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from swimlab.store.evaluation_columns import suite_columns
from swimlab.store.evaluation_records import TrialResult
from swimlab.store.snapshot import leaderboard
from swimlab.store.sweep_store import SweepStore


def newest_results(
    store: SweepStore, trial_ids: Iterable[str], board: pa.Table | None = None
) -> dict[str, TrialResult]:
    """Trial id → the trial with its newest evaluation by each suite, on the reported clips and on those that choose,
    which the leaderboard knows. `board`: the leaderboard, where it was read already."""
    table = leaderboard(store) if board is None else board
    table = table.filter(pc.is_in(table["trial_id"], value_set=pa.array(sorted(set(trial_ids)), pa.string())))
    names = suite_columns(table)
    return store.results(
        {
            trial_id: [evaluation_id for evaluation_id in ids if evaluation_id is not None]
            for trial_id, *ids in zip(*(table[name].to_pylist() for name in ("trial_id", *names)), strict=True)
        }
    )
