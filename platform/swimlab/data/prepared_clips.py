"""Decoded clips in the store: the files of a committed data set, and how trials read them. Imports no Ray.

    clips/<fingerprint>/manifest.json                  create-only, names all other files; writing it is the commit
    clips/<fingerprint>/<split>/part-<n>-<sha>.parquet decoded clips
    clips/<fingerprint>/<split>/done-<n>-<sha>.json    receipt of a finished part, which a later run skips
    clips/<fingerprint>/<split>-index-<sha>.parquet    key, file and position of every usable row, sorted by key
    clips/<fingerprint>/<split>/set-aside-<row>-<sha>  a row that the machine could not decode, and when
    clips/<fingerprint>/quarantine-<sha>.parquet       the rejected rows: file, row, key, field, reason, hint, machine

`checked/` holds the same without clips: which rows can be used, for trials that decode while they train. File names
contain a hash of the content, so that two drivers that prepare the same data never mix their files.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Literal

import pyarrow as pa

from swim.data.types import Clip
from swimlab.data.stored_tables import (
    ClipStore,
    PipelineError,
    StoredRows,
    StoredTable,
    encode_table,
    read_table,
)
from swimlab.identity.splits import Split
from swimlab.store.sealed_json import SealedModel

__all__ = [
    "CLIP_SCHEMA",
    "INDEX_SCHEMA",
    "QUARANTINE_SCHEMA",
    "ClipStore",
    "PipelineError",
    "PreparedData",
    "Split",
    "StoredClips",
    "StoredTable",
    "encode_table",
    "folder",
    "load_index",
    "load_prepared",
    "load_quarantine",
]

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
INDEX_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("file", pa.string()),
        ("row", pa.int64()),
        ("first", pa.int64()),
        ("rows", pa.int64()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("kind", pa.string()),
        ("encoding", pa.string()),
        ("packing", pa.string()),
        ("member", pa.string()),
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
        ("machine", pa.bool_()),
    ]
)


class PreparedData(SealedModel):
    """The manifest of a committed data set. `held_out` names the split that evaluation scores: "train" when the
    user gave no held-out annotations, "validation" in a data set of the clips that choose. `quarantined`
    counts rows by reason, numbers and quoted names left out. Where the clips were only checked, not `stored`, `splits`
    is empty."""

    schema_version: Literal[2] = 2
    fingerprint: str
    stored: bool
    splits: dict[Split, tuple[StoredTable, ...]]
    index: dict[Split, StoredTable]
    held_out: Split
    quarantine: StoredTable
    quarantined: dict[str, int]

    @property
    def folder(self) -> str:
        """Its folder in the store."""
        return folder(self.fingerprint, stored=self.stored)

    def rows(self, split: Split) -> int:
        """Number of clips of a split."""
        return self.index[self.source(split)].rows

    def memory_bytes(self, split: Split) -> int:
        """Size of the clips of a split in memory."""
        return sum(table.memory_bytes for table in self.splits[self.source(split)])

    def source(self, split: Split) -> Split:
        """The split that provides the clips of `split`."""
        return self.held_out if split == "held_out" else split


def folder(fingerprint: str, *, stored: bool = True) -> str:
    """The folder of a data set in the store."""
    return f"clips/{fingerprint}" if stored else f"clips/{fingerprint}/checked"


def load_prepared(store: ClipStore, fingerprint: str, *, stored: bool = True) -> PreparedData | None:
    """The committed data set, or None when it is not prepared yet. Raises PipelineError for a manifest that is damaged
    or of another data set."""
    place = folder(fingerprint, stored=stored)
    path = f"{place}/manifest.json"
    if not store.exists(path):
        return None
    remedy = f"delete {place}/ in {store.uri} and run again"
    try:
        prepared = PreparedData.from_json(store.read(path))
    except ValueError as error:
        raise PipelineError(f"{path} is not the manifest of a data set, or is damaged ({error}): {remedy}") from error
    if prepared.folder != place:
        raise PipelineError(f"{path} is the manifest of {prepared.folder}: it was copied or renamed; {remedy}")
    return prepared


class StoredClips:
    """The clips of a split (`swim.data.clips.Clips`): in memory if all fit into `HELD_BYTES`, else read from the
    store in the requested order, a few ahead. Raises PipelineError when the content of a file is not what was
    committed."""

    HELD_BYTES = 2 * 2**30
    AHEAD = 4

    def __init__(self, store: ClipStore, prepared: PreparedData, split: Split) -> None:
        self._tables = prepared.splits[prepared.source(split)]
        self._rows = StoredRows(store, prepared.folder, self._tables, self.HELD_BYTES)
        self.keys: list[str] = load_index(store, prepared, split)["key"].to_pylist()
        self._clips: list[Clip] | None = None

    def read(self, order: Iterable[int]) -> Iterator[Clip]:
        """See `swim.data.clips.Clips`."""
        if not self._rows.fits:
            return self._ahead(order)
        if self._clips is None:
            self._clips = [clip for at in range(len(self._tables)) for clip in _clips(self._rows.table(at))]
        clips = self._clips
        return (clips[i] for i in order)

    def row(self, number: int) -> pa.Table:
        """One clip as it is stored (`CLIP_SCHEMA`)."""
        return self._rows.row(number)

    def _ahead(self, order: Iterable[int]) -> Iterator[Clip]:
        waiting: deque[Future[Clip]] = deque()
        with ThreadPoolExecutor(1, thread_name_prefix="clips") as reader:
            try:
                for number in order:
                    waiting.append(reader.submit(self._read_clip, number))
                    if len(waiting) > self.AHEAD:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _read_clip(self, number: int) -> Clip:
        return _clips(self._rows.row(number))[0]


def _clips(table: pa.Table) -> list[Clip]:
    # Frames stay views of Arrow's few large buffers: thousands of copies would fragment the heap.
    rows: list[dict[str, Any]] = table.drop_columns(["frames"]).to_pylist()
    return [
        Clip.from_row(row | {"frames": frames.as_buffer()}) for row, frames in zip(rows, table["frames"], strict=True)
    ]


def load_index(store: ClipStore, prepared: PreparedData, split: Split) -> pa.Table:
    """The usable rows of a split, sorted by key (`INDEX_SCHEMA`): `file` is the annotation file's name, `first` to
    `member` describe the part of it that holds the row (`swim.data.rows.read.Part`)."""
    return read_table(store, prepared.folder, prepared.index[prepared.source(split)])


def load_quarantine(store: ClipStore, prepared: PreparedData) -> pa.Table:
    """The rejected rows (`QUARANTINE_SCHEMA`)."""
    return read_table(store, prepared.folder, prepared.quarantine)
