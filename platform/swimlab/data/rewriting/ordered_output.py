"""Writes rows to a .json array or a .jsonl file, in order, from parts that finish in any order; all or nothing."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO

SUFFIXES = (".json", ".jsonl")


class RowFile:
    """`with RowFile(path) as file: file.put(number, lines)` for part numbers from 0, in any order; `lines` is one JSON
    value a line. A part that comes early is kept on disk, so that memory holds one part.

    Rows are written to `<path>.partial`, which is renamed on exit without an error and removed otherwise. Raises
    OSError where the folder cannot be written, ValueError for another suffix.
    """

    def __init__(self, path: Path) -> None:
        if path.suffix not in SUFFIXES:
            raise ValueError(f"{path}: rows are written as {' or '.join(SUFFIXES)}")
        self.path, self.rows = path, 0
        self._partial = path.with_name(f"{path.name}.partial")
        self._next = 0

    def __enter__(self) -> RowFile:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._waiting = Path(tempfile.mkdtemp(prefix=f".{self.path.name}.parts-", dir=self.path.parent))
        self._file: IO[bytes] = self._partial.open("wb")
        if self.path.suffix == ".json":
            self._file.write(b"[")
        return self

    def put(self, number: int, lines: bytes) -> None:
        """The lines of a part, which may be none."""
        if number != self._next:
            (self._waiting / str(number)).write_bytes(lines)
            return
        self._append(lines)
        while (ready := self._waiting / str(self._next)).exists():
            self._append(ready.read_bytes())
            ready.unlink()

    def _append(self, lines: bytes) -> None:
        self._next += 1
        for line in lines.splitlines():
            if self.path.suffix == ".json":
                self._file.write(b"\n " if self.rows == 0 else b",\n ")
            self._file.write(line)
            if self.path.suffix == ".jsonl":
                self._file.write(b"\n")
            self.rows += 1

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        try:
            if kind is None:
                if left := sorted(self._waiting.iterdir()):
                    raise ValueError(f"part {self._next} is missing, {len(left)} later parts were put")
                self._file.write(b"\n]\n" if self.path.suffix == ".json" else b"")
                self._file.flush()
                os.fsync(self._file.fileno())
                os.replace(self._partial, self.path)
        finally:
            self._file.close()
            self._partial.unlink(missing_ok=True)
            shutil.rmtree(self._waiting, ignore_errors=True)
