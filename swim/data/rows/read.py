"""Rows of annotation files of any size and kind, and the parts that workers read independently.

Files are read piece by piece: memory depends on the largest row, not on their number. A file is `.json` (one array),
`.jsonl` (one row a line) or `.parquet`, on local disk or as s3://bucket/key; JSON may be compressed, and in any
encoding of Unicode. A local folder of `.parquet` files is one file, whose rows are counted through all of them. Formats
that keep a data set in one JSON value or in a folder cut it into rows themselves (`swim.data.rows.documents`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from swim.data.rows import json_rows, parquet_folder, parquet_rows
from swim.data.rows.contents import Content, content_of
from swim.data.rows.documents import document_of
from swim.data.rows.packed import Packing, open_unpacked
from swim.data.rows.text_positions import CHUNK_BYTES, TextReader, encoding_of
from swim.data.rows.unique_keys import RowDecoder
from swim.data.storage import open_range
from swim.data.types import DataError
from swim.recipe import Frozen

MAX_ROW_BYTES = 64 * 2**20


class Part(Frozen):
    """Rows first … first + rows - 1 of a file: bytes [start, end) of its text, once it is unpacked. In Parquet and
    documents: rows [start, end), of the file `member` where the annotation file is a folder."""

    file: str
    first: int
    rows: int
    start: int
    end: int
    kind: Literal["array", "lines", "parquet"] = "lines"
    encoding: str = "utf-8"
    packing: Packing = ""
    member: str = ""


def read_rows(
    path: str | Path, *, chunk_bytes: int = CHUNK_BYTES, max_row_bytes: int = MAX_ROW_BYTES
) -> Iterator[tuple[int, Any]]:
    """(row number from 0, row) of a file, in order: the values of `json.loads`, or their equivalent from Parquet.
    A row with an object that has a key twice is an `InvalidRow`.

    A row that is no JSON object is yielded unchanged, and `parse_row` rejects it: one bad line must not lose the
    others. Inside an array only valid JSON shows where the next row begins, so the rows before an error are yielded,
    then the error is raised. At most a few times the largest row is held in memory, and no row may be larger than
    `max_row_bytes` (characters, in an array).

    Raises DataError naming the file, and the row and byte where there is one: when the file is of no known kind,
    cannot be read, has no rows, is not valid JSON, Unicode or Parquet, ends too early, has text after its array, or
    has a row that is too large.
    """
    name = str(path)
    if document := document_of(name):
        yield from document.numbered()
        return
    if parquet_folder.is_folder(name):
        row = 0
        for member in parquet_folder.members(name):
            for _, raw in _parquet_rows(member, max_row_bytes):
                yield row, raw
                row += 1
        return
    content = content_of(name)
    if content.kind == "parquet":
        yield from _parquet_rows(name, max_row_bytes)
        return
    with open_unpacked(name, content.packing, read_ahead=True) as file:
        if _in_byte_lines(content):
            decoder = RowDecoder()
            for row, line in json_rows.lines(file, name, max_row_bytes):
                yield row, json_rows.line_value(line, decoder)
            return
        text = TextReader(file, name, encoding_of(file), chunk_bytes)
        if content.kind == "lines":
            decoder = RowDecoder()
            for row, text_line in json_rows.text_lines(text, max_row_bytes):
                yield row, json_rows.line_value(text_line, decoder)
            return
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
    name = str(path)
    if document := document_of(name):
        for first in range(0, count := len(document.rows), rows_per_part):
            end = min(first + rows_per_part, count)
            yield Part(file=name, first=first, rows=end - first, start=first, end=end)
        return
    if parquet_folder.is_folder(name):
        first = 0
        for member in parquet_folder.members(name):
            for part in _parquet_parts(member, rows_per_part):
                yield part.model_copy(update={"file": name, "first": first, "member": Path(member).name})
                first += part.rows
        return
    content = content_of(name)
    if content.kind == "parquet":
        yield from _parquet_parts(name, rows_per_part)
        return
    with open_unpacked(name, content.packing, read_ahead=True) as file:
        if _in_byte_lines(content):
            lines = json_rows.lines(file, name, max_row_bytes)
            yield from _group_rows(lines, file.tell, name, rows_per_part, content)
            return
        text = TextReader(file, name, encoding_of(file), chunk_bytes)
        content = content.model_copy(update={"encoding": text.encoding})
        if content.kind == "lines":
            text_lines = json_rows.text_lines(text, max_row_bytes)
            yield from _group_rows(text_lines, text.position, name, rows_per_part, content)
            return
        if json_rows.enter_filled_array(text):
            elements = json_rows.elements(text, max_row_bytes)
            yield from _group_rows(elements, text.position, name, rows_per_part, content)
        json_rows.leave_array(text)


def extent(path: str | Path) -> int:
    """The sum of `end - start` over the parts of a file: rows of Parquet, bytes of JSON (and the few that belong to no
    row); 0 for a compressed file, where only reading it tells. Raises DataError for a file that cannot be read."""
    name = str(path)
    if document := document_of(name):
        return len(document.rows)
    if parquet_folder.is_folder(name):
        return sum(_count(member) for member in parquet_folder.members(name))
    content = content_of(name)
    if content.kind == "parquet":
        return _count(name)
    return 0 if content.packing else size_bytes(name)


def size_bytes(path: str | Path) -> int:
    """The size of a file, or of the files of a folder. Raises DataError for one that cannot be read."""
    name = str(path)
    if document := document_of(name):
        return document.size_bytes
    if parquet_folder.is_folder(name):
        return sum(size_bytes(member) for member in parquet_folder.members(name))
    with open_range(name) as file:
        return file.seek(0, 2)


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
    name = part.file
    if part.kind == "parquet":
        name = str(Path(name) / part.member) if part.member else name
        with open_range(name) as file:
            rows = parquet_rows.rows(file, name, max_row_bytes, part.start, part.end)
            yield from ((row - part.start + part.first, raw) for row, raw in rows)
        return
    with open_unpacked(name, part.packing, part.start, part.end) as file:
        if part.kind == "lines":
            decoder = RowDecoder()
            lines: Iterator[tuple[int, bytes | str]]
            if _in_byte_lines(part):
                lines = json_rows.lines(file, name, max_row_bytes, part.first)
            else:
                text = TextReader(file, name, part.encoding, chunk_bytes)
                lines = json_rows.text_lines(text, max_row_bytes, part.first)
            for row, line in lines:
                yield row, json_rows.line_value(line, decoder)
            return
        text = TextReader(file, name, part.encoding, chunk_bytes)
        yield from islice(json_rows.elements(text, max_row_bytes, part.first), part.rows)
        if text.peek():
            raise _changed_error(part, part.first + part.rows)


def _in_byte_lines(content: Content | Part) -> bool:
    """Whether a line ends at the byte of a newline: of UTF-8, which is read without decoding it first."""
    return content.kind == "lines" and content.encoding.startswith("utf-8")


def _parquet_rows(name: str, max_row_bytes: int) -> Iterator[tuple[int, Any]]:
    with open_range(name) as file:
        yield from parquet_rows.rows(file, name, max_row_bytes, 0, parquet_rows.count_rows(file, name))


def _parquet_parts(name: str, rows_per_part: int) -> Iterator[Part]:
    count = _count(name)
    for first in range(0, count, rows_per_part):
        end = min(first + rows_per_part, count)
        yield Part(file=name, first=first, rows=end - first, start=first, end=end, kind="parquet")


def _count(name: str) -> int:
    with open_range(name) as file:
        return parquet_rows.count_rows(file, name)


def _group_rows(
    rows: Iterable[Any], position: Callable[[], int], name: str, rows_per_part: int, content: Content
) -> Iterator[Part]:
    """Parts of `rows`, which are counted; `position` gives the byte in the file after the last row read."""
    first = count = 0
    start = position()

    def part() -> Part:
        return Part(file=name, first=first, rows=count, start=start, end=position(), **vars(content))

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
