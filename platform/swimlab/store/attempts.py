"""One attempt to run a trial or an evaluation: its files are written once, and visible to readers once a record names
them."""

import hashlib
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from swimlab.store.backends.base import Backend
from swimlab.store.errors import StoreError
from swimlab.store.leases import Heartbeat
from swimlab.store.live_progress import ProgressFile
from swimlab.store.paths import checked_path, folder_of
from swimlab.store.records import FileEntry
from swimlab.store.sealed_json import sealed

_log = logging.getLogger(__name__)

HEARTBEAT_INTERVAL_S = 5.0
COLLECTED = "collected.json"  # marks an attempt whose files may have been deleted: it can no longer commit
WITHDRAWN = "withdrawn.json"  # marks an attempt whose record, written after that, somebody removes
DROPPED = "dropped.json"  # marks an attempt whose checkpoint/ was not kept; the record has its hashes


def entry_of(data: bytes | Path) -> FileEntry:
    """Hash and size of bytes or of a local file (read in pieces)."""
    if isinstance(data, bytes):
        return FileEntry(sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
    with data.open("rb") as file:
        return FileEntry(sha256=hashlib.file_digest(file, "sha256").hexdigest(), size_bytes=data.stat().st_size)


def put_once(backend: Backend, path: str, data: bytes | Path) -> FileEntry:
    """Create-only write that may be repeated with the same content (a PUT that the client retries is answered 412).

    Raises StoreError when the path already holds something else.
    """
    entry = entry_of(data)
    if not backend.create(path, data) and entry_of(backend.read(path)) != entry:
        raise StoreError(f"{backend.uri}/{path} was already written with other content; files here are written once")
    return entry


def put_dir_once(backend: Backend, local_dir: Path, folder: str) -> dict[str, FileEntry]:
    """`put_once` for every file below a local folder; keys are relative to that folder.

    Raises StoreError when the folder holds no file.
    """
    local = sorted(path for path in local_dir.rglob("*") if path.is_file())
    if not local:
        raise StoreError(f"{local_dir} holds no files to store under {folder!r}")
    names = {path.relative_to(local_dir).as_posix(): path for path in local}
    return {name: put_once(backend, checked_path(f"{folder}/{name}"), path) for name, path in names.items()}


def dropped_note(reason: str) -> bytes:
    """The content of the `DROPPED` file."""
    return sealed({"reason": reason, "at": datetime.now(UTC).isoformat(timespec="seconds")})


@dataclass
class Attempt:
    """A successful claim. `trial_id` is the id of what is run: a trial, or an evaluation that is made later; `number`
    counts the attempts at it and orders them; `files` are the files put so far, which the record lists; `nonce` tells
    our own retried writes from those of other processes."""

    backend: Backend
    trial_id: str
    number: int
    nonce: str
    files: dict[str, FileEntry] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        return folder_of(self.trial_id, self.number)

    def put(self, name: str, data: bytes | Path) -> FileEntry:
        """Write a file of this attempt, once. Raises StoreError for a bad name or other content under the name."""
        self.files[name] = put_once(self.backend, checked_path(f"{self.folder}/{name}"), data)
        return self.files[name]

    def put_dir(self, local_dir: Path, prefix: str) -> dict[str, FileEntry]:
        """Write every file below a local folder under `prefix`, e.g. "checkpoint"."""
        prefix = prefix.rstrip("/")
        entries: Mapping[str, FileEntry] = put_dir_once(self.backend, local_dir, f"{self.folder}/{prefix}")
        added = {f"{prefix}/{name}": entry for name, entry in entries.items()}
        self.files.update(added)
        return added

    def record_without_storing(self, local_dir: Path, prefix: str, reason: str) -> None:
        """List the files below a local folder without storing them: the record has their hashes, and `DROPPED` has the
        reason, which a later download reports."""
        for path in sorted(path for path in local_dir.rglob("*") if path.is_file()):
            name = f"{prefix.rstrip('/')}/{path.relative_to(local_dir).as_posix()}"
            self.files[name] = entry_of(path)
        self.backend.create(f"{self.folder}/{DROPPED}", dropped_note(reason))

    def fail(self, error: str, kind: str) -> None:
        """Record why this attempt ended without a result. The trial can be claimed again at once."""
        failure = {
            "error": error,
            "kind": kind,
            "attempt": self.number,
            "nonce": self.nonce,
            "failed_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        self.backend.create(f"{self.folder}/failure.json", sealed(failure))

    @contextmanager
    def heartbeat(self, interval_s: float = HEARTBEAT_INTERVAL_S) -> Iterator[Heartbeat]:
        """Keep the claim alive inside the `with` block; monitors read the progress from the heartbeat. Commit inside
        the block. An exception releases the claim at once."""
        beat = Heartbeat(self._write_beat, self.nonce, interval_s)
        beat.start()
        try:
            yield beat
        except BaseException:
            try:
                beat.stop(released=True)
            except StoreError as error:  # the claim then lapses like that of a dead process
                _log.warning("%s not released: %s", self.folder, error)
            raise
        beat.stop(released=False)

    def progress_file(self, interval_s: float = HEARTBEAT_INTERVAL_S) -> ProgressFile:
        """For a worker process: the heartbeat runs in the trial's driver, which does not see the worker's reports."""
        return ProgressFile(partial(self.backend.replace, f"{self.folder}/progress"), interval_s)

    def _write_beat(self, content: bytes) -> None:
        self.backend.replace(f"{self.folder}/heartbeat", content)
