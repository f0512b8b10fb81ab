"""The stored source of a trial, checked against its record before any of it is written to disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from swimlab.identity import source_archive
from swimlab.identity.source_archive import MOST_PACKED_BYTES
from swimlab.identity.source_closure import SOURCE_ROOT, IdentityError
from swimlab.store.errors import StoreError
from swimlab.store.paths import code_path
from swimlab.store.records import TrialRecord
from swimlab.store.sweep_store import SweepStore


@dataclass(frozen=True)
class StoredSource:
    """Where the source lies, its fingerprint, and path → content of its files."""

    uri: str
    fingerprint: str
    files: Mapping[str, bytes]

    def unpack(self, folder: Path) -> Path:
        """Writes the files into a folder, which must be empty. Returns it."""
        for name, data in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                file.write(data)
        return folder


def archive_digest(store: SweepStore, fingerprint: str) -> str | None:
    """Hash of the stored archive as it is now; None where there is none."""
    try:
        return source_archive.digest(store.read(code_path(fingerprint)))
    except FileNotFoundError:
        return None


def stored_source(store: SweepStore, record: TrialRecord) -> StoredSource:
    """The source that a trial ran. Raises StoreError when it is gone, or is not the one that the record names.

    The code fingerprint covers what modules compute, not their annotations, and no schemas. Therefore the archive must
    also be the one of the record's `source_sha256`; of a record without it, schemas must be those of this checkout.
    """
    path = code_path(record.code_fingerprint)
    uri = f"{store.uri}/{path}"
    try:
        with store.open(path) as file:
            packed = file.read(MOST_PACKED_BYTES + 1)
    except FileNotFoundError as error:
        raise StoreError(f"{uri} is gone: without its code the trial cannot be run again") from error
    try:
        if record.provenance.source_sha256 not in (None, source_archive.digest(packed)):
            raise IdentityError("its bytes are not those of the trial's commit")
        files = source_archive.members(packed)
        schemas = source_archive.uncovered(files, record.code_fingerprint)
        if record.provenance.source_sha256 is None:
            for name in sorted(schemas):
                ours = SOURCE_ROOT / name
                if not ours.is_file() or ours.read_bytes() != files[name]:
                    raise IdentityError(f"nothing in the record covers its {name}, and this checkout's is another")
    except IdentityError as error:
        raise StoreError(
            f"{uri} is not the source that trial {record.trial_id} ran ({error}), so it is not run: copy it back from "
            "a backup"
        ) from error
    return StoredSource(uri, record.code_fingerprint, files)
