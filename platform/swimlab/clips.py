"""Decoded clips in the store: what a committed data set consists of, and how trials read it. Imports no Ray.

    clips/<fingerprint>/manifest.json                  create-only; writing it IS the commit, and it names all the rest
    clips/<fingerprint>/<split>/part-<n>-<sha>.parquet decoded clips
    clips/<fingerprint>/quarantine-<sha>.parquet       the rows left out: file, row, key, field, reason, hint

Files are named by their content: drivers that do the same work twice, even with different versions, never mix.
"""

from __future__ import annotations

import hashlib
from typing import Literal, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from swim.data.types import Clip
from swim.recipe import Frozen

Split = Literal["train", "held_out"]

CLIP_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("turns", pa.string()),
        ("frames", pa.large_binary()),
        ("shape", pa.list_(pa.int64())),
        ("frame_indices", pa.list_(pa.int64())),
        ("fps", pa.float64()),
        ("masks", pa.string()),
    ]
)
QUARANTINE_SCHEMA = pa.schema(
    [
        ("split", pa.string()),
        ("file", pa.string()),
        ("row", pa.int64()),
        ("key", pa.string()),
        ("field", pa.string()),
        ("reason", pa.string()),
        ("hint", pa.string()),
    ]
)


class PipelineError(Exception):
    """The data set as a whole cannot be prepared or read. Says why and what to do."""


class Store(Protocol):
    """What this module needs of a sweep store. It travels to tasks, so it must pickle."""

    @property
    def uri(self) -> str: ...
    def put_create_only(self, path: str, data: bytes) -> bool: ...
    def exists(self, path: str) -> bool: ...
    def read(self, path: str) -> bytes: ...


class StoredTable(Frozen):
    """A Parquet file of the store: its path under clips/<fingerprint>/, and what it must contain."""

    name: str
    rows: int
    size_bytes: int
    sha256: str


class PreparedData(Frozen):
    """A committed data set, as its manifest says. `held_out` names the split that evaluation scores: "train" when the
    user gave no held-out annotations. `quarantined` counts rows by reason, numbers and quoted names left out."""

    schema_version: Literal[1] = 1
    fingerprint: str
    splits: dict[Split, tuple[StoredTable, ...]]
    held_out: Split
    quarantine: StoredTable
    quarantined: dict[str, int]

    def rows(self, split: Split) -> int:
        """Number of clips that `load_clips` returns for a split."""
        return sum(table.rows for table in self.splits[self._source(split)])

    def _source(self, split: Split) -> Split:
        return self.held_out if split == "held_out" else split


def load_prepared(store: Store, fingerprint: str) -> PreparedData | None:
    """The committed data set, or None when it is still to be prepared."""
    path = f"{folder(fingerprint)}/manifest.json"
    return PreparedData.model_validate_json(store.read(path)) if store.exists(path) else None


def load_clips(store: Store, prepared: PreparedData, split: Split) -> list[Clip]:
    """All clips of a split, sorted by key. Raises PipelineError when a file is not what was committed."""
    found = []
    for stored in prepared.splits[prepared._source(split)]:
        table = _read_table(store, prepared.fingerprint, stored)
        # Frames stay views of Arrow's few large buffers: thousands of copies would fragment the heap.
        rows = table.drop_columns(["frames"]).to_pylist()
        found += [
            Clip.from_row(row | {"frames": frames.as_buffer()})
            for row, frames in zip(rows, table["frames"], strict=True)
        ]
    return found


def load_quarantine(store: Store, prepared: PreparedData) -> pa.Table:
    """The rows left out, with split, file, row, key, field, reason and hint."""
    return _read_table(store, prepared.fingerprint, prepared.quarantine)


def folder(fingerprint: str) -> str:
    """Where a data set lies in the store."""
    return f"clips/{fingerprint}"


def written(table: pa.Table, stem: str) -> tuple[StoredTable, bytes]:
    """Parquet bytes and their description: no time, no host, so that equal rows give equal bytes."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", use_dictionary=False, write_statistics=False)
    content: bytes = sink.getvalue().to_pybytes()
    digest = hashlib.sha256(content).hexdigest()
    name = f"{stem}-{digest[:12]}.parquet"
    return StoredTable(name=name, rows=table.num_rows, size_bytes=len(content), sha256=digest), content


def _read_table(store: Store, fingerprint: str, table: StoredTable) -> pa.Table:
    path = f"{folder(fingerprint)}/{table.name}"
    try:
        content = store.read(path)
    except FileNotFoundError:
        content = b""
    if hashlib.sha256(content).hexdigest() != table.sha256:
        raise PipelineError(
            f"{path} is missing or not what was committed: delete {folder(fingerprint)}/ in {store.uri} and run again"
        )
    return pq.read_table(pa.BufferReader(content))
