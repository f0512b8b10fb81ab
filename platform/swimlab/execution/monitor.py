"""The live status of a store's runs, read from the store alone, with few requests: what `swimlab watch` shows.

One poll on S3 costs: a listing of recent/ (of records/ while there is no snapshot), the listings of the attempts
without a result, a listing of pruned/ where there is a search, and a read of each running trial's heartbeat. What
cannot change (records, claims, failures) is read once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ValidationError

from swimlab.base.times import age_s
from swimlab.experiment.run_manifest import AnnouncedTrial, RunManifest, announcements, judged
from swimlab.store.attempt_files import claim_of, json_object
from swimlab.store.attempts import COLLECTED
from swimlab.store.leases import Owner
from swimlab.store.live_progress import Progress
from swimlab.store.snapshot import LeaderboardReader
from swimlab.store.sweep_store import SweepStore

_log = logging.getLogger(__name__)

PLANS_EVERY_S = 20.0
# Files of a committed trial: claim, beat, five tables, the checkpoint's.
FILES_PER_TRIAL = 15
LISTED_AT_ONCE = 16


@dataclass(frozen=True)
class TrialStatus:
    """A trial and its `state`: done, running, failed, pruned or waiting. `beat_age_s` mixes the clocks of this
    machine and the trial's, so it is only shown; `lost`: the trial's process ran on this machine and has exited."""

    trial: AnnouncedTrial
    state: str
    progress: Progress | None = None
    host: str = ""
    beat_age_s: float | None = None
    error: str = ""
    lost: bool = False


@dataclass(frozen=True)
class Experiment:
    """One announced run. `left_s`: estimated from the speed of the running trials and the time that finished ones
    took."""

    announced: RunManifest
    trials: tuple[TrialStatus, ...]
    left_s: float | None
    claims: tuple[tuple[str, str, float | None, float | None], ...]

    def count(self, state: str) -> int:
        return sum(trial.state == state for trial in self.trials)

    @property
    def open(self) -> bool:
        """Whether any trial is still running or waiting, or any point of a search still to be proposed."""
        return bool(self.announced.unproposed) or any(trial.state in ("running", "waiting") for trial in self.trials)


class Watcher:
    """Polls a store, and remembers what cannot change."""

    def __init__(self, store: SweepStore) -> None:
        self._store = store
        self._me = Owner.current()
        self._plans: list[RunManifest] = []
        self._plans_s = -PLANS_EVERY_S
        self._leaderboard = LeaderboardReader(store)
        self._board: pa.Table = pa.table({})
        self._rows_of: list[RunManifest] | None = None
        self._rows: dict[str, dict[str, Any]] = {}
        self._fixed: dict[str, dict[str, Any]] = {}

    def poll(self, experiment: str | None = None) -> list[Experiment]:
        """Every announced run, or those of one experiment; latest first. Raises StoreError."""
        if time.monotonic() - self._plans_s >= PLANS_EVERY_S:
            self._plans, self._plans_s = announcements(self._store), time.monotonic()
        plans = [manifest for manifest in self._plans if experiment in (None, manifest.experiment)]
        self._read_rows()
        undone = {t.trial_id for manifest in plans for t in manifest.trials if t.trial_id not in self._rows}
        attempts = self._attempts(undone)
        latest = {trial_id: max(numbers) for trial_id, numbers in attempts.items()}
        folders = {trial_id: f"attempts/{trial_id}/{number}" for trial_id, number in latest.items()}
        files = {trial_id: attempts[trial_id][number] for trial_id, number in latest.items()}
        self._read_fixed(
            f"{folders[trial_id]}/{name}"
            for trial_id, names in files.items()
            for name in ("claim", "failure.json")
            if name in names
        )
        beats = self._read(
            f"{folders[trial_id]}/{name}"
            for trial_id, names in files.items()
            if "failure.json" not in names
            for name in ("heartbeat", "progress")
            if name in names
        )
        statuses = {trial_id: self._status(folder, files[trial_id], beats) for trial_id, folder in folders.items()}
        if any(manifest.unproposed is not None for manifest in plans):
            for trial_id in {path.split("/")[1] for path in self._store.list_files("pruned")} & undone:
                if statuses.get(trial_id, {}).get("state") != "running":
                    statuses[trial_id] = {"state": "pruned"}
        return [self._experiment(manifest, statuses) for manifest in plans]

    def _read_rows(self) -> None:
        """Rows of the committed trials that are announced: only what is new since the last poll is fetched."""
        board = self._leaderboard.table()
        if board is not self._board or self._plans is not self._rows_of:
            announced = pa.array({t.trial_id for manifest in self._plans for t in manifest.trials}, pa.string())
            rows = board.filter(pc.is_in(board["trial_id"], value_set=announced)).to_pylist()
            self._board, self._rows_of, self._rows = board, self._plans, {row["trial_id"]: row for row in rows}

    def _attempts(self, undone: set[str]) -> dict[str, dict[int, set[str]]]:
        """trial → attempt number → names of its files; trials that nobody has claimed are absent."""
        list_files = self._store.list_files
        if len(undone) <= 1 + FILES_PER_TRIAL * self._board.num_rows / 1000:
            with ThreadPoolExecutor(LISTED_AT_ONCE) as pool:
                listed = [path for paths in pool.map(list_files, [f"attempts/{t}" for t in undone]) for path in paths]
        else:
            listed = list_files("attempts")
        files: dict[str, dict[int, set[str]]] = {}
        for path in listed:
            _, trial_id, number, name = path.split("/", 3)
            if trial_id in undone:
                files.setdefault(trial_id, {}).setdefault(int(number), set()).add(name)
        return {trial_id: claimed for trial_id, numbers in files.items() if (claimed := _claimed(numbers))}

    def _read_fixed(self, paths: Iterable[str]) -> None:
        self._fixed |= self._read(path for path in paths if path not in self._fixed)

    def _read(self, paths: Iterable[str]) -> dict[str, dict[str, Any]]:
        contents = self._store.backend.read_many(list(paths))
        return {path: json_object(f"{self._store.uri}/{path}", data) for path, data in contents.items()}

    def _status(self, folder: str, names: set[str], beats: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
        """The fields of a `TrialStatus` other than its trial."""
        if "failure.json" in names:
            failure = self._fixed[f"{folder}/failure.json"]
            lines = failure.get("error", "").strip().splitlines()
            return {"state": "failed", "error": (lines or [failure.get("kind", "failure.json is damaged")])[-1]}
        beat = beats.get(f"{folder}/heartbeat", {})
        if beat.get("released") or COLLECTED in names:
            return {"state": "waiting"}
        owner = claim_of(f"{folder}/claim", self._fixed[f"{folder}/claim"]).owner
        file = f"{folder}/progress"
        told = self._progress(file, beats.get(file)) or self._progress(f"{folder}/heartbeat", beat.get("progress"))
        return {
            "state": "running",
            "progress": told,
            "host": owner.host,
            "beat_age_s": age_s(beat.get("at")),
            "lost": owner.has_exited(self._me),
        }

    def _progress(self, path: str, content: Any) -> Progress | None:
        """None where there is none, and, with a warning, where it is damaged."""
        try:
            return Progress.model_validate(content) if content else None
        except ValidationError as error:
            _log.warning("%s/%s is damaged: its progress is not shown (%s)", self._store.uri, path, error)
            return None

    def _experiment(self, manifest: RunManifest, statuses: Mapping[str, dict[str, Any]]) -> Experiment:
        waiting, done = {"state": "waiting"}, {"state": "done"}
        trials = tuple(
            TrialStatus(t, **(done if t.trial_id in self._rows else statuses.get(t.trial_id, waiting)))
            for t in manifest.trials
        )
        claims = tuple((claim.text, label, mean, half) for claim, label, mean, half in judged(manifest, self._rows))
        left_s = None if manifest.unproposed else self._left_s(trials)
        return Experiment(manifest, trials, left_s, claims)

    def _left_s(self, trials: Sequence[TrialStatus]) -> float | None:
        waiting = [t for t in trials if t.state == "waiting"]
        running = {t.trial.trial_id: t for t in trials if t.state == "running" and not t.lost}
        step_seconds = [
            self._rows[t.trial.trial_id]["cost.wall_s"] / max(1, t.trial.steps) for t in trials if t.state == "done"
        ]
        per_step_s = sum(step_seconds) / len(step_seconds) if step_seconds else None
        if not running or (waiting and per_step_s is None):
            return None
        left = [t.progress.left_s for t in running.values() if t.progress and t.progress.left_s is not None]
        if not left and not waiting:
            return None
        todo_s = sum(left) + sum((per_step_s or 0) * max(1, t.trial.steps) for t in _each_once(waiting))
        return max([todo_s / len(running), *left])


def _claimed(numbers: Mapping[int, set[str]]) -> dict[int, set[str]]:
    return {number: names for number, names in numbers.items() if "claim" in names}


def _each_once(trials: Iterable[TrialStatus]) -> Iterable[TrialStatus]:
    """Trials without repeats: arms that mean the same share one."""
    return {t.trial.trial_id: t for t in trials}.values()
