"""What an annotation file holds, by its name and its first bytes: rows in an array or in lines, and their encoding."""

from __future__ import annotations

import io
import json
from pathlib import PurePosixPath
from typing import Literal

from swim.data.rows.packed import Packing, open_unpacked, packing_of, refuse_foreign
from swim.data.rows.text_positions import NOT_UTF8_HINT, encoding_of
from swim.data.storage import open_range
from swim.data.types import DataError
from swim.recipe import Frozen

HEAD_BYTES = 2**16
_SUFFIXES = (".json", ".jsonl", ".parquet")
_PACKED_SUFFIXES = (".gz", ".bz2", ".xz", ".zst", ".zstd")
_ARCHIVES = (".zip", ".tar", ".tgz", ".7z", ".rar")
_ACCEPTED = ".json (one array), .jsonl (one row a line) and .parquet are read"


class Content(Frozen):
    """How the rows of a file are to be read. `encoding` is that of its text, `packing` its compression."""

    kind: Literal["array", "lines", "parquet"]
    encoding: str = "utf-8"
    packing: Packing = ""


def suffix(name: str) -> str:
    """`.json`, `.jsonl` or `.parquet`: the ending of a name, before that of a compression. Raises DataError for
    others."""
    path = PurePosixPath(name)
    if path.suffix.lower() in _PACKED_SUFFIXES and path.with_suffix("").suffix in (".json", ".jsonl"):
        path = path.with_suffix("")
    if path.suffix in _SUFFIXES:
        return path.suffix
    packed = path.suffix.lower() in (*_ARCHIVES, *_PACKED_SUFFIXES)
    hint = f"unpack it first: {_ACCEPTED}" if packed else f"{_ACCEPTED}: rename it to what it holds"
    raise DataError(f"{path.suffix or 'no ending'}: not a kind that is known", field="file", hint=hint, file=name)


def content_of(name: str) -> Content:
    """What a file holds. A `.jsonl` that begins with an array of objects is read as that array.

    Raises DataError, one for the file, when it cannot be read, is of another kind, or has lines of which none is a JSON
    object.
    """
    ending = suffix(name)
    with open_range(name, 0, HEAD_BYTES) as file:
        head = file.read(HEAD_BYTES)
    packing = packing_of(head)
    if ending == ".parquet":
        if packing:
            hint = "unpack it first: Parquet is compressed inside"
            raise DataError(f"{packing}, not Parquet", field="file", hint=hint, file=name)
        return Content(kind="parquet")
    if packing:
        with open_unpacked(name, packing) as file:
            head = file.read(HEAD_BYTES)
    refuse_foreign(head, name)
    encoding = encoding_of(io.BytesIO(head))
    kind = "array" if ending == ".json" or _is_array(head, encoding, name) else "lines"
    return Content(kind=kind, encoding=encoding, packing=packing)


def _is_array(head: bytes, encoding: str, name: str) -> bool:
    """Whether a file that is called `.jsonl` holds one array. Raises DataError when it holds neither."""
    text = head.decode(encoding, "replace").removeprefix("\ufeff")
    lines = [line for line in text.split("\n") if line.strip()]
    if len(head) == HEAD_BYTES:
        lines = lines[:-1]  # it may be cut off
    begin = text.lstrip()
    if begin.startswith("[") and begin[1:].lstrip()[:1] == "{":
        return not (len(lines) > 1 and isinstance(_value(lines[0]), list))
    if encoding == "utf-8":
        _refuse_other_encodings(head, name)
    if len(lines) > 1 and not any(isinstance(_value(line), dict) for line in lines):
        hint = f"one row a line is expected, or an array of rows: {_advice(begin)}"
        raise DataError(f"no line is a JSON object, near {begin[:30]!r}", field="file", hint=hint, file=name)
    return False


def _refuse_other_encodings(head: bytes, name: str) -> None:
    """Raises DataError for several lines that are no UTF-8: one may be damaged, and costs only itself."""
    broken = 0
    for line in head.split(b"\n")[: None if len(head) < HEAD_BYTES else -1]:
        try:
            line.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            broken += 1
    if broken > 1:
        reason = f"not valid utf-8 in {broken} of its first lines"
        raise DataError(reason, field="file", hint=NOT_UTF8_HINT, file=name)


def _advice(begin: str) -> str:
    if begin.startswith("{"):
        return "is each object spread over several lines? Write it in one"
    if begin.startswith("<"):
        return "is it a web page, of a login or an error? Download the file again"
    return "is it another kind of file?"


def _value(line: str) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
