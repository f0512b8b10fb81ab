"""Parquet files in the store, each described by its size and hash: written once, read by row. Imports no Ray.

What is read is checked against the description: a file that is read whole by its hash, others by their size, the hash
of their footer, and Parquet's checksum of each page.
"""

from __future__ import annotations

import hashlib
import io
import threading
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from typing import BinaryIO, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from swim.recipe import Frozen

_ROW_GROUP_BYTES = 2**20  # least size of a read; a clip of the paper's size is 20 to 58 MB


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
    """A Parquet file: its path under the folder it belongs to, size and hash. `memory_bytes` is its size
    in memory; `footer_sha256` is of the names, types and positions of its columns, which no page's checksum covers
    (None in older data sets)."""

    name: str
    rows: int
    size_bytes: int
    memory_bytes: int
    sha256: str
    footer_sha256: str | None = None


class StoredRows:
    """The rows of Parquet files below `folder`, numbered through all of them: in memory if they need at most
    `held_bytes`, else read a row group at a time. Threads may share it. Raises PipelineError when the content of a file
    is not what was committed."""

    _OPEN_FILES = 64

    def __init__(self, store: ClipStore, folder: str, tables: Sequence[StoredTable], held_bytes: int) -> None:
        self._store, self._folder, self._tables = store, folder, tables
        self.fits = sum(table.memory_bytes for table in tables) <= held_bytes
        self._ends = list(accumulate(table.rows for table in tables))
        self._opened = lru_cache(maxsize=self._OPEN_FILES)(self._open)
        self._held = lru_cache(maxsize=None)(self.table)
        self._lock = threading.Lock()  # an open file is not thread-safe

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def table(self, at: int) -> pa.Table:
        """File number `at`, whole."""
        return read_table(self._store, self._folder, self._tables[at])

    def column(self, at: int, name: str) -> pa.ChunkedArray:
        """One column of file number `at`."""
        if self.fits:
            return self._held(at)[name]
        with self._lock:
            try:
                return self._opened(at).read(columns=[name])[name]
            except (OSError, pa.ArrowException) as error:
                raise damaged(self._store, self._folder, self._tables[at]) from error

    def row(self, number: int) -> pa.Table:
        """One row."""
        if not 0 <= number < len(self):
            raise IndexError(f"row {number} of {len(self)}")
        at = bisect_right(self._ends, number)
        row = number - (self._ends[at] - self._tables[at].rows)
        if self.fits:
            return self._held(at).slice(row, 1)
        with self._lock:
            try:
                file: pq.ParquetFile = self._opened(at)
                group = 0
                while row >= (rows := file.metadata.row_group(group).num_rows):
                    row, group = row - rows, group + 1
                return file.read_row_group(group).slice(row, 1)
            except (OSError, pa.ArrowException) as error:  # a checksum that does not hold is an OSError
                raise damaged(self._store, self._folder, self._tables[at]) from error

    def _open(self, at: int) -> pq.ParquetFile:
        stored = self._tables[at]
        source = self._store.open(f"{self._folder}/{stored.name}")
        intact = source.seek(0, 2) == stored.size_bytes
        if not intact or stored.footer_sha256 not in (None, _footer_sha256(source)):
            raise damaged(self._store, self._folder, stored)
        return pq.ParquetFile(source, page_checksum_verification=True)


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
        name=name,
        rows=table.num_rows,
        size_bytes=len(content),
        memory_bytes=table.nbytes,
        sha256=digest,
        footer_sha256=_footer_sha256(io.BytesIO(content)),
    )
    return described, content


def _footer_sha256(file: BinaryIO) -> str:
    """Hash of a Parquet file from its footer to its end, where the footer's length stands."""
    end = file.seek(-8, io.SEEK_END)
    length = int.from_bytes(file.read(4), "little")
    file.seek(max(0, end - length))
    return hashlib.sha256(file.read()).hexdigest()


def damaged(store: ClipStore, folder: str, table: StoredTable) -> PipelineError:
    """The error for a file that is missing or altered."""
    path = f"{folder}/{table.name}"
    return PipelineError(f"{path} is missing or not what was committed: delete {folder}/ in {store.uri} and run again")


def read_table(store: ClipStore, folder: str, table: StoredTable) -> pa.Table:
    """A whole file. Raises PipelineError when it is not what was committed."""
    try:
        content = store.read(f"{folder}/{table.name}")
    except FileNotFoundError:
        content = b""
    if hashlib.sha256(content).hexdigest() != table.sha256:
        raise damaged(store, folder, table)
    return pq.read_table(pa.BufferReader(content))
