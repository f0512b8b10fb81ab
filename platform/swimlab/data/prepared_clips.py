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

import hashlib
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from itertools import accumulate
from typing import Any, BinaryIO, Literal, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from swim.data.types import Clip
from swim.recipe import Frozen
from swimlab.store.sealed_json import SealedModel

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


class PipelineError(Exception):
    """The data set as a whole cannot be prepared or read. The message says why and what to do."""


class ClipStore(Protocol):
    """The part of a sweep store that this module uses. Tasks get a pickled copy."""

    @property
    def uri(self) -> str: ...
    def put_create_only(self, path: str, data: bytes) -> bool: ...
    def exists(self, path: str) -> bool: ...
    def read(self, path: str) -> bytes: ...
    def open(self, path: str) -> BinaryIO: ...


class StoredTable(Frozen):
    """A Parquet file of the data set: its path under the data set's folder, size and hash. `memory_bytes` is its size
    in memory."""

    name: str
    rows: int
    size_bytes: int
    memory_bytes: int
    sha256: str


class PreparedData(SealedModel):
    """The manifest of a committed data set. `held_out` names the split that evaluation scores: "train" when the
    user gave no held-out annotations. `quarantined` counts rows by reason, numbers and quoted names left out. Where
    the clips were only checked, not `stored`, `splits` is empty."""

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
    store in the requested order, a few ahead.

    Raises PipelineError when the content of a file is not what was committed. A file that is read whole is checked by
    its hash, others by their size and Parquet's checksum of each page.
    """

    HELD_BYTES = 2 * 2**30
    AHEAD = 4
    _OPEN_FILES = 64

    def __init__(self, store: ClipStore, prepared: PreparedData, split: Split) -> None:
        self._store, self._prepared = store, prepared
        source = prepared.source(split)
        self._tables = prepared.splits[source]
        self.keys: list[str] = load_index(store, prepared, split)["key"].to_pylist()
        self._ends = list(accumulate(table.rows for table in self._tables))
        self._in_memory: list[Clip] | None = None
        self._opened = lru_cache(maxsize=self._OPEN_FILES)(self._open)
        self._held = lru_cache(maxsize=None)(self._whole_table)

    def read(self, order: Iterable[int]) -> Iterator[Clip]:
        """See `swim.data.clips.Clips`."""
        if not self._fits():
            return self._ahead(order)
        if self._in_memory is None:
            self._in_memory = [clip for at in range(len(self._tables)) for clip in _clips(self._whole_table(at))]
        clips = self._in_memory
        return (clips[i] for i in order)

    def row(self, number: int) -> pa.Table:
        """One clip as it is stored (`CLIP_SCHEMA`)."""
        at, row = self._position(number)
        return self._held(at).slice(row, 1) if self._fits() else self._read_row(at, row)

    def _fits(self) -> bool:
        return sum(table.memory_bytes for table in self._tables) <= self.HELD_BYTES

    def _ahead(self, order: Iterable[int]) -> Iterator[Clip]:
        waiting: deque[Future[Clip]] = deque()
        # One thread: the open files are not thread-safe.
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
        return _clips(self._read_row(*self._position(number)))[0]

    def _position(self, number: int) -> tuple[int, int]:
        if not 0 <= number < len(self.keys):
            raise IndexError(f"clip {number} of {len(self.keys)}")
        at = bisect_right(self._ends, number)
        return at, number - (self._ends[at] - self._tables[at].rows)

    def _read_row(self, at: int, row: int) -> pa.Table:
        try:
            file: pq.ParquetFile = self._opened(at)
            group = 0
            while row >= (rows := file.metadata.row_group(group).num_rows):
                row, group = row - rows, group + 1
            return file.read_row_group(group).slice(row, 1)
        except (OSError, pa.ArrowException) as error:  # a checksum that does not hold is an OSError
            raise damaged(self._store, self._prepared, self._tables[at]) from error

    def _open(self, at: int) -> pq.ParquetFile:
        stored = self._tables[at]
        source = self._store.open(f"{self._prepared.folder}/{stored.name}")
        if source.seek(0, 2) != stored.size_bytes:
            raise damaged(self._store, self._prepared, stored)
        return pq.ParquetFile(source, page_checksum_verification=True)

    def _whole_table(self, at: int) -> pa.Table:
        return read_table(self._store, self._prepared, self._tables[at])


def _clips(table: pa.Table) -> list[Clip]:
    # Frames stay views of Arrow's few large buffers: thousands of copies would fragment the heap.
    rows: list[dict[str, Any]] = table.drop_columns(["frames"]).to_pylist()
    return [
        Clip.from_row(row | {"frames": frames.as_buffer()}) for row, frames in zip(rows, table["frames"], strict=True)
    ]


def load_index(store: ClipStore, prepared: PreparedData, split: Split) -> pa.Table:
    """The usable rows of a split, sorted by key (`INDEX_SCHEMA`): `file` is the annotation file's name, `first` to
    `member` describe the part of it that holds the row (`swim.data.rows.read.Part`)."""
    return read_table(store, prepared, prepared.index[prepared.source(split)])


def load_quarantine(store: ClipStore, prepared: PreparedData) -> pa.Table:
    """The rejected rows (`QUARANTINE_SCHEMA`)."""
    return read_table(store, prepared, prepared.quarantine)


_ROW_GROUP_BYTES = 2**20  # least size of a read; a clip of the paper's size is 20 to 58 MB


def encode_table(table: pa.Table, stem: str) -> tuple[StoredTable, bytes]:
    """A table as Parquet bytes, and their description. Equal rows give equal bytes."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        row_group_size=max(1, _ROW_GROUP_BYTES * table.num_rows // max(table.nbytes, 1)),
        compression="zstd",
        use_dictionary=False,
        write_statistics=False,
        write_page_checksum=True,
    )
    content: bytes = sink.getvalue().to_pybytes()
    digest = hashlib.sha256(content).hexdigest()
    name = f"{stem}-{digest[:12]}.parquet"
    described = StoredTable(
        name=name, rows=table.num_rows, size_bytes=len(content), memory_bytes=table.nbytes, sha256=digest
    )
    return described, content


def damaged(store: ClipStore, prepared: PreparedData, table: StoredTable) -> PipelineError:
    """The error for a file that is missing or altered."""
    path = f"{prepared.folder}/{table.name}"
    return PipelineError(
        f"{path} is missing or not what was committed: delete {prepared.folder}/ in {store.uri} and run again"
    )


def read_table(store: ClipStore, prepared: PreparedData, table: StoredTable) -> pa.Table:
    """A file of the data set. Raises PipelineError when it is not what was committed."""
    try:
        content = store.read(f"{prepared.folder}/{table.name}")
    except FileNotFoundError:
        content = b""
    if hashlib.sha256(content).hexdigest() != table.sha256:
        raise damaged(store, prepared, table)
    return pq.read_table(pa.BufferReader(content))
