"""Finds and removes files that a store no longer needs; never files of a record or of a live attempt.

`find` lists garbage and `collect` removes it. An attempt whose owner seems dead is fenced before its files are
removed: its `collected.json` prevents a later commit, in case the owner is alive. Reports are never collected: they are
small, and some hold information that exists nowhere else.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from swim.recipe import Frozen
from swimlab.store.attempts import COLLECTED, DROPPED, dropped_note, folder_of
from swimlab.store.commit_marks import RecentListing, mark_path
from swimlab.store.provenance import utc_now
from swimlab.store.records import TrialRecord
from swimlab.store.snapshot import leaderboard
from swimlab.store.sweep_store import Ended, SweepStore
from swimlab.store.unused import unused_clips, unused_code

Kind = Literal["attempt", "steps", "checkpoint", "mark", "leftover", "clips", "code"]
Checkpoints = Literal["all", "bases", "none"]

LEFTOVER_AFTER_S = 3600.0
# Files of a trial's latest attempt that stay: its number orders the next attempt, and commands show why it ended.
_RETAINED = ("claim", "heartbeat", "failure.json", COLLECTED)


class Rules(Frozen):
    """What to collect besides ended attempts and superseded step checkpoints.

    `checkpoints`: which checkpoints of committed trials to keep: all, those that a committed trial started from, or
    none. `unfinished`: also collect the step checkpoints from which a trial would resume. `clips`, `code`: also collect
    those that no result refers to; skipped while an attempt is alive, and unsafe while a sweep is being prepared.
    """

    checkpoints: Checkpoints = "all"
    unfinished: bool = False
    clips: bool = False
    code: bool = False


@dataclass(frozen=True)
class Item:
    """Files to remove together, in the folder or file `location`, and the reason. `fence`: the attempt may be alive."""

    kind: Kind
    location: str
    reason: str
    paths: tuple[str, ...]
    size_bytes: int
    fence: bool = False


@dataclass(frozen=True)
class Garbage:
    """Files to remove, and the attempts that are alive or may be."""

    items: tuple[Item, ...]
    alive: tuple[str, ...]

    @property
    def size_bytes(self) -> int:
        return sum(item.size_bytes for item in self.items)


Names = dict[str, int]  # file of an attempt → bytes


def find(store: SweepStore, rules: Rules | None = None, wait: Callable[[float], None] | None = None) -> Garbage:
    """Garbage by these rules. Raises StoreError when a record cannot be read.

    An attempt on another machine counts as dead only when its heartbeat does not change for `dead_after_s`. With
    `wait` (`time.sleep`) such attempts are checked twice, that long apart; without it they count as alive.
    """
    rules = rules or Rules()
    trials = _attempts(store.backend.sizes("attempts"))
    present = store.trial_ids()
    records = store.read_records(trial_id for trial_id in present & set(trials) if _may_lose(trials[trial_id], rules))
    candidates = [
        (trial_id, number)
        for trial_id, attempts in trials.items()
        for number in attempts
        if (trial_id in records and records[trial_id].attempt != number) or trial_id not in present
    ]
    states = {key: _state(store, key, trials) for key in candidates}
    undecided = [key for key, state in states.items() if state is None]
    if undecided and wait:
        wait(store.dead_after_s)
        states |= {key: _state(store, key, trials) for key in undecided}
    # Listed again: an attempt whose process has exited may have committed after the first listing.
    committed = present | store.trial_ids()
    items: list[Item] = []
    for trial_id, attempts in sorted(trials.items()):
        if record := records.get(trial_id):
            items += _of_committed(record, attempts, states)
        elif trial_id not in committed:
            items += _of_unfinished(trial_id, attempts, states, rules)
    if rules.checkpoints != "all":
        bases = _bases(store) if rules.checkpoints == "bases" else set()
        items += [_checkpoint(r, trials[t][r.attempt], rules) for t, r in sorted(records.items()) if t not in bases]
    items += _marks(store, trials, states)
    if left := store.backend.leftovers(LEFTOVER_AFTER_S):
        items.append(_item("leftover", store.uri, "half-written by a process that was killed", left))
    alive = tuple(sorted(folder_of(*key) for key, state in states.items() if state is None))
    if rules.code and not alive:
        why = "no result came from this code"
        items += [_item("code", path, why, {path: size_bytes}) for path, size_bytes in unused_code(store).items()]
    if rules.clips and not alive:
        why = "no result would need them with this code"
        items += [_item("clips", folder, why, files) for folder, files in sorted(unused_clips(store).items())]
    return Garbage(tuple(item for item in items if item.paths), alive)


def collect(store: SweepStore, garbage: Garbage) -> tuple[Item, ...]:
    """Remove garbage. Returns the removed items; an attempt that has committed since is not removed."""
    removed = []
    for item in garbage.items:
        if item.fence:
            store.backend.create(f"{item.location}/{COLLECTED}", json.dumps({"at": utc_now()}).encode())
            _, trial_id, number = item.location.split("/")
            record = store.record(trial_id)
            if record is not None and record.attempt == int(number):
                continue
        if item.kind == "checkpoint":
            store.backend.create(f"{item.location}/{DROPPED}", dropped_note(item.reason))
        store.backend.delete_many(item.paths)
        removed.append(item)
    return tuple(removed)


def _item(kind: Kind, location: str, reason: str, files: Mapping[str, int], fence: bool = False) -> Item:
    return Item(kind, location, reason, tuple(files), sum(files.values()), fence)


def _attempts(sizes: Mapping[str, int]) -> dict[str, dict[int, Names]]:
    trials: dict[str, dict[int, Names]] = defaultdict(lambda: defaultdict(dict))
    for path, size_bytes in sizes.items():
        parts = path.split("/", 3)
        if len(parts) == 4 and parts[2].isdigit():
            trials[parts[1]][int(parts[2])][parts[3]] = size_bytes
    return trials


def _may_lose(attempts: Mapping[int, Names], rules: Rules) -> bool:
    """Whether the trial may have garbage, so that its record must be read."""
    begins = ("steps/",) if rules.checkpoints == "all" else ("steps/", "checkpoint/")
    return len(attempts) > 1 or any(name.startswith(begins) for names in attempts.values() for name in names)


def _state(store: SweepStore, key: tuple[str, int], trials: Mapping[str, Mapping[int, Names]]) -> Ended | None:
    trial_id, number = key
    names = trials[trial_id][number]
    if "failure.json" in names:
        return "failed"
    return store.ended(trial_id, number) if "claim" in names else "collected"


def _paths(trial_id: str, number: int, names: Names) -> dict[str, int]:
    return {f"{folder_of(trial_id, number)}/{name}": size_bytes for name, size_bytes in names.items()}


def _of_committed(
    record: TrialRecord, attempts: Mapping[int, Names], states: Mapping[tuple[str, int], Ended | None]
) -> Iterator[Item]:
    for number, names in sorted(attempts.items()):
        folder = folder_of(record.trial_id, number)
        if number == record.attempt:
            steps = {name: size for name, size in names.items() if name.startswith("steps/")}
            yield _item("steps", folder, "the trial is committed", _paths(record.trial_id, number, steps))
        elif state := states[record.trial_id, number]:
            # The highest number is kept, so that it is not used again if the record is deleted.
            retained = _RETAINED if number == max(attempts) else (COLLECTED,)
            rest = {name: size for name, size in names.items() if name not in retained}
            why = f"{state}; attempt {record.attempt} is the trial's result"
            yield _item("attempt", folder, why, _paths(record.trial_id, number, rest), state == "silent")


def _of_unfinished(
    trial_id: str, attempts: Mapping[int, Names], states: Mapping[tuple[str, int], Ended | None], rules: Rules
) -> Iterator[Item]:
    saved = [
        (int(name.split("/")[1]), number)
        for number, names in attempts.items()
        for name in names
        if name.startswith("steps/") and name.endswith("/done.json")
    ]
    step, holder = max(saved, default=(0, 0))
    for number, names in sorted(attempts.items()):
        if state := states[trial_id, number]:
            retained = _RETAINED if number == max(attempts) else (COLLECTED,)
            if number == holder and not rules.unfinished:
                retained = (*retained, *(name for name in names if name.startswith(f"steps/{step}/")))
            rest = {name: size for name, size in names.items() if name not in retained}
            why = f"{state}; the trial has no record" + (", its last step is kept" if number == holder else "")
            yield _item("attempt", folder_of(trial_id, number), why, _paths(trial_id, number, rest), state == "silent")


def _bases(store: SweepStore) -> set[str]:
    return {trial_id for trial_id in leaderboard(store)["init_trial_id"].to_pylist() if trial_id}


def _checkpoint(record: TrialRecord, names: Names, rules: Rules) -> Item:
    files = {name: size for name, size in names.items() if name.startswith("checkpoint/") and name in record.files}
    folder = folder_of(record.trial_id, record.attempt)
    why = f"gc kept the checkpoints of {'no trial' if rules.checkpoints == 'none' else rules.checkpoints}"
    return _item("checkpoint", folder, why, _paths(record.trial_id, record.attempt, files))


def _marks(
    store: SweepStore,
    trials: Mapping[str, Mapping[int, Names]],
    states: Mapping[tuple[str, int], Ended | None],
) -> Iterator[Item]:
    """Marks of attempts that certainly ended without a record: each costs every reader one request."""
    marks = RecentListing.listed(store.backend).marks
    records = store.read_records({trial_id for trial_id, _ in marks})
    for trial_id, nonce in marks:
        if trial_id in records and records[trial_id].nonce == nonce:
            continue
        claims = {
            n: f"{folder_of(trial_id, n)}/claim" for n, names in trials.get(trial_id, {}).items() if "claim" in names
        }
        contents = store.backend.read_many(list(claims.values()))
        holders = [n for n, path in claims.items() if path in contents and json.loads(contents[path])["nonce"] == nonce]
        if all(states.get((trial_id, n), None) not in (None, "silent") for n in holders):
            path = mark_path(trial_id, nonce)
            yield _item("mark", path, "its attempt is over without a record", {path: 0})
