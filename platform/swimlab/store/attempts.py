"""One try at one trial: files are written once, and nobody sees them until a record names them."""

import hashlib
import json
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
from swimlab.store.paths import checked_path
from swimlab.store.records import FileEntry

HEARTBEAT_INTERVAL_S = 5.0
COLLECTED = "collected.json"  # its files may be gone: it must not commit any more
DROPPED = "dropped.json"  # its checkpoint/ was not kept; the record still says what it was


def entry_of(data: bytes | Path) -> FileEntry:
    """Hash and size of bytes or of a local file (read in pieces)."""
    if isinstance(data, bytes):
        return FileEntry(sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
    with data.open("rb") as file:
        return FileEntry(sha256=hashlib.file_digest(file, "sha256").hexdigest(), size_bytes=data.stat().st_size)


def put_once(backend: Backend, path: str, data: bytes | Path) -> FileEntry:
    """Create-only write that forgives a repetition of itself (a PUT retried by the client is answered 412).

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
    """What `DROPPED` holds."""
    return json.dumps({"reason": reason, "at": datetime.now(UTC).isoformat(timespec="seconds")}, indent=1).encode()


def folder_of(trial_id: str, number: int) -> str:
    """Where an attempt's files lie."""
    return f"attempts/{trial_id}/{number}"


@dataclass
class Attempt:
    """A claim that was won. `number` counts the attempts at the trial and fences them; `files` is what was put so far
    (the record of the trial states it); `nonce` tells our own retried writes from other people's."""

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
        """State the files below a local folder without keeping them: the record has their hashes, and whoever asks for
        them is told why they are not there."""
        for path in sorted(path for path in local_dir.rglob("*") if path.is_file()):
            name = f"{prefix.rstrip('/')}/{path.relative_to(local_dir).as_posix()}"
            self.files[name] = entry_of(path)
        self.backend.create(f"{self.folder}/{DROPPED}", dropped_note(reason))

    def fail(self, error: str, kind: str) -> None:
        """Say why this attempt ended without a record; the trial may then be claimed again at once."""
        failure = {
            "error": error,
            "kind": kind,
            "attempt": self.number,
            "nonce": self.nonce,
            "failed_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        self.backend.create(f"{self.folder}/failure.json", json.dumps(failure, indent=1).encode())

    @contextmanager
    def heartbeat(self, interval_s: float = HEARTBEAT_INTERVAL_S) -> Iterator[Heartbeat]:
        """Keep the claim alive meanwhile; what the beat is told, watchers see. Commit inside; an exception on the way
        out gives the claim up at once."""
        beat = Heartbeat(self._write_beat, self.nonce, interval_s)
        beat.start()
        try:
            yield beat
        except BaseException:
            beat.stop(released=True)
            raise
        beat.stop(released=False)

    def progress_file(self, interval_s: float = HEARTBEAT_INTERVAL_S) -> ProgressFile:
        """For a worker, whose trial's process beats elsewhere and does not see its reports."""
        return ProgressFile(partial(self.backend.replace, f"{self.folder}/progress"), interval_s)

    def _write_beat(self, content: bytes) -> None:
        self.backend.replace(f"{self.folder}/heartbeat", content)
