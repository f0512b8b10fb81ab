"""Rows of Parquet files as the dicts that JSON would give, read batch by batch.

Arrow gives every row the keys of all rows. A null value is therefore left out as if the key were missing. Only a null
`segmentation` is kept: it means that the object is not annotated in this frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from swim.data.rows.unique_keys import InvalidRow, RowDecoder
from swim.data.storage import BLOCK_BYTES
from swim.data.types import DataError

# Batches of 256 rows take half the time of batches of 64 (12 instead of 27 µs a row, a struct of 64 frames), larger
# ones the same. Batches of large rows have fewer, so that a batch fits in memory.
_BATCH_ROWS = 256
_BATCH_BYTES = 32 * 2**20
_JSON_COLUMNS = ("annotation", "conversations", "options")  # may hold JSON text instead of nested values
_OBJECT_LISTS = ("annotation", "conversations")
_NULL_IS_A_VALUE = "segmentation"
_ERRORS = (pa.ArrowException, OSError, ValueError, OverflowError)

_Converter = Callable[[Any], Any]


def count_rows(file: BinaryIO, name: str) -> int:
    """The number of rows by a Parquet file's footer. Raises DataError when it is no Parquet file."""
    metadata = _open_parquet(file, name).metadata
    groups = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    if min(groups, default=0) < 0 or sum(groups) != metadata.num_rows:
        raise _broken_error(name, f"{metadata.num_rows} rows in groups of {groups!r:.100}", 0)
    return sum(groups)


def rows(file: BinaryIO, name: str, max_row_bytes: int, start: int, end: int) -> Iterator[tuple[int, Any]]:
    """(row number, row) of the rows [start, end): dicts of JSON values. Dates and the like become text. Bytes become
    text too, those that are not UTF-8 as half surrogates (which `parse_row` rejects where it reads text).

    Only row groups with such rows are read, each from its first row on: groups of some thousand rows are the fastest.
    Raises DataError naming the file, and the row where there is one, when the file cannot be read or a row has more
    than `max_row_bytes`; the rows before it are yielded.
    """
    parquet = _open_parquet(file, name)
    names = parquet.schema_arrow.names
    if twice := {column for column in names if names.count(column) > 1}:
        raise DataError("two columns of one name", field=min(twice), hint="rename one", file=name)
    row = start
    for batch in _batches(parquet, name, start, end):
        sizes = [batch.slice(i, 1).nbytes for i in range(batch.num_rows)] if batch.nbytes > max_row_bytes else []
        readable = next((i for i, size in enumerate(sizes) if size > max_row_bytes), batch.num_rows)
        for raw in dicts(batch.slice(0, readable), name, row):
            yield row, raw
            row += 1
        if readable < batch.num_rows:
            hint = f"a row may take {max_row_bytes} bytes: cut it into several rows"
            raise DataError(f"too large: {sizes[readable]} bytes", field="row", hint=hint, file=name, row=row)
    if row < end:
        raise _broken_error(name, "it ends before the rows that its footer counts", row)


def _open_parquet(file: BinaryIO, name: str) -> Any:
    try:
        # pre_buffer would keep whole row groups in memory, however large.
        return pq.ParquetFile(file, pre_buffer=False, buffer_size=BLOCK_BYTES, page_checksum_verification=True)
    except _ERRORS as error:
        hint = "is it cut off, or of another kind? Copy it again; JSON must end in .json or .jsonl"
        raise DataError(f"cannot be read as Parquet: {_one_line(error)}", field="file", hint=hint, file=name) from error


def _batches(parquet: Any, name: str, start: int, end: int) -> Iterator[Any]:
    """The rows [start, end), in record batches."""
    row = 0
    try:
        for number in range(parquet.metadata.num_row_groups):
            group = parquet.metadata.row_group(number)
            if row >= end:
                return
            if row + group.num_rows <= start:
                row += group.num_rows
                continue
            size = min(max(_BATCH_BYTES * group.num_rows // max(group.total_byte_size, 1), 1), _BATCH_ROWS)
            # One group at a time: a batch over two groups would lose the rows of the first when the second is broken.
            for batch in parquet.iter_batches(batch_size=size, row_groups=[number], use_threads=False):
                skipped = min(max(start - row, 0), batch.num_rows)
                yield batch.slice(skipped, min(end - row, batch.num_rows) - skipped)
                row += batch.num_rows
                if row >= end:
                    return
    except _ERRORS as error:
        raise _broken_error(name, _one_line(error), max(row, start)) from error


def _broken_error(name: str, detail: str, row: int) -> DataError:
    hint = "the rows before it are readable: compare the file's size with the original's and copy it again"
    return DataError(f"broken Parquet: {detail}", field="file", hint=hint, file=name, row=row)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def dicts(batch: Any, file: str, row: int) -> Iterator[dict[str, Any] | InvalidRow]:
    """The rows of a record batch of `file`, of which the first is number `row`, as `rows` yields them."""
    names = batch.schema.names
    columns = [_values(column, name, file, row) for column, name in zip(batch.columns, names, strict=True)]
    for values in zip(*columns, strict=True):
        raw = {name: value for name, value in zip(names, values, strict=True) if value is not None}
        invalid = next(((name, value) for name, value in raw.items() if isinstance(value, InvalidRow)), None)
        yield raw if invalid is None else _of_column(*invalid, raw)


def _of_column(name: str, invalid: InvalidRow, raw: dict[str, Any]) -> InvalidRow:
    """The error in a column's JSON text as one of the row."""
    place = "" if invalid.field == "row" else invalid.field
    field = f"{name}{place}" if place.startswith("[") or not place else f"{name}.{place}"
    return replace(invalid, field=field, id=raw.get("id"))


def _values(column: Any, name: str, file: str, row: int) -> list[Any]:
    if isinstance(column.type, pa.BaseExtensionType):
        column = column.storage
    kind = column.type
    try:
        values = column.to_pylist()
    except _ERRORS:
        kind = _lenient_type(kind)
        try:
            values = column.cast(kind).to_pylist()
        except _ERRORS as error:
            hint = "write the column again as text or JSON, or without it"
            raise DataError(f"cannot be read: {error}", field=name, hint=hint, file=file, row=row) from error
    if plain := _converter(kind):
        values = [None if value is None else plain(value) for value in values]
    if name in _JSON_COLUMNS:
        decoder = RowDecoder()
        values = [_from_json(value, decoder) for value in values]
    return [_objects(value) for value in values] if name in _OBJECT_LISTS else values


def _from_json(value: Any, decoder: RowDecoder) -> Any:
    """The value of JSON text; anything else unchanged, which `parse_row` rejects."""
    try:
        return decoder.decode(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return value


def _objects(value: Any) -> Any:
    """A list of objects that was written as an object of lists, as `datasets` writes a `Sequence` of a dict; also the
    `slots` in it. Anything else unchanged."""
    if isinstance(value, dict) and value and all(isinstance(column, list) for column in value.values()):
        if len({len(column) for column in value.values()}) > 1:
            return value
        value = [
            {
                name: inner
                for name, inner in zip(value, entry, strict=True)
                if inner is not None or name == _NULL_IS_A_VALUE
            }
            for entry in zip(*value.values(), strict=True)
        ]
    if isinstance(value, list) and any(isinstance(entry, dict) and "slots" in entry for entry in value):
        return [entry | {"slots": _objects(entry["slots"])} if "slots" in entry else entry for entry in value]
    return value


def _lenient_type(kind: Any) -> Any:
    """A type to which Arrow casts text that is not UTF-8, and dates that Python does not have."""
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, _lenient_type(field.type)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(_lenient_type(kind.key_type), _lenient_type(kind.item_type))
    if _is_list(kind):
        return pa.large_list(_lenient_type(kind.value_type))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.large_binary()
    if pa.types.is_dictionary(kind):
        return _lenient_type(kind.value_type)
    return pa.string() if pa.types.is_temporal(kind) else kind


def _converter(kind: Any) -> _Converter | None:
    """A function from non-null values of an Arrow type to JSON values; None where they already are JSON values."""
    types = pa.types
    if types.is_struct(kind):
        fields = {field.name: _converter(field.type) or _unchanged for field in kind}
        return lambda value: {
            name: None if inner is None else fields[name](inner)
            for name, inner in value.items()
            if inner is not None or name == _NULL_IS_A_VALUE
        }
    if types.is_map(kind):
        key, item = _converter(kind.key_type) or _unchanged, _converter(kind.item_type) or _unchanged
        return lambda pairs: _mapping([(key(k), None if v is None else item(v)) for k, v in pairs])
    if _is_list(kind):
        if inner := _converter(kind.value_type):
            return lambda values: [None if value is None else inner(value) for value in values]
        return None
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return _converter(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return _converter(kind.storage_type)
    plain_types = (types.is_string, types.is_large_string, types.is_integer, types.is_floating, types.is_boolean)
    return None if any(is_kind(kind) for is_kind in plain_types) else _text


def _is_list(kind: Any) -> bool:
    types = pa.types
    lists = (types.is_list, types.is_large_list, types.is_fixed_size_list, types.is_list_view, types.is_large_list_view)
    return any(is_kind(kind) for is_kind in lists)


def _unchanged(value: Any) -> Any:
    return value


def _mapping(pairs: list[tuple[Any, Any]]) -> Any:
    """A dict with text keys, as in JSON. A map with a repeated key stays a list of pairs, since a dict would lose
    one."""
    mapping = {str(key): value for key, value in pairs}
    return mapping if len(mapping) == len(pairs) else [list(pair) for pair in pairs]


def _text(value: Any) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)
