"""Finds and removes files that a store no longer needs; never files of a record or of a live attempt.

`find` lists garbage and `collect` removes it. Every attempt is fenced before its files are removed: its
`collected.json` prevents a later commit, in case the owner is alive after all, and its record is looked for again
(`swimlab.store.withdrawal`). Reports are never collected: they are small, and some hold information that exists nowhere
else.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from swim.recipe import Frozen
from swimlab.store import listings, published_tables, withdrawal
from swimlab.store.attempt_files import read_claims
from swimlab.store.attempts import COLLECTED, DROPPED, WITHDRAWN, dropped_note
from swimlab.store.commit_marks import RecentListing, mark_path
from swimlab.store.committed_ids import committed_ids
from swimlab.store.evaluation_records import EvaluationRecord
from swimlab.store.paths import folder_of
from swimlab.store.provenance import utc_now
from swimlab.store.record_kinds import EVALUATIONS, TRIALS, RecordKind
from swimlab.store.records import TrialRecord
from swimlab.store.snapshot import leaderboard
from swimlab.store.sweep_store import Ended, SweepStore
from swimlab.store.unused import References

Kind = Literal["attempt", "record", "steps", "checkpoint", "mark", "leftover", "clips", "code", "table", "scratch"]
Checkpoints = Literal["all", "bases", "none"]

LEFTOVER_AFTER_S = 3600.0
_AT_A_TIME = 32  # items whose records are read together
# Files of a trial's latest attempt that stay: its number orders the next attempt, and commands show why it ended.
_NOTES = (COLLECTED, WITHDRAWN)
_RETAINED = ("claim", "heartbeat", "failure.json", *_NOTES)


class Rules(Frozen):
    """What to collect besides ended attempts and superseded step checkpoints.

    `checkpoints`: which checkpoints of committed trials to keep: all, those that a committed trial started from, or
    none. `unfinished`: also collect the step checkpoints from which a trial would resume. `clips`, `code`: also collect
    those that no result refers to; skipped while an attempt is alive, and unsafe while a sweep is being prepared.
    `tables`: also damaged files below tables/, which are copies; all of them are read.
    """

    checkpoints: Checkpoints = "all"
    unfinished: bool = False
    clips: bool = False
    code: bool = False
    tables: bool = False


@dataclass(frozen=True)
class Item:
    """Files to remove together, in the folder or file `location`, and the reason."""

    kind: Kind
    location: str
    reason: str
    paths: tuple[str, ...]
    size_bytes: int


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
    """Garbage by these rules. Raises StoreError when the store cannot be listed or a record cannot be read, and when
    the records that it knows and those that are listed disagree (`swimlab.store.committed_ids`).

    An attempt on another machine counts as dead only when its heartbeat does not change for `dead_after_s`. With
    `wait` (`time.sleep`) such attempts are checked twice, that long apart; without it they count as alive.
    """
    rules = rules or Rules()
    attempts = _attempts(listings.sizes(store.backend, "attempts"))
    committed = committed_ids(store.backend)
    trial_ids, evaluation_ids = committed[TRIALS], committed[EVALUATIONS]
    present = trial_ids | evaluation_ids
    trials = store.read_records(t for t in trial_ids & set(attempts) if _may_lose(attempts[t], rules))
    evaluations = store.read_evaluations(evaluation_ids & set(attempts))
    records: dict[str, TrialRecord | EvaluationRecord] = {**trials, **evaluations}
    candidates = [
        (work_id, number)
        for work_id, numbers in attempts.items()
        for number in numbers
        if (work_id in records and records[work_id].folder != folder_of(work_id, number)) or work_id not in present
    ]
    states = {key: _state(store, key, attempts) for key in candidates}
    undecided = [key for key, state in states.items() if state is None]
    if undecided and wait:
        wait(store.dead_after_s)
        states |= {key: _state(store, key, attempts) for key in undecided}
    items: list[Item] = []
    # Listed again: an attempt whose process has exited may have committed after the first listing.
    unfinished = sorted(set(attempts) - present.union(*committed_ids(store.backend).values()))
    claimed = _claimed_evaluations(store, {work_id: attempts[work_id] for work_id in unfinished})
    for work_id, record in sorted(records.items()):
        items += _of_committed(work_id, record, attempts[work_id], states)
    for work_id in unfinished:
        subject = "evaluation" if work_id in claimed else "trial"
        items += _of_unfinished(work_id, subject, attempts[work_id], states, rules)
    if rules.checkpoints != "all":
        bases = _bases(store) if rules.checkpoints == "bases" else set()
        items += [_checkpoint(r, attempts[t][r.attempt], rules) for t, r in sorted(trials.items()) if t not in bases]
    items += _records_without_files(store, attempts, committed)
    items += _marks(store, attempts, states)
    if left := store.backend.leftovers(LEFTOVER_AFTER_S):
        items.append(_item("leftover", store.uri, "half-written by a process that was killed", left))
    alive = tuple(sorted(folder_of(*key) for key, state in states.items() if state is None))
    references = References(store)
    if rules.code and not alive:
        why = "no result came from this code"
        items += [_item("code", path, why, {path: size}) for path, size in references.unused_code().items()]
    if rules.clips and not alive:
        why = "no result would need them with this code"
        items += [_item("clips", folder, why, files) for folder, files in sorted(references.unused_clips().items())]
    if rules.tables:
        items += _damaged_copies(store)
    return Garbage(tuple(item for item in items if item.paths), alive)


def collect(store: SweepStore, garbage: Garbage) -> tuple[Item, ...]:
    """Remove garbage. Returns the removed items; what has become of use since it was found is not removed. Raises
    StoreError, and removes no more, when a record cannot be read."""
    removed: list[Item] = []
    for start in range(0, len(garbage.items), _AT_A_TIME):
        batch = _still_garbage(store, garbage.items[start : start + _AT_A_TIME])
        for item in batch:
            if item.kind == "attempt":
                store.backend.create(f"{item.location}/{COLLECTED}", json.dumps({"at": utc_now()}).encode())
            elif item.kind == "checkpoint":
                store.backend.create(f"{item.location}/{DROPPED}", dropped_note(item.reason))
        batch = _still_garbage(store, batch)
        store.backend.delete_many([path for item in batch if item.kind != "record" for path in item.paths])
        _withdraw(store, batch)
        removed += batch
    return tuple(removed)


def _still_garbage(store: SweepStore, items: Sequence[Item]) -> list[Item]:
    """Those that the records, as they are now, leave for collection."""
    records = _records_of(store, items)
    folders = {record.folder for _, record in records}
    marks = {mark_path(kind, kind.id_of(record), record.nonce) for kind, record in records}
    needed = {"attempt": folders, "mark": marks}
    present = {"record": folders, "steps": folders, "checkpoint": folders}
    return [
        item
        for item in items
        if item.location not in needed.get(item.kind, ())
        and (item.kind not in present or item.location in present[item.kind])
    ]


def _withdraw(store: SweepStore, items: Sequence[Item]) -> None:
    """Removes records that were written while the files of their attempts were deleted, or after that, by a process
    that was then killed before it looked for `collected.json`: nobody was told that they are committed."""
    attempts = [item for item in items if item.kind in ("attempt", "record")]
    locations = {item.location for item in attempts}
    for kind, record in _records_of(store, attempts):
        if record.folder in locations:
            withdrawal.withdraw(store.backend, kind, record)


def _records_of(store: SweepStore, items: Iterable[Item]) -> list[tuple[RecordKind[Any], Any]]:
    """The records, read now, of the trials and evaluations that these items are about."""
    names = {
        item.location.split("/")[2 if item.kind == "mark" else 1].partition(".")[0]
        for item in items
        if item.kind in ("attempt", "record", "steps", "checkpoint", "mark")
    }
    return [(kind, record) for kind in (TRIALS, EVALUATIONS) for record in kind.read(store.backend, names).values()]


def _item(kind: Kind, location: str, reason: str, files: Mapping[str, int]) -> Item:
    return Item(kind, location, reason, tuple(files), sum(files.values()))


def _attempts(sizes: Mapping[str, int]) -> dict[str, dict[int, Names]]:
    """Id of a trial or an evaluation → number → files."""
    attempts: dict[str, dict[int, Names]] = defaultdict(lambda: defaultdict(dict))
    for path, size_bytes in sizes.items():
        parts = path.split("/", 3)
        if len(parts) == 4 and parts[2].isdigit():
            attempts[parts[1]][int(parts[2])][parts[3]] = size_bytes
    return attempts


def _claimed_evaluations(store: SweepStore, attempts: Mapping[str, Mapping[int, Names]]) -> set[str]:
    """The ids whose claims are of evaluations."""
    claimed = [
        (work_id, number)
        for work_id, numbers in attempts.items()
        for number, names in numbers.items()
        if "claim" in names
    ]
    claims = read_claims(store.backend, claimed)
    return {work_id for (work_id, _), claim in claims.items() if claim.target is not None}


def _may_lose(attempts: Mapping[int, Names], rules: Rules) -> bool:
    """Whether the trial may have garbage, so that its record must be read."""
    begins = ("steps/",) if rules.checkpoints == "all" else ("steps/", "checkpoint/")
    return len(attempts) > 1 or any(name.startswith(begins) for names in attempts.values() for name in names)


def _state(store: SweepStore, key: tuple[str, int], attempts: Mapping[str, Mapping[int, Names]]) -> Ended | None:
    work_id, number = key
    names = attempts[work_id][number]
    if "failure.json" in names:
        return "failed"
    return store.ended(work_id, number) if "claim" in names else "collected"


def _attempt_paths(folder: str, names: Names) -> dict[str, int]:
    return {f"{folder}/{name}": size_bytes for name, size_bytes in names.items()}


def _of_committed(
    work_id: str,
    record: TrialRecord | EvaluationRecord,
    attempts: Mapping[int, Names],
    states: Mapping[tuple[str, int], Ended | None],
) -> Iterator[Item]:
    for number, names in sorted(attempts.items()):
        folder = folder_of(work_id, number)
        if folder == record.folder:
            steps = {name: size for name, size in names.items() if name.startswith("steps/")}
            yield _item("steps", folder, "the trial is committed", _attempt_paths(folder, steps))
        elif state := states[work_id, number]:
            # The highest number is kept, so that it is not used again if the record is deleted.
            retained = _RETAINED if number == max(attempts) else _NOTES
            rest = {name: size for name, size in names.items() if name not in retained}
            result = f"attempt {record.attempt} is the trial's result"
            if isinstance(record, EvaluationRecord):
                result = f"the evaluation's result is in {record.folder}"
            yield _item("attempt", folder, f"{state}; {result}", _attempt_paths(folder, rest))


def _of_unfinished(
    work_id: str,
    subject: str,
    attempts: Mapping[int, Names],
    states: Mapping[tuple[str, int], Ended | None],
    rules: Rules,
) -> Iterator[Item]:
    saved = [
        (int(name.split("/")[1]), number)
        for number, names in attempts.items()
        for name in names
        if re.fullmatch(r"steps/[0-9]+/done\.json", name)
    ]
    step, holder = max(saved, default=(0, 0))
    for number, names in sorted(attempts.items()):
        if state := states[work_id, number]:
            folder = folder_of(work_id, number)
            retained = _RETAINED if number == max(attempts) else _NOTES
            if number == holder and not rules.unfinished:
                retained = (*retained, *(name for name in names if name.startswith(f"steps/{step}/")))
            rest = {name: size for name, size in names.items() if name not in retained}
            why = f"{state}; the {subject} has no record" + (", its last step is kept" if number == holder else "")
            yield _item("attempt", folder, why, _attempt_paths(folder, rest))


def _records_without_files(
    store: SweepStore,
    attempts: Mapping[str, Mapping[int, Names]],
    committed: Mapping[RecordKind[Any], set[str]],
) -> Iterator[Item]:
    """Records that were written after their attempt was collected, by a process that was killed at once: all their
    files are gone. The item is the attempt's folder. A record that came before the collection has its files."""
    collected = {work_id for work_id, numbers in attempts.items() if any(COLLECTED in n for n in numbers.values())}
    for kind, record_ids in committed.items():
        for record_id, record in sorted(kind.read(store.backend, record_ids & collected).items()):
            own = record.folder == folder_of(record_id, record.attempt)  # not one that was made with the training
            names = attempts[record_id].get(record.attempt, {}) if own else {}
            withdrawable = COLLECTED in names and not names.keys() & {WITHDRAWN, DROPPED} and record.files
            # One by one as well: a listing may be short.
            if withdrawable and not any(n in names or store.exists(f"{record.folder}/{n}") for n in record.files):
                why = "its attempt was collected before it was written, by a process that was killed at once"
                yield _item("record", record.folder, why, {kind.path(record_id): 0})


def _damaged_copies(store: SweepStore) -> Iterator[Item]:
    sizes = listings.sizes(store.backend, "tables")
    for path, why in published_tables.damaged_copies(store).items():
        # A trial of an older swimlab has samples of its own: it is copied again where the copy of its curve is missing.
        together = sorted({path, path.replace("tables/samples/", "tables/metrics/")} & set(sizes))
        reason = f"damaged, and written again by the next run: {why}"
        yield _item("table", path, reason, {name: sizes[name] for name in together})


def _bases(store: SweepStore) -> set[str]:
    return {trial_id for trial_id in leaderboard(store)["init_trial_id"].to_pylist() if trial_id}


def _checkpoint(record: TrialRecord, names: Names, rules: Rules) -> Item:
    files = {name: size for name, size in names.items() if name.startswith("checkpoint/") and name in record.files}
    why = f"gc kept the checkpoints of {'no trial' if rules.checkpoints == 'none' else rules.checkpoints}"
    return _item("checkpoint", record.folder, why, _attempt_paths(record.folder, files))


def _marks(
    store: SweepStore,
    attempts: Mapping[str, Mapping[int, Names]],
    states: Mapping[tuple[str, int], Ended | None],
) -> Iterator[Item]:
    """Marks of attempts that certainly ended without a record: each costs every reader one request."""
    recent = RecentListing.listed(store.backend)
    for kind in (TRIALS, EVALUATIONS):
        marks = recent.marks(kind)
        records = kind.read(store.backend, {record_id for record_id, _ in marks})
        nonces = {record_id: record.nonce for record_id, record in records.items()}
        over = [mark for mark in marks if nonces.get(mark[0]) != mark[1] and _is_over(store, mark, attempts, states)]
        if kind is EVALUATIONS and over:
            # Made with the training of a committed trial: it may be in the course of being published.
            committed = set(leaderboard(store)["nonce"].to_pylist())
            over = [mark for mark in over if mark[1] not in committed]
        for mark in over:
            path = mark_path(kind, *mark)
            yield _item("mark", path, "its attempt is over without a record", {path: 0})


def _is_over(
    store: SweepStore,
    mark: tuple[str, str],
    attempts: Mapping[str, Mapping[int, Names]],
    states: Mapping[tuple[str, int], Ended | None],
) -> bool:
    """Whether no attempt that may be alive can have made the mark. A claim that cannot be read may be its."""
    record_id, nonce = mark
    claimed = [(record_id, n) for n, names in attempts.get(record_id, {}).items() if "claim" in names]
    claims = read_claims(store.backend, claimed)
    holders = [attempt for attempt, claim in claims.items() if claim.nonce in (nonce, "")]
    return all(states.get(attempt) not in (None, "silent") for attempt in holders)
