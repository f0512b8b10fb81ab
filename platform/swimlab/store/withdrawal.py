"""Takes back a record whose attempt was garbage-collected while it was being committed.

Garbage collection writes an attempt's `collected.json`, then looks for a record, and deletes the attempt's files only
when there is none. A commit writes the record, then looks for `collected.json`. So at least one of the two sees the
other, however long either pauses in between; a commit that sees the note cannot tell whether its files will stay.
"""

from __future__ import annotations

import json

from swimlab.store.attempts import COLLECTED, WITHDRAWN
from swimlab.store.backends.base import Backend
from swimlab.store.commit_marks import mark_path
from swimlab.store.errors import StoreError
from swimlab.store.provenance import utc_now
from swimlab.store.record_kinds import Record, RecordKind


def withdraw(backend: Backend, kind: RecordKind[Record], record: Record) -> None:
    """Delete a record and its mark, unless the record has been replaced by another attempt's. Only one process does it:
    of two, the slower could delete what another attempt has committed meanwhile."""
    if not backend.create(f"{record.folder}/{WITHDRAWN}", json.dumps({"at": utc_now()}).encode()):
        return
    current = kind.read(backend, [kind.id_of(record)]).get(kind.id_of(record))
    if current is not None and current.nonce == record.nonce:
        backend.delete(kind.path(kind.id_of(record)))
        backend.delete(mark_path(kind, kind.id_of(record), record.nonce))


def confirm(backend: Backend, kind: RecordKind[Record], record: Record) -> None:
    """The last step of a commit. Withdraws the record and raises StoreError when its attempt was collected."""
    if backend.exists(f"{record.folder}/{COLLECTED}"):
        withdraw(backend, kind, record)
        raise collected_error(record.folder)


def collected_error(folder: str) -> StoreError:
    """The error of a commit of an attempt that was collected."""
    return StoreError(f"{folder} had no heartbeat for so long that its files were garbage-collected; run it again")
