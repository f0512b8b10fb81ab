"""Curves, samples, overlays, answers and films as Arrow tables and Parquet bytes."""

import hashlib
import io
import re
import types
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import pyarrow as pa
import pyarrow.parquet as pq

from swim.outputs import Answer, FilmFrame, MetricPoint, Overlay, SampleScore
from swim.recipe import Frozen

Row = TypeVar("Row", bound=Frozen)


_ARROW = {int: pa.int64(), float: pa.float64(), str: pa.string(), bool: pa.bool_(), bytes: pa.binary()}


def arrow_schema(model: type[Frozen]) -> pa.Schema:
    """The Arrow schema of a flat model; tuples become lists. Raises TypeError naming a field it cannot hold."""
    hints = get_type_hints(model)
    return pa.schema([pa.field(name, _arrow_type(model, name, hints[name])) for name in model.model_fields])


def _arrow_type(model: type[Frozen], name: str, hint: Any) -> pa.DataType:
    if get_origin(hint) is Literal and all(isinstance(value, str) for value in get_args(hint)):
        return pa.string()
    if get_origin(hint) is tuple:
        items = {item for item in get_args(hint) if not isinstance(item, types.EllipsisType)}
        if len(items) == 1 and (item := items.pop()) in _ARROW:
            return pa.list_(_ARROW[item])
    elif hint in _ARROW:
        return _ARROW[hint]
    raise TypeError(
        f"{model.__name__}.{name}: {hint} has no Arrow type here; use int, float, str, bool, bytes or a tuple"
    )


def _table(model: type[Frozen], rows: Sequence[Frozen]) -> pa.Table:
    return pa.Table.from_pylist([row.model_dump() for row in rows], schema=arrow_schema(model))


def _rows(model: type[Row], table: pa.Table) -> list[Row]:
    return [model.model_validate(row) for row in table.to_pylist()]


def metrics_table(points: Sequence[MetricPoint]) -> pa.Table:
    """Curves as an Arrow table, one row a point."""
    return _table(MetricPoint, points)


def metrics_from_table(table: pa.Table) -> list[MetricPoint]:
    """Inverse of `metrics_table`."""
    return _rows(MetricPoint, table)


def samples_table(scores: Sequence[SampleScore]) -> pa.Table:
    """Per-sample numbers as an Arrow table, long format."""
    return _table(SampleScore, scores)


def samples_from_table(table: pa.Table) -> list[SampleScore]:
    """Inverse of `samples_table`."""
    return _rows(SampleScore, table)


def overlays_table(overlays: Sequence[Overlay]) -> pa.Table:
    """Attention maps for pictures as an Arrow table; arrays stay raw bytes (see `Overlay`)."""
    return _table(Overlay, overlays)


def overlays_from_table(table: pa.Table) -> list[Overlay]:
    """Inverse of `overlays_table`."""
    return _rows(Overlay, table)


def answers_table(answers: Sequence[Answer]) -> pa.Table:
    """What a model answered as an Arrow table, one row an answer."""
    return _table(Answer, answers)


def answers_from_table(table: pa.Table) -> list[Answer]:
    """Inverse of `answers_table`."""
    return _rows(Answer, table)


def film_table(frames: Sequence[FilmFrame]) -> pa.Table:
    """Attention maps over training as an Arrow table; maps stay raw bytes (see `FilmFrame`)."""
    return _table(FilmFrame, frames)


def film_from_table(table: pa.Table) -> list[FilmFrame]:
    """Inverse of `film_table`."""
    return _rows(FilmFrame, table)


class DamagedTableError(ValueError):
    """A Parquet file is not what was written."""


# The pages have checksums, which every reader can verify. They leave out the names and types of the columns, so the
# metadata has a digest of the whole file, made with zeros in its place.
_SEAL = "swimlab.sha256"
_BLANK = b"0" * 64
_SEALED = re.compile(re.escape(_SEAL.encode()) + rb"\x18\x40([0-9a-f]{64})")  # key, type and length in Thrift, value


def to_parquet(table: pa.Table, metadata: Mapping[str, str] | None = None) -> bytes:
    """Parquet bytes that depend on the rows, the file's `metadata` and the pyarrow version only."""
    table = table.replace_schema_metadata(None)
    buffer = io.BytesIO()
    with pq.ParquetWriter(buffer, table.schema, compression="zstd", write_page_checksum=True) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({**(metadata or {}), _SEAL: _BLANK.decode()})
    data = buffer.getvalue()
    start, end = list(_SEALED.finditer(data))[-1].span(1)
    return data[:start] + hashlib.sha256(data).hexdigest().encode() + data[end:]


def from_parquet(data: bytes) -> pa.Table:
    """Inverse of `to_parquet`. Raises DamagedTableError for anything else; a file of an older swimlab has no digest."""
    return read_parquet(data)[0]


def read_parquet(data: bytes) -> tuple[pa.Table, dict[str, str]]:
    """Inverse of `to_parquet`, with the file's metadata, which is empty for a file of an older swimlab. Raises
    DamagedTableError."""
    seal = next(reversed(list(_SEALED.finditer(data))), None)
    if seal is not None:
        start, end = seal.span(1)
        if hashlib.sha256(data[:start] + _BLANK + data[end:]).hexdigest() != seal[1].decode():
            raise DamagedTableError("its digest does not fit its content, so it was altered after it was written")
    try:
        with pq.ParquetFile(io.BytesIO(data), page_checksum_verification=True) as file:
            table = file.read(use_threads=False).replace_schema_metadata(None)
            metadata = file.metadata.metadata if seal is not None else {}
    except (OSError, pa.ArrowException) as error:  # a checksum that does not hold is an OSError
        raise DamagedTableError(f"it is no Parquet file that can be read: {error}") from error
    return table, {key.decode(): value.decode() for key, value in metadata.items()}
