"""Which trials and evaluations are committed, from listings and the snapshots instead of every record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from swimlab.store.evaluation_columns import with_evaluations
from swimlab.store.record_kinds import EVALUATIONS, TRIALS, RecordKind
from swimlab.store.records import TrialRecord
from swimlab.store.snapshot import LeaderboardReader
from swimlab.store.sweep_store import SweepStore


@dataclass(frozen=True)
class Presence:
    """What was committed when it was read. `trials`: trial id → the nonce of its record; `evaluated`: evaluation id →
    the nonce of the weights that were evaluated; `table`: the leaderboard, of these trials."""

    trials: Mapping[str, str]
    evaluated: Mapping[str, str]
    table: pa.Table

    @classmethod
    def read(cls, store: SweepStore) -> Presence:
        """Reads two listings and what `snapshot.leaderboard` reads: 10,000 records would be as many requests on S3,
        and on local disk 4 s of CPU. Raises StoreError as that does."""
        reader = LeaderboardReader(store)
        reader.table()

        def rows(kind: RecordKind[Any]) -> pa.Table:
            listed, table = kind.ids(store.backend), reader.rows(kind)
            # Deleted or copied here by hand since the last compaction, or left out by a listing that is short.
            known = set(table[kind.key].to_pylist())
            records = kind.read(store.backend, listed ^ known)
            return kind.joined(table, list(records.values()), known - listed - set(records))

        trials, evaluations = rows(TRIALS), rows(EVALUATIONS)
        return cls(
            trials=_pairs(trials, "trial_id", "nonce"),
            evaluated=_pairs(evaluations, "evaluation_id", "trial_nonce"),
            table=with_evaluations(trials, evaluations),
        )

    def column(self, name: str) -> dict[str, float]:
        """Trial id → a number of the leaderboard, where the trial has it."""
        values = _pairs(self.table, "trial_id", name) if name in self.table.column_names else {}
        return {trial_id: value for trial_id, value in values.items() if value is not None}


class StoreContent:
    """A store as it was when first asked: each question about all of it is answered once."""

    def __init__(self, store: SweepStore) -> None:
        self._store = store

    @cached_property
    def present(self) -> Presence:
        """See `Presence.read`."""
        return Presence.read(self._store)

    @cached_property
    def records(self) -> dict[str, TrialRecord]:
        """All committed trials, without their evaluations."""
        return self._store.records()


def _pairs(table: pa.Table, key: str, value: str) -> dict[str, Any]:
    return dict(zip(table[key].to_pylist(), table[value].to_pylist(), strict=True))
