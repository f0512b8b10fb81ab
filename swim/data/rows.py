"""Rows of annotation files of any size and kind, and the parts that workers read on their own.

Files are read piece by piece: memory follows the largest row, not their number. Kinds are told by their names: `.json`
(one array), `.jsonl` (one row a line) and `.parquet`, on local disk or as s3://bucket/key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from swim.data import rows_json, rows_parquet
from swim.data.rows_text import CHUNK_BYTES, Text, encoding_of
from swim.data.storage import open_range
from swim.data.types import DataError
from swim.recipe import Frozen

MAX_ROW_BYTES = 64 * 2**20


class Part(Frozen):
    """Rows first … first + rows - 1 of a file: bytes [start, end) of it (in Parquet, rows [start, end))."""

    file: str
    first: int
    rows: int
    start: int
    end: int
    encoding: str = "utf-8"


def read_rows(
    path: str | Path, *, chunk_bytes: int = CHUNK_BYTES, max_row_bytes: int = MAX_ROW_BYTES
) -> Iterator[tuple[int, Any]]:
    """(row number from 0, row) of a file, in order: of JSON what `json.loads` gives, of Parquet what JSON would say.

    What should be a row and is no JSON object is passed on as it stands, for `parse_row` to refuse: one bad line must
    not cost the others. Inside an array only valid JSON shows where the next row begins; the rows before an error are
    given, then the error is raised. At most a few times the largest row is held in memory, and no row may be larger
    than `max_row_bytes` (characters, in an array).

    Raises DataError naming the file, and the row and byte where there is one: when the file is of no known kind,
    cannot be read, holds no array, is not valid JSON, Unicode or Parquet, ends too early, goes on behind its array, or
    holds too large a row.
    """
    name, kind = str(path), _kind(path)
    with open_range(name, ahead=kind != ".parquet") as file:
        if kind == ".parquet":
            yield from rows_parquet.rows(file, name, max_row_bytes, 0, rows_parquet.count_rows(file, name))
        elif kind == ".jsonl":
            for row, line in rows_json.lines(file, name, max_row_bytes):
                yield row, rows_json.line_value(line)
        else:
            text = Text(file, name, encoding_of(file), chunk_bytes)
            if rows_json.enter_array(text):
                yield from rows_json.elements(text, max_row_bytes)
            rows_json.leave_array(text)


def split(
    path: str | Path, rows_per_part: int, *, chunk_bytes: int = CHUNK_BYTES, max_row_bytes: int = MAX_ROW_BYTES
) -> Iterator[Part]:
    """The parts of a file, in order, each of `rows_per_part` rows but the last. No row is kept.

    Together the parts are the file: reading one after another gives what `read_rows` gives, and where that raises an
    error, this raises the same one behind the parts (the last of them smaller) that hold the rows before it. A JSON
    array is decoded for that; lines are counted, and of Parquet the footer is read.
    """
    if rows_per_part < 1:
        raise ValueError(f"rows_per_part is {rows_per_part}, must be at least 1")
    name, kind = str(path), _kind(path)
    with open_range(name, ahead=kind != ".parquet") as file:
        if kind == ".parquet":
            count = rows_parquet.count_rows(file, name)
            for first in range(0, count, rows_per_part):
                end = min(first + rows_per_part, count)
                yield Part(file=name, first=first, rows=end - first, start=first, end=end)
        elif kind == ".jsonl":
            yield from _cut(rows_json.lines(file, name, max_row_bytes), file.tell, name, rows_per_part)
        else:
            text = Text(file, name, encoding_of(file), chunk_bytes)
            if rows_json.enter_array(text):
                elements = rows_json.elements(text, max_row_bytes)
                yield from _cut(elements, text.position, name, rows_per_part, text.encoding)
            rows_json.leave_array(text)


def read_part(
    part: Part, *, chunk_bytes: int = CHUNK_BYTES, max_row_bytes: int = MAX_ROW_BYTES
) -> Iterator[tuple[int, Any]]:
    """(row number in the file, row) of a part: what `read_rows` gives for these rows, with no other byte read (of
    Parquet, no other row group).

    Raises DataError as `read_rows` does, and when the part does not hold its rows: the file was changed meanwhile.
    """
    count = 0
    for row, raw in _part_rows(part, chunk_bytes, max_row_bytes):
        yield row, raw
        count += 1
    if count != part.rows:
        raise _changed(part, part.first + count)


def _part_rows(part: Part, chunk_bytes: int, max_row_bytes: int) -> Iterator[tuple[int, Any]]:
    name, kind = part.file, _kind(part.file)
    if kind == ".parquet":
        with open_range(name) as file:
            yield from rows_parquet.rows(file, name, max_row_bytes, part.start, part.end)
        return
    with open_range(name, part.start, part.end) as file:
        if kind == ".jsonl":
            for row, line in rows_json.lines(file, name, max_row_bytes, part.first):
                yield row, rows_json.line_value(line)
        else:
            text = Text(file, name, part.encoding, chunk_bytes)
            yield from islice(rows_json.elements(text, max_row_bytes, part.first), part.rows)
            if text.next():
                raise _changed(part, part.first + part.rows)


def _cut(
    rows: Iterable[Any], position: Callable[[], int], name: str, rows_per_part: int, encoding: str = "utf-8"
) -> Iterator[Part]:
    """Parts of rows that a reader passes; `position` is the byte in the file behind the last one."""
    first = count = 0
    start = position()

    def part() -> Part:
        return Part(file=name, first=first, rows=count, start=start, end=position(), encoding=encoding)

    try:
        for _ in rows:
            count += 1
            if count == rows_per_part:
                yield (done := part())
                first, count, start = first + count, 0, done.end
    except DataError:
        if count:
            yield part()
        raise
    if count:
        yield part()


def _changed(part: Part, row: int) -> DataError:
    reason = f"not the {part.rows} rows that began at {part.start} when it was split"
    return DataError(reason, field="file", hint="the file was changed: start again", file=part.file, row=row)


def _kind(path: str | Path) -> str:
    name = str(path)
    suffix = PurePosixPath(name).suffix
    if suffix in (".json", ".jsonl", ".parquet"):
        return suffix
    known = ".json (one array), .jsonl (one row a line) and .parquet are read"
    packed = suffix.lower() in (".gz", ".bz2", ".xz", ".zst", ".zip", ".tar", ".tgz", ".7z")
    hint = f"unpack it first: {known}" if packed else f"{known}: rename it to what it holds"
    raise DataError(f"{suffix or 'no ending'}: not a kind that is known", field="file", hint=hint, file=name)
