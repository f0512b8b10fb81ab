"""Annotation rows of any known format → ReferSample. A row is used exactly as written, or rejected with a reason."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, cast

from swim import registry
from swim.data.annotations.fields import RowFormat, read_numbering
from swim.data.limits import MAX_LABEL_CHARS
from swim.data.rows.unique_keys import InvalidRow
from swim.data.types import DataError, ReferSample

# Loaded by name, never imported here: a new format then changes no trial id of data sets that do not accept it.
FORMATS = "swim.data.formats"


def sample_key(raw: Any, *, file: str, row: int) -> str:
    """`stem:row:id`: unique over files of different names, readable, in the order of the rows; always valid UTF-8."""
    name = raw.get("id") if isinstance(raw, dict) else raw.id if isinstance(raw, InvalidRow) else None
    # Only short values: Python refuses to print integers of more than 4,300 digits, and others make long keys.
    if not isinstance(name, str | int | float) or (isinstance(name, int) and abs(name) >= 10**20):
        name = "?"
    shown = unicodedata.normalize("NFC", str(name)[:MAX_LABEL_CHARS])
    return f"{key_prefix(file)}{row:08d}:{shown}".encode("utf-8", "backslashreplace").decode()


@lru_cache(maxsize=16)
def key_prefix(file: str) -> str:
    """What the keys of a file's rows begin with: `stem:`, valid UTF-8. Composed, as the id is: macOS takes accents
    apart, and the same file has the same keys everywhere."""
    return f"{unicodedata.normalize('NFC', Path(file).stem)}:".encode("utf-8", "backslashreplace").decode()


def locate(error: DataError, *, file: str, row: int, key: str) -> DataError:
    """The same error with the place of the row."""
    return type(error)(error.reason, field=error.field, hint=error.hint, file=file, row=row, key=key)


def parse_row(raw: Any, *, file: str, row: int, formats: tuple[str, ...] | None = None) -> ReferSample:
    """One row as a sample. `formats` are the entries of `swim.data.formats` that are accepted; None accepts all.

    Other entries of the registry make no difference. For any JSON value that is no usable row, raises DataError with
    file, row, field and what to do. Raises ValueError for a format that does not exist.
    """
    accepted = registry.names(FORMATS) if formats is None else formats
    key = sample_key(raw, file=file, row=row)
    try:
        if isinstance(raw, InvalidRow):
            raise DataError(raw.reason, field=raw.field, hint=raw.hint)
        if not isinstance(raw, dict):
            raise DataError("not a JSON object", field="row", hint="a row is {…} with each key once; is it cut off?")
        name = _matching_format(raw, accepted)
        stated = read_numbering(raw)
        content = vars(_format(name).parse(raw))
        return ReferSample(key=key, file=file, row=row, kind=name, **content | {"frames": content["frames"] or stated})
    except DataError as error:
        raise locate(_with_example(error, raw, accepted), file=file, row=row, key=key) from error


def named_videos(raw: Any) -> Iterable[str]:
    """The paths of the videos that a row names, whatever its format and whether it is otherwise right or not."""
    if not isinstance(raw, dict):
        return []
    matching = next((entry for entry in map(_format, registry.names(FORMATS)) if entry.matches(raw)), None)
    return matching.videos(raw) if matching else [video for video in [raw.get("video")] if isinstance(video, str)]


def example_row(name: str) -> str:
    """A right row of a format, as JSON; "" for a format without one."""
    example = _format(name).example
    return json.dumps(example, ensure_ascii=False) if example else ""


def require_marked(sample: ReferSample) -> ReferSample:
    """The sample. Raises DataError when its objects are still `<region>` placeholders, with no noun to supervise."""
    if sample.marks == "region":
        hint = "rewrite the file with experiments/build_nl_refer.py"
        error = DataError("placeholder <region> still in the text", field="conversations", hint=hint)
        raise locate(error, file=sample.file, row=sample.row, key=sample.key)
    return sample


@cache
def _format(name: str) -> RowFormat:
    return cast(RowFormat, registry.load(FORMATS, name))


def _matching_format(raw: dict[str, Any], accepted: tuple[str, ...]) -> str:
    matching = [name for name in accepted if _format(name).matches(raw)]
    if len(matching) == 1:
        return matching[0]
    if matching:
        hint = "formats must exclude each other: correct their `matches`"
        raise DataError(f"matched by several formats: {' and '.join(matching)}", field="row", hint=hint)
    everything = registry.names(FORMATS)
    if other_formats := [name for name in everything if _format(name).matches(raw)]:
        hint = f"accepted are {', '.join(accepted)}: add {other_formats[0]} to data.formats, or take the row out"
        raise DataError(f"a {other_formats[0]} row", field="row", hint=hint)
    closest = _closest(raw)
    hint = f"the closest is {closest}, decided by {_format(closest).decides}"
    raise DataError("of no known format", field="row", hint=hint)


def _with_example(error: DataError, raw: Any, accepted: tuple[str, ...]) -> DataError:
    """The error with a right row of the row's format, or of the closest one."""
    matching = [name for name in accepted if isinstance(raw, dict) and _format(name).matches(raw)]
    name = matching[0] if matching else _closest(raw if isinstance(raw, dict) else {}, accepted)
    example = example_row(name)
    hint = f"{error.hint}; a right {name} row: {example}" if example else error.hint
    return type(error)(error.reason, field=error.field, hint=hint)


def _closest(raw: dict[str, Any], names: tuple[str, ...] = ()) -> str:
    return max(names or registry.names(FORMATS), key=lambda name: _likeness(raw, _format(name)))


def _likeness(raw: dict[str, Any], entry: RowFormat) -> float:
    return sum(raw.get(field) is not None for field in entry.fields) / len(entry.fields)
