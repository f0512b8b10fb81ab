"""Reads committed files (the files that a record names), each checked by its hash."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from swimlab.store.attempts import DROPPED, entry_of, folder_of
from swimlab.store.backends.base import Backend
from swimlab.store.errors import StoreError
from swimlab.store.paths import checked_path
from swimlab.store.records import TrialRecord


def read(backend: Backend, records: Iterable[TrialRecord], name: str) -> dict[str, bytes]:
    """trial_id → content of the file `name` of each record. Raises StoreError when one is missing or altered."""
    paths = {f"{folder_of(record.trial_id, record.attempt)}/{name}": record for record in records}
    contents = backend.read_many(list(paths))
    for path, record in paths.items():
        if path not in contents:
            raise _missing_file_error(backend, record, name)
        _check(backend, record, name, contents[path])
    return {record.trial_id: contents[path] for path, record in paths.items()}


def download(backend: Backend, record: TrialRecord, prefix: str, dest: Path) -> None:
    """The files under `prefix` into `dest`, without the prefix. Raises StoreError when there is none, or when one is
    missing or altered."""
    prefix = prefix.rstrip("/") + "/"
    if not (names := [name for name in record.files if name.startswith(prefix)]):
        has = ", ".join(record.files)
        raise StoreError(f"trial {record.trial_id} committed nothing under {prefix!r}; it has {has}")
    for name in names:
        target = dest / checked_path(name.removeprefix(prefix))
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(target.name + ".part")
        try:
            backend.fetch(f"{folder_of(record.trial_id, record.attempt)}/{name}", part)
        except FileNotFoundError as error:
            raise _missing_file_error(backend, record, name) from error
        _check(backend, record, name, part)
        os.replace(part, target)


def _check(backend: Backend, record: TrialRecord, name: str, data: bytes | Path) -> None:
    entry = record.files[name]
    if (actual := entry_of(data)) != entry:
        raise StoreError(
            f"{backend.uri}/{folder_of(record.trial_id, record.attempt)}/{name}: sha256 is {actual.sha256}, the record "
            f"says {entry.sha256}; the file was altered after the commit: restore it or {_forget(record)}"
        )


def _missing_file_error(backend: Backend, record: TrialRecord, name: str) -> StoreError:
    folder = folder_of(record.trial_id, record.attempt)
    if name.startswith("checkpoint/") and backend.exists(f"{folder}/{DROPPED}"):
        note = json.loads(backend.read(f"{folder}/{DROPPED}"))
        return StoreError(
            f"the checkpoint of trial {record.trial_id} was not kept ({note['reason']}, {note['at']}); the record has "
            f"the sha256 of its files. To get it again {_forget(record)}, with --keep-checkpoints all"
        )
    return StoreError(f"{backend.uri}/{folder}/{name} was committed and is missing; restore it or {_forget(record)}")


def _forget(record: TrialRecord) -> str:
    return f"delete records/{record.trial_id}.json to run the trial again"
