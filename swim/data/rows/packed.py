"""Compressed annotation files, and files that are no annotations at all, told by their first bytes.

The name does not decide: a gzip called .jsonl is read like one called .jsonl.gz.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from typing import Any, BinaryIO, Literal

from swim.data.storage import open_range
from swim.data.types import DataError

Packing = Literal["", "gzip", "bzip2", "xz", "zstd"]
_PACKED: dict[bytes, Packing] = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}
_UNPACK_FIRST = "unpack it first, and give the file inside"
_FOREIGN = {
    b"PK\x03\x04": ("a ZIP archive", _UNPACK_FIRST),
    b"7z\xbc\xaf\x27\x1c": ("a 7z archive", _UNPACK_FIRST),
    b"Rar!": ("a RAR archive", _UNPACK_FIRST),
    b"\x04\x22\x4d\x18": ("LZ4", _UNPACK_FIRST),
    b"PAR1": ("Parquet", "rename it to .parquet"),
    b"ARROW1": ("an Arrow file", "write it as Parquet, or as JSON lines"),
    b"SQLite format 3": ("an SQLite database", "write its rows as JSON lines"),
    b"version https://git-lfs": ("a Git LFS pointer, not the file itself", "fetch it with: git lfs pull"),
}
_TAR_AT, _TAR = 257, b"ustar"
_ERRORS = (OSError, EOFError, zlib.error, lzma.LZMAError)
_DISCARDED_BYTES = 2**20


def packing_of(head: bytes) -> Packing:
    """How a file is compressed, by its first bytes; empty if it is not."""
    return next((packing for magic, packing in _PACKED.items() if head.startswith(magic)), "")


def refuse_foreign(head: bytes, name: str) -> None:
    """Raises DataError for the first bytes of a file that is no text, with what to do."""
    kind, advice = next((entry for magic, entry in _FOREIGN.items() if head.startswith(magic)), ("", ""))
    if head[_TAR_AT:].startswith(_TAR):
        kind, advice = "a tar archive", _UNPACK_FIRST
    if kind:
        raise DataError(f"{kind}, not JSON", field="file", hint=advice, file=name)


def open_unpacked(
    name: str, packing: Packing, start: int = 0, end: int | None = None, *, read_ahead: bool = False
) -> BinaryIO:
    """The bytes [start, end) of what a file holds once it is unpacked, positioned at `start`; else as `open_range`.

    A compressed file has no place to begin but its first byte: all before `start` is unpacked, too (gzip: 0.3 s per
    100 MB). Raises DataError, here or while reading.
    """
    if not packing:
        return open_range(name, start, end, read_ahead=read_ahead)
    unpacked = io.BufferedReader(_Unpacked(open_range(name, read_ahead=True), name, packing, end))
    unpacked.seek(start)
    return unpacked


class _Unpacked(io.RawIOBase):
    """What a compressed file holds. Raises DataError where it is damaged."""

    def __init__(self, file: BinaryIO, name: str, packing: Packing, end: int | None) -> None:
        self._file, self._name, self._packing, self._end = file, name, packing, end
        self._stream, self._at = _stream(file, packing), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END:
            raise io.UnsupportedOperation("the end of a compressed file is not known before it is read")
        target = offset + (self._at if whence == io.SEEK_CUR else 0)
        if target < self._at:
            self._file.seek(0)
            self._stream, self._at = _stream(self._file, self._packing), 0
        while self._at < target and self._read(min(target - self._at, _DISCARDED_BYTES)):
            pass
        return self._at

    def readinto(self, buffer: Any) -> int:
        size = len(buffer) if self._end is None else min(len(buffer), self._end - self._at)
        block = self._read(size) if size > 0 else b""
        buffer[: len(block)] = block
        return len(block)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()

    def _read(self, size: int) -> bytes:
        try:
            block: bytes = self._stream.read(size)
        except _ERRORS as error:
            hint = "it seems cut off or damaged: compare its size with the original's and copy it again"
            reason = f"cannot be unpacked as {self._packing}, after {self._at} bytes: {error}"
            raise DataError(reason, field="file", hint=hint, file=self._name) from error
        self._at += len(block)
        return block


def _stream(file: BinaryIO, packing: Packing) -> Any:
    match packing:
        case "gzip":
            return gzip.GzipFile(fileobj=file)
        case "bzip2":
            return bz2.BZ2File(file)
        case "xz":
            return lzma.LZMAFile(file)
    # Imported here: Arrow takes 0.1 s, and files of lines do not need it. Python has Zstandard from 3.14 on.
    import pyarrow as pa

    return pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd")
