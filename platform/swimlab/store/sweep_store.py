"""The sweep store: records, attempts and tables under one local folder or S3 prefix.

    records/<trial_id>.json        create-only; writing it is the commit
    attempts/<trial_id>/<n>/…      claim, heartbeat, files; write-once, invisible until a record names them
    recent/…                       a cache: a table of all records, and marks of newer ones (`swimlab.store.snapshot`)
    tables/…                       a cache for other tools, rebuilt from records

Every backend needs only create-only writes, no compare-and-swap. When a create-only write is refused, the object is
read back: if it holds our own nonce, a retried PUT of ours had succeeded.
"""

import json
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Literal
from uuid import uuid4

from swimlab.store import commit_marks, committed_files
from swimlab.store.attempts import COLLECTED, Attempt, folder_of, put_dir_once
from swimlab.store.backends.registry import backend_for
from swimlab.store.errors import StoreError
from swimlab.store.leases import HeartbeatObserver, Owner, released
from swimlab.store.paths import checked_path, checked_trial_id
from swimlab.store.records import FileEntry, TrialRecord, read_record

__all__ = ["Attempt", "StoreError", "SweepStore"]

DEAD_AFTER_S = 60.0
Ended = Literal["failed", "released", "gone", "silent", "collected"]


class SweepStore:
    """Opening a store writes nothing; call `check_writable` before work that must be able to commit.

    `owner` and `clock` replace this process and the monotonic clock in tests.
    """

    def __init__(
        self,
        uri: str,
        *,
        dead_after_s: float = DEAD_AFTER_S,
        owner: Owner | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.backend = backend_for(uri)
        self.uri = self.backend.uri
        self._observer = HeartbeatObserver(dead_after_s, clock)
        self._owner = owner

    def __reduce__(self) -> tuple[Callable[[str], "SweepStore"], tuple[str]]:
        """Pickled as its URI: another process opens its own connection."""
        return (partial(SweepStore, dead_after_s=self.dead_after_s), (self.uri,))

    @property
    def dead_after_s(self) -> float:
        """How long a heartbeat may stay the same before its attempt counts as dead."""
        return self._observer.dead_after_s

    def check_writable(self) -> None:
        """Check that a file can be created, and cannot be created twice. Raises StoreError saying what to do."""
        probe = f"probes/{uuid4().hex}"
        if not self.backend.create(probe, b"first"):
            raise StoreError(
                f"store {self.uri}: a new name was refused as taken; check the endpoint's conditional writes"
            )
        try:
            if self.backend.create(probe, b"second"):
                raise StoreError(
                    f"store {self.uri} overwrites on create-only writes (If-None-Match: * is ignored), so two trials "
                    "could commit over each other; use AWS S3, a server that honours it, or a local folder"
                )
        finally:
            self.backend.delete(probe)

    # Records

    def record(self, trial_id: str) -> TrialRecord | None:
        """The committed result of a trial. Raises StoreError for a record that cannot be read."""
        path = _record_path(trial_id)
        try:
            return _parsed(f"{self.uri}/{path}", self.backend.read(path))
        except FileNotFoundError:
            return None

    def records(self, trial_ids: Iterable[str] | None = None) -> dict[str, TrialRecord]:
        """The committed results, all or those among `trial_ids`, by one flat listing."""
        selected = None if trial_ids is None else {checked_trial_id(trial_id) for trial_id in trial_ids}
        return self.read_records(trial_id for trial_id in self.trial_ids() if selected is None or trial_id in selected)

    def trial_ids(self) -> set[str]:
        """The ids of all committed trials, by one flat listing."""
        return {PurePosixPath(path).stem for path in self.backend.files("records") if path.endswith(".json")}

    def read_records(self, trial_ids: Iterable[str]) -> dict[str, TrialRecord]:
        """The records of these trials, without a listing; missing ones are left out."""
        contents = self.backend.read_many([_record_path(trial_id) for trial_id in sorted(trial_ids)])
        parsed = [_parsed(f"{self.uri}/{path}", data) for path, data in contents.items()]
        return {record.trial_id: record for record in parsed}

    def claim(self, trial_id: str) -> Attempt | None:
        """The right to run a trial; None when it has a record, or a process that may be alive holds it."""
        record_path = _record_path(trial_id)
        if self.backend.exists(record_path):
            return None
        latest = self._latest(trial_id)
        if latest and self.ended(trial_id, latest) is None:
            return None
        attempt = Attempt(self.backend, trial_id, latest + 1, uuid4().hex)
        owner = self._owner or Owner.current()
        content = json.dumps({"nonce": attempt.nonce, "owner": owner.model_dump()}).encode()
        path = f"{attempt.folder}/claim"
        if not self.backend.create(path, content) and self._json(path)["nonce"] != attempt.nonce:
            return None
        # The previous owner may have committed between the check and the claim.
        return None if self.backend.exists(record_path) else attempt

    def is_claimed(self, trial_id: str) -> bool:
        """Whether a process that may be alive holds the trial. False when it has a record or can be claimed."""
        if self.backend.exists(_record_path(trial_id)):
            return False
        latest = self._latest(trial_id)
        return latest > 0 and self.ended(trial_id, latest) is None

    def commit(self, attempt: Attempt, record: TrialRecord) -> bool:
        """Make an attempt the trial's result. False if another attempt committed first. Raises StoreError for a record
        that does not describe this attempt and the files it put, and when garbage collection has collected the
        attempt."""
        stated = (record.trial_id, record.attempt, record.nonce)
        if stated != (attempt.trial_id, attempt.number, attempt.nonce):
            raise StoreError(f"the record is of attempt {stated}, committed by {attempt.folder} ({attempt.nonce})")
        if unknown := sorted(name for name, entry in record.files.items() if attempt.files.get(name) != entry):
            raise StoreError(f"the record of {attempt.folder} names files that it did not put: {', '.join(unknown)}")
        if self.backend.exists(f"{attempt.folder}/{COLLECTED}"):
            raise StoreError(
                f"{attempt.folder} had no heartbeat for so long that its files were garbage-collected; run it again"
            )
        mark = commit_marks.mark(self.backend, attempt.trial_id, attempt.nonce)
        if self.backend.create(_record_path(attempt.trial_id), record.model_dump_json(indent=1).encode()):
            return True
        winner = self.record(attempt.trial_id)
        if winner is not None and winner.nonce == attempt.nonce:
            return True
        self.backend.delete(mark)
        return False

    def failures(self, trial_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Why the latest attempt failed (`error`, `kind`, `attempt`, `failed_at`), for trials without a record."""
        ids = list(trial_ids)
        done = self.records(ids)
        failed = {}
        for trial_id in (t for t in ids if t not in done):
            path = f"{folder_of(trial_id, self._latest(trial_id))}/failure.json"
            if self.backend.exists(path):
                failed[trial_id] = self._json(path)
        return failed

    # Files

    def open_file(self, trial_id: str, name: str) -> bytes:
        """A committed file. Raises StoreError when there is none, or when its content is not what was committed."""
        record = self._committed(trial_id)
        if name not in record.files:
            raise StoreError(f"trial {trial_id} committed no file {name!r}; it has {', '.join(sorted(record.files))}")
        return self.files_of([record], name)[trial_id]

    def files_of(self, records: Iterable[TrialRecord], name: str) -> dict[str, bytes]:
        """trial_id → a file that all these records name, read together. Raises StoreError like `open_file`."""
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
        return self.backend.files(checked_path(path.rstrip("/")))

    def _committed(self, trial_id: str) -> TrialRecord:
        if (record := self.record(trial_id)) is None:
            raise StoreError(f"trial {trial_id} has no record in {self.uri}; run it first")
        return record

    def _latest(self, trial_id: str) -> int:
        folder = f"attempts/{checked_trial_id(trial_id)}"
        claims = [path.split("/") for path in self.backend.files(folder)]
        return max((int(parts[2]) for parts in claims if len(parts) == 4 and parts[3] == "claim"), default=0)

    def ended(self, trial_id: str, number: int) -> Ended | None:
        """How an attempt ended: it failed, was released, its process has exited, or its heartbeat did not change for
        `dead_after_s` while this store watched it. None while it may be alive."""
        folder = folder_of(checked_trial_id(trial_id), number)
        if self.backend.exists(f"{folder}/failure.json"):
            return "failed"
        try:
            beat = self.backend.read(f"{folder}/heartbeat")
        except FileNotFoundError:
            beat = None
        if released(beat):
            return "released"
        holder = Owner.model_validate(self._json(f"{folder}/claim")["owner"])
        if holder.has_exited(self._owner or Owner.current()):
            return "gone"
        return "silent" if self._observer.is_dead(folder, beat) else None

    def _json(self, path: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.backend.read(path))
        return content


def _record_path(trial_id: str) -> str:
    return f"records/{checked_trial_id(trial_id)}.json"


def _parsed(location: str, data: bytes) -> TrialRecord:
    try:
        return read_record(data)
    except ValueError as error:
        raise StoreError(f"{location} {error}") from error
