"""Reads committed files (the files that a record names), each checked by its hash."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from swimlab.store.attempt_files import json_object
from swimlab.store.attempts import DROPPED, entry_of
from swimlab.store.backends.base import Backend
from swimlab.store.errors import StoreError
from swimlab.store.evaluation_records import EvaluationRecord
from swimlab.store.paths import checked_path, folder_of
from swimlab.store.records import TrialRecord


def read(backend: Backend, records: Iterable[TrialRecord | EvaluationRecord], name: str) -> list[bytes]:
    """The content of the file `name` of each record. Raises StoreError when one is missing or altered."""
    paths = {f"{record.folder}/{name}": record for record in records}
    contents = backend.read_many(list(paths))
    for path, record in paths.items():
        if path not in contents:
            raise _missing_file_error(backend, record, name)
        _check(backend, record, name, contents[path])
    return [contents[path] for path in paths]


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
            backend.fetch(f"{record.folder}/{name}", part)
        except FileNotFoundError as error:
            raise _missing_file_error(backend, record, name) from error
        _check(backend, record, name, part)
        os.replace(part, target)


def _check(backend: Backend, record: TrialRecord | EvaluationRecord, name: str, data: bytes | Path) -> None:
    entry = record.files[name]
    if (actual := entry_of(data)) != entry:
        raise StoreError(
            f"{backend.uri}/{record.folder}/{name}: sha256 is {actual.sha256}, the record says {entry.sha256}; the "
            f"file was altered after the commit: restore it or {_forget(record)}"
        )


def _missing_file_error(backend: Backend, record: TrialRecord | EvaluationRecord, name: str) -> StoreError:
    if isinstance(record, TrialRecord) and name.startswith("checkpoint/"):
        note_path = f"{record.folder}/{DROPPED}"
        if backend.exists(note_path):
            note = {"reason": "no reason can be read", "at": "at some time"}
            note |= json_object(f"{backend.uri}/{note_path}", backend.read(note_path))
            return StoreError(
                f"the checkpoint of trial {record.trial_id} was not kept ({note['reason']}, {note['at']}); the record "
                f"has the sha256 of its files. To get it again {_forget(record)}, with --keep-checkpoints all"
            )
    return StoreError(
        f"{backend.uri}/{record.folder}/{name} was committed and is missing; restore it or {_forget(record)}"
    )


def _forget(record: TrialRecord | EvaluationRecord) -> str:
    if isinstance(record, EvaluationRecord):
        target = record.target
        if not record.folder.startswith(f"{folder_of(target.trial_id, target.attempt)}/"):
            return f"delete {record.path} to evaluate the trial again"
        # Made with the training: the record alone would be copied from the trial's attempt again.
        return f"delete records/{target.trial_id}.json to run the trial again"
    return f"delete {record.path} to run the trial again"
