"""Rows of annotation files of any size and kind, and the parts that workers read independently.

Files are read piece by piece: memory depends on the largest row, not on their number. The ending of the name decides
the kind: `.json` (one array), `.jsonl` (one row a line) and `.parquet`, on local disk or as s3://bucket/key. Formats
that keep a data set in one JSON value or in a folder cut it into rows themselves (`swim.data.rows.documents`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from swim.data.rows import json_rows, parquet_rows
from swim.data.rows.documents import document_of
from swim.data.rows.text_positions import CHUNK_BYTES, TextReader, encoding_of
from swim.data.storage import open_range
from swim.data.types import DataError
from swim.recipe import Frozen

MAX_ROW_BYTES = 64 * 2**20


class Part(Frozen):
    """Rows first … first + rows - 1 of a file: bytes [start, end) of it (rows, of Parquet and documents)."""

    file: str
    first: int
    rows: int
    start: int
    end: int
    encoding: str = "utf-8"


def read_rows(
    path: str | Path, *, chunk_bytes: int = CHUNK_BYTES, max_row_bytes: int = MAX_ROW_BYTES
) -> Iterator[tuple[int, Any]]:
    """(row number from 0, row) of a file, in order: the values of `json.loads`, or their equivalent from Parquet. An
    object with a repeated key is a list of its pairs.

    A row that is no JSON object is yielded unchanged, and `parse_row` rejects it: one bad line must not lose the
    others. Inside an array only valid JSON shows where the next row begins, so the rows before an error are yielded,
    then the error is raised. At most a few times the largest row is held in memory, and no row may be larger than
    `max_row_bytes` (characters, in an array).

    Raises DataError naming the file, and the row and byte where there is one: when the file is of no known kind,
    cannot be read, has no array, is not valid JSON, Unicode or Parquet, ends too early, has text after its array, or
    has a row that is too large.
    """
    if document := document_of(str(path)):
        yield from document.numbered()
        return
    name, kind = str(path), _suffix(path)
    with open_range(name, read_ahead=kind != ".parquet") as file:
        if kind == ".parquet":
            yield from parquet_rows.rows(file, name, max_row_bytes, 0, parquet_rows.count_rows(file, name))
        elif kind == ".jsonl":
            for row, line in json_rows.lines(file, name, max_row_bytes):
                yield row, json_rows.line_value(line)
        else:
            text = TextReader(file, name, encoding_of(file), chunk_bytes)
            if json_rows.enter_filled_array(text):
                yield from json_rows.elements(text, max_row_bytes)
            json_rows.leave_array(text)


def split(
    path: str | Path, rows_per_part: int, *, chunk_bytes: int = CHUNK_BYTES, max_row_bytes: int = MAX_ROW_BYTES
) -> Iterator[Part]:
    """The parts of a file, in order, each of `rows_per_part` rows but the last. Memory stays small.

    Reading all parts gives the rows of `read_rows`. Where that raises an error, this yields the parts with the rows
    before it (the last one smaller), then raises the same error. For that a JSON array is decoded, lines are counted,
    and of Parquet only the footer is read.
    """
    if rows_per_part < 1:
        raise ValueError(f"rows_per_part is {rows_per_part}, must be at least 1")
    if document := document_of(str(path)):
        for first in range(0, count := len(document.rows), rows_per_part):
            end = min(first + rows_per_part, count)
            yield Part(file=str(path), first=first, rows=end - first, start=first, end=end)
        return
    name, kind = str(path), _suffix(path)
    with open_range(name, read_ahead=kind != ".parquet") as file:
        if kind == ".parquet":
            count = parquet_rows.count_rows(file, name)
            for first in range(0, count, rows_per_part):
                end = min(first + rows_per_part, count)
                yield Part(file=name, first=first, rows=end - first, start=first, end=end)
        elif kind == ".jsonl":
            yield from _group_rows(json_rows.lines(file, name, max_row_bytes), file.tell, name, rows_per_part)
        else:
            text = TextReader(file, name, encoding_of(file), chunk_bytes)
            if json_rows.enter_filled_array(text):
                elements = json_rows.elements(text, max_row_bytes)
                yield from _group_rows(elements, text.position, name, rows_per_part, text.encoding)
            json_rows.leave_array(text)


def read_part(
    part: Part, *, chunk_bytes: int = CHUNK_BYTES, max_row_bytes: int = MAX_ROW_BYTES
) -> Iterator[tuple[int, Any]]:
    """(row number in the file, row) of a part: the same as from `read_rows`. Only the bytes of the part are read (of
    Parquet, its row groups).

    Raises DataError as `read_rows` does, and when the part does not have its rows because the file has changed.
    """
    count = 0
    for row, raw in _part_rows(part, chunk_bytes, max_row_bytes):
        yield row, raw
        count += 1
    if count != part.rows:
        raise _changed_error(part, part.first + count)


def _part_rows(part: Part, chunk_bytes: int, max_row_bytes: int) -> Iterator[tuple[int, Any]]:
    if document := document_of(part.file):
        yield from document.numbered(part.start, part.end)
        return
    name, kind = part.file, _suffix(part.file)
    if kind == ".parquet":
        with open_range(name) as file:
            yield from parquet_rows.rows(file, name, max_row_bytes, part.start, part.end)
        return
    with open_range(name, part.start, part.end) as file:
        if kind == ".jsonl":
            for row, line in json_rows.lines(file, name, max_row_bytes, part.first):
                yield row, json_rows.line_value(line)
        else:
            text = TextReader(file, name, part.encoding, chunk_bytes)
            yield from islice(json_rows.elements(text, max_row_bytes, part.first), part.rows)
            if text.peek():
                raise _changed_error(part, part.first + part.rows)


def _group_rows(
    rows: Iterable[Any], position: Callable[[], int], name: str, rows_per_part: int, encoding: str = "utf-8"
) -> Iterator[Part]:
    """Parts of `rows`, which are counted; `position` gives the byte in the file after the last row read."""
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


def _changed_error(part: Part, row: int) -> DataError:
    reason = f"not the {part.rows} rows that began at {part.start} when it was split"
    return DataError(reason, field="file", hint="the file was changed: start again", file=part.file, row=row)


def _suffix(path: str | Path) -> str:
    name = str(path)
    suffix = PurePosixPath(name).suffix
    if suffix in (".json", ".jsonl", ".parquet"):
        return suffix
    accepted = ".json (one array), .jsonl (one row a line) and .parquet are read"
    packed = suffix.lower() in (".gz", ".bz2", ".xz", ".zst", ".zip", ".tar", ".tgz", ".7z")
    hint = f"unpack it first: {accepted}" if packed else f"{accepted}: rename it to what it holds"
    raise DataError(f"{suffix or 'no ending'}: not a kind that is known", field="file", hint=hint, file=name)
