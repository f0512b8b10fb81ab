"""The sweep store: records, attempts and tables under one local folder or S3 prefix.

    records/<trial_id>.json            create-only; writing it is the commit
    evaluations/<evaluation_id>.json   likewise; counts while its target is the trial's record
    attempts/<id>/<n>/…                claim, heartbeat, files; write-once, invisible until a record names them
    recent/…                           a cache: a table of all records, marks of newer ones (`swimlab.store.snapshot`)
    tables/…                           a cache for other tools, rebuilt from records

Every backend needs only create-only writes, no compare-and-swap. When a create-only write is refused, the object is
read back: if it holds our own nonce, a retried PUT of ours had succeeded.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Literal
from uuid import uuid4

from swimlab.store import commit_marks, committed_files, evaluation_commits, listings, withdrawal
from swimlab.store.attempt_files import Claim, json_object, read_claims
from swimlab.store.attempts import COLLECTED, Attempt, put_dir_once
from swimlab.store.backends.patience import LONG_S, SHORT_S
from swimlab.store.backends.registry import backend_for
from swimlab.store.errors import StoreError
from swimlab.store.evaluation_records import EvaluationRecord, TrialResult, TrialTarget
from swimlab.store.leases import HeartbeatObserver, Owner, released
from swimlab.store.paths import checked_path, checked_trial_id, folder_of
from swimlab.store.record_kinds import EVALUATIONS, TRIALS, Record, RecordKind
from swimlab.store.records import FileEntry, TrialRecord
from swimlab.store.sealed_json import sealed

__all__ = ["Attempt", "StoreError", "SweepStore"]

DEAD_AFTER_S = 60.0
_FEW = 32  # ids that object storage reads at once; more of them may be missing, and a listing tells which
Ended = Literal["failed", "released", "gone", "silent", "collected"]


def reachable_store(uri: str) -> "SweepStore":
    """A patient store that has answered, for work of hours. Raises StoreError after seconds where it does not answer
    at the start: then the address is more likely wrong than the server down."""
    SweepStore(uri, patience_s=SHORT_S).exists("probes/first-contact")
    return SweepStore(uri)


class SweepStore:
    """Opening a store writes nothing; call `check_writable` before work that must be able to commit.

    `patience_s`: how long a call waits for a server that does not answer, see `swimlab.store.backends.patience`.
    `owner` and `clock` replace this process and the monotonic clock in tests.
    """

    def __init__(
        self,
        uri: str,
        *,
        dead_after_s: float = DEAD_AFTER_S,
        patience_s: float = LONG_S,
        owner: Owner | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.backend = backend_for(uri, patience_s)
        self.uri = self.backend.uri
        self._observer = HeartbeatObserver(dead_after_s, clock)
        self._owner = owner
        self._patience_s = patience_s

    def __reduce__(self) -> tuple[Callable[[str], "SweepStore"], tuple[str]]:
        """Pickled as its URI: another process opens its own connection."""
        return (partial(SweepStore, dead_after_s=self.dead_after_s, patience_s=self._patience_s), (self.uri,))

    @property
    def dead_after_s(self) -> float:
        """How long a heartbeat may stay the same before its attempt counts as dead."""
        return self._observer.dead_after_s

    def check_writable(self) -> None:
        """Check that a file can be created, and cannot be created twice. Raises StoreError saying what to do."""
        probe, first = f"probes/{uuid4().hex}", uuid4().hex.encode()
        # Refused, and ours all the same, where the answer to the write was lost and it was sent again.
        if not self.backend.create(probe, first) and self._read_or_none(probe) != first:
            raise StoreError(
                f"store {self.uri}: a new name was refused as taken; check the endpoint's conditional writes"
            )
        try:
            if self.backend.create(probe, b"second") or self._read_or_none(probe) != first:
                raise StoreError(
                    f"store {self.uri} overwrites on create-only writes (If-None-Match: * is ignored), so two trials "
                    "could commit over each other; use AWS S3, a server that honours it, or a local folder"
                )
        finally:
            self.backend.delete(probe)

    def _read_or_none(self, path: str) -> bytes | None:
        try:
            return self.backend.read(path)
        except FileNotFoundError:
            return None

    # Records

    def record(self, trial_id: str) -> TrialRecord | None:
        """The committed result of a trial. Raises StoreError for a record that cannot be read."""
        return TRIALS.read(self.backend, [trial_id]).get(trial_id)

    def records(self, trial_ids: Iterable[str] | None = None) -> dict[str, TrialRecord]:
        """The committed results, all or those among `trial_ids`, by one flat listing; a few are read without it."""
        return self._selected(TRIALS, trial_ids)

    def trial_ids(self) -> set[str]:
        """The ids of all committed trials, by one flat listing."""
        return TRIALS.ids(self.backend)

    def read_records(self, trial_ids: Iterable[str]) -> dict[str, TrialRecord]:
        """The records of these trials, without a listing; missing ones are left out."""
        return TRIALS.read(self.backend, trial_ids)

    def evaluations(self, evaluation_ids: Iterable[str] | None = None) -> dict[str, EvaluationRecord]:
        """The evaluation records, all or those among `evaluation_ids`, like `records`; also those of weights that their
        trial no longer has. Raises StoreError for a record that cannot be read."""
        return self._selected(EVALUATIONS, evaluation_ids)

    def read_evaluations(self, evaluation_ids: Iterable[str]) -> dict[str, EvaluationRecord]:
        """These evaluation records, without a listing; missing ones are left out."""
        return EVALUATIONS.read(self.backend, evaluation_ids)

    def _selected(self, kind: RecordKind[Record], record_ids: Iterable[str] | None) -> dict[str, Record]:
        if record_ids is None:
            return kind.read(self.backend, kind.ids(self.backend))
        selected = {checked_trial_id(record_id) for record_id in record_ids}
        return kind.read(self.backend, selected if len(selected) <= _FEW else selected & kind.ids(self.backend))

    def results(self, wanted: Mapping[str, Iterable[str]]) -> dict[str, TrialResult]:
        """trial_id → the committed trial with those of the evaluations named for it that exist and are of its
        weights, in that order."""
        records = self.records(wanted)
        named = {trial_id: list(wanted[trial_id]) for trial_id in records}
        evaluations = self.evaluations(name for names in named.values() for name in names)
        return {
            trial_id: TrialResult.of(
                record, [e for e in map(evaluations.get, named[trial_id]) if e is not None and e.fits(record)]
            )
            for trial_id, record in records.items()
        }

    # Attempts

    def claim(self, work_id: str, target: TrialTarget | None = None) -> Attempt | None:
        """The right to run a trial, or, with `target`, an evaluation of those weights. None when it has a record (of an
        evaluation: one of this target), or a process that may be alive holds it."""
        if self._is_done(work_id, target):
            return None
        latest = self._latest(work_id)
        if latest and self.ended(work_id, latest) is None:
            return None
        attempt = Attempt(self.backend, work_id, latest + 1, uuid4().hex)
        owner = self._owner or Owner.current()
        content = Claim(
            nonce=attempt.nonce,
            owner=owner,
            target=None if target is None else target.model_dump(),
            work_id=work_id,
            number=attempt.number,
        )
        data = sealed(content.model_dump(mode="json", exclude_none=True))
        if (
            not self.backend.create(f"{attempt.folder}/claim", data)
            and self._claim(work_id, attempt.number).nonce != attempt.nonce
        ):
            return None
        # The previous owner may have committed between the check and the claim.
        return None if self._is_done(work_id, target) else attempt

    def is_claimed(self, work_id: str, target: TrialTarget | None = None) -> bool:
        """Whether a process that may be alive holds the trial or the evaluation. False when it has a record or can be
        claimed."""
        if self._is_done(work_id, target):
            return False
        latest = self._latest(work_id)
        return latest > 0 and self.ended(work_id, latest) is None

    def commit(self, attempt: Attempt, record: TrialRecord) -> bool:
        """Make an attempt the trial's result. False if another attempt committed first. Raises StoreError for a record
        that does not describe this attempt and the files it put, and when garbage collection has collected the
        attempt."""
        _check_describes(attempt, record, record.trial_id)
        mark = commit_marks.mark(self.backend, TRIALS, attempt.trial_id, attempt.nonce)
        if not self.backend.create(record.path, record.to_json()):
            winner = self.record(attempt.trial_id)
            if winner is None or winner.nonce != attempt.nonce:
                self.backend.delete(mark)
                return False
        withdrawal.confirm(self.backend, TRIALS, record)
        return True

    def commit_evaluation(self, attempt: Attempt, record: EvaluationRecord) -> bool:
        """Make an attempt the result of an evaluation. False if another attempt committed first, or if the trial has
        been deleted or trained again since. Raises StoreError like `commit`."""
        _check_describes(attempt, record, record.evaluation_id)
        winner = evaluation_commits.put(self.backend, record, record.to_json())
        if winner is None or winner.nonce != attempt.nonce:
            return False
        withdrawal.confirm(self.backend, EVALUATIONS, record)
        return True

    def publish(self, record: TrialRecord, evaluation_id: str) -> EvaluationRecord | None:
        """See `evaluation_commits.publish`: an evaluation that was made with the training, in the store from now on."""
        return evaluation_commits.publish(self.backend, record, evaluation_id)

    def failures(self, work_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Why the latest attempt failed (`error`, `kind`, `attempt`, `failed_at`), for trials without a record and
        evaluations without one of the trial's weights."""
        ids = list(work_ids)
        done: set[str] = {*self.records(ids), *evaluation_commits.fitting(self.backend, self.evaluations(ids))}
        failed = {}
        for work_id in (name for name in ids if name not in done):
            path = f"{folder_of(work_id, self._latest(work_id))}/failure.json"
            if self.backend.exists(path):
                unknown = {"error": f"{path} is damaged", "kind": "unknown", "attempt": int(path.split("/")[2])}
                content = json_object(f"{self.uri}/{path}", self.backend.read(path))
                failed[work_id] = unknown | {"failed_at": ""} | content
        return failed

    # Files

    def open_file(self, trial_id: str, name: str) -> bytes:
        """A committed file. Raises StoreError when there is none, or when its content is not what was committed."""
        record = self._committed(trial_id)
        if name not in record.files:
            raise StoreError(f"trial {trial_id} committed no file {name!r}; it has {', '.join(sorted(record.files))}")
        return self.files_of([record], name)[0]

    def evaluation_file(self, evaluation: EvaluationRecord, name: str) -> bytes:
        """A file of an evaluation. Raises StoreError like `open_file`."""
        if name not in evaluation.files:
            has = ", ".join(sorted(evaluation.files))
            raise StoreError(f"evaluation {evaluation.evaluation_id} has no file {name!r}; it has {has}")
        return self.files_of([evaluation], name)[0]

    def files_of(self, records: Iterable[TrialRecord | EvaluationRecord], name: str) -> list[bytes]:
        """A file that all these records name, of each, read together. Raises StoreError like `open_file`."""
        return committed_files.read(self.backend, records, name)

    def download(self, trial_id: str, prefix: str, dest: Path) -> Path:
        """Committed files under `prefix` (e.g. "checkpoint/") into `dest`, without the prefix; returns `dest`. Raises
        StoreError like `open_file`, and for a checkpoint that was not kept."""
        committed_files.download(self.backend, self._committed(trial_id), prefix, dest)
        return dest

    def put_create_only(self, path: str, data: bytes) -> bool:
        """Write a new file. False when the path exists, whatever its content."""
        return self.backend.create(checked_path(path), data)

    def put_dir(self, local_dir: Path, path: str) -> dict[str, FileEntry]:
        """Every file below a local folder, create-only; an existing file must be equal (else StoreError)."""
        return put_dir_once(self.backend, local_dir, checked_path(path.rstrip("/")))

    def exists(self, path: str) -> bool:
        """Whether there is a file (not a folder) at this path."""
        return self.backend.exists(checked_path(path))

    def read(self, path: str) -> bytes:
        """Any file of the store. Raises FileNotFoundError."""
        return self.backend.read(checked_path(path))

    def open(self, path: str) -> BinaryIO:
        """Any file of the store, opened for reading; it can seek. Raises FileNotFoundError."""
        return self.backend.open(checked_path(path))

    def list_files(self, path: str) -> list[str]:
        """Every file below a folder, sorted, relative to the store."""
        return listings.files(self.backend, checked_path(path.rstrip("/")))

    def _committed(self, trial_id: str) -> TrialRecord:
        if (record := self.record(trial_id)) is None:
            raise StoreError(f"trial {trial_id} has no record in {self.uri}; run it first")
        return record

    def _is_done(self, work_id: str, target: TrialTarget | None) -> bool:
        if target is None:
            return self.backend.exists(TRIALS.path(work_id))
        evaluation = self.read_evaluations([work_id]).get(work_id)
        return evaluation is not None and evaluation.target == target

    def _latest(self, work_id: str) -> int:
        folder = f"attempts/{checked_trial_id(work_id)}"
        claims = [path.split("/") for path in listings.files(self.backend, folder)]
        return max((int(parts[2]) for parts in claims if len(parts) == 4 and parts[3] == "claim"), default=0)

    def ended(self, work_id: str, number: int) -> Ended | None:
        """How an attempt ended: it failed, was released, its process has exited, or its heartbeat did not change for
        `dead_after_s` while this store watched it. None while it may be alive."""
        folder = folder_of(checked_trial_id(work_id), number)
        if self.backend.exists(f"{folder}/failure.json"):
            return "failed"
        try:
            beat = self.backend.read(f"{folder}/heartbeat")
        except FileNotFoundError:
            beat = None
        if released(beat):
            return "released"
        if self._claim(work_id, number).owner.has_exited(self._owner or Owner.current()):
            return "gone"
        return "silent" if self._observer.is_dead(folder, beat, self.backend.unreachable_s) else None

    def _claim(self, work_id: str, number: int) -> Claim:
        return read_claims(self.backend, [(work_id, number)]).get((work_id, number), Claim())


def _check_describes(attempt: Attempt, record: TrialRecord | EvaluationRecord, record_id: str) -> None:
    stated = (record_id, record.attempt, record.nonce)
    if stated != (attempt.trial_id, attempt.number, attempt.nonce) or record.folder != attempt.folder:
        raise StoreError(f"the record is of attempt {stated}, committed by {attempt.folder} ({attempt.nonce})")
    if unknown := sorted(name for name, entry in record.files.items() if attempt.files.get(name) != entry):
        raise StoreError(f"the record of {attempt.folder} names files that it did not put: {', '.join(unknown)}")
    if attempt.backend.exists(f"{attempt.folder}/{COLLECTED}"):
        raise withdrawal.collected_error(attempt.folder)
