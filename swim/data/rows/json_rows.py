"""Rows of JSON: elements of one array, or one row a line.

JSON is decoded by the standard library, one row at a time; this module only finds where a row begins, and reads enough
text for it to end. Text that is cut inside a value fails to decode, except inside a number: so a value is accepted only
with the comma or bracket after it.

Row boundaries are found by decoding, too. A scan for quotes and brackets alone (NumPy, 2.4 times as fast: 400 instead
of 165 MB/s) would read on after damage, where a missing quote turns the content of strings into rows.
"""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from swim.data.rows.text_positions import NOT_UTF8_HINT, TextReader, past_blanks
from swim.data.rows.unique_keys import InvalidRow, RowDecoder
from swim.data.types import DataError

_ARRAY_HINT = "one JSON array of rows is expected; a file with one row a line must end in .jsonl"
_REPAIR_HINT = "correct the text there; the rows before it are readable"
_CUT_HINT = "the file seems cut off: compare its size with the original's and copy it again"

_Decode = Callable[[str, int], tuple[Any, int]]
_unfinished = re.compile(r"[\w\\+.-]{0,32}").fullmatch  # a literal, number or escape that may go on


def lines(file: BinaryIO, name: str, max_row_bytes: int, row: int = 0) -> Iterator[tuple[int, bytes]]:
    """(row number, its bytes) of the lines that are not blank. Raises DataError at one of more than `max_row_bytes`,
    with the file positioned before it."""
    begin = codecs.BOM_UTF8 if file.tell() == 0 else b""
    while line := file.readline(max_row_bytes + 1):
        if len(line) > max_row_bytes:
            raise too_large_error(max_row_bytes, file.seek(-len(line), io.SEEK_CUR), file=name, row=row)
        line, begin = line.removeprefix(begin).removesuffix(b"\n"), b""
        if line.strip():
            yield row, line
            row += 1


def text_lines(text: TextReader, max_row: int, row: int = 0) -> Iterator[tuple[int, str]]:
    """(row number, text) of the lines from `text.at` that are not blank, in any encoding. Raises DataError at one of
    more than `max_row` characters, or at bytes that are no text, with `text.at` before it."""
    searched = text.at
    while True:
        end = text.ahead.find("\n", searched)
        length = (end if end >= 0 else len(text.ahead)) - text.at
        if length > max_row:
            raise too_large_error(max_row, text.byte_offset(text.at), file=text.name, row=row)
        if end < 0 and text.read_more():
            searched = text.at + length
            continue
        if end < 0 and text.decode_error:
            raise text.unicode_error(row)
        line = text.ahead[text.at : text.at + length]
        text.at += length + (end >= 0)
        if line.strip():
            yield row, line
            row += 1
        if end < 0:
            return
        searched = text.at


def line_value(line: bytes | str, decoder: RowDecoder) -> Any:
    """The JSON value of a line; its text where it is no JSON."""
    try:
        text = line if isinstance(line, str) else line.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        return InvalidRow(f"not valid utf-8: {error.reason}", field="row", hint=NOT_UTF8_HINT)
    try:
        return decoder.decode(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        return text


def enter_filled_array(text: TextReader) -> bool:
    """Reads the opening bracket, of an empty array also the closing one. Whether the array has elements. Raises
    DataError when there is no array."""
    if text.peek() != "[":
        raise _no_array_error(text)
    text.at += 1
    if text.peek() != "]":
        return True
    text.at += 1
    return False


def elements(text: TextReader, max_row: int, row: int = 0) -> Iterator[tuple[int, Any]]:
    """(row number, value) of an array's elements from `text.at`; the comma or bracket after each is read too.

    Raises DataError at the first that is not valid JSON or has more than `max_row` characters.
    """
    decode = RowDecoder().raw_decode
    last = False
    while not last:
        start = past_blanks(text.ahead, text.at)
        try:
            value, end, last = _element(text.ahead, start, decode)
        except RecursionError as error:
            raise text.error_at("nested too deeply", start, row=row, hint=_REPAIR_HINT) from error
        except ValueError as error:
            text.at = start
            if len(text.ahead) - start <= max_row and text.read_more():
                continue
            raise _broken_error(text, error, row, max_row) from error
        if end - start > max_row:
            raise too_large_error(max_row, text.byte_offset(start), file=text.name, row=row)
        text.at = end
        yield row, value
        row += 1


def leave_array(text: TextReader) -> None:
    """Raises DataError when anything follows the closing bracket."""
    if text.peek():
        raise text.error_at("text behind the end of the array", text.at, hint="keep one array of rows in the file")
    if text.decode_error:
        raise text.unicode_error()


def _element(text: str, start: int, decode: _Decode) -> tuple[Any, int, bool]:
    """(value, start of the next one, whether it is the last). Raises ValueError for invalid JSON and for text that is
    too short."""
    value, end = decode(text, start)
    end = past_blanks(text, end)
    delimiter = text[end : end + 1]
    if delimiter not in (",", "]") or not delimiter:
        raise json.JSONDecodeError("Expecting ',' delimiter", text, end)
    return value, end + 1, delimiter == "]"


def _broken_error(text: TextReader, error: ValueError, row: int, max_row: int) -> DataError:
    """The error for the row at `text.at`, which did not decode although `max_row` characters or the whole file are
    read."""
    if not isinstance(error, json.JSONDecodeError):  # a whole number of more digits than Python converts
        return text.error_at(f"not readable: {error}", text.at, row=row, hint=_REPAIR_HINT)
    message = error.msg.removesuffix(" at").removesuffix(" starting")
    cut = message.startswith("Unterminated string") or _unfinished(text.ahead, error.pos)
    if not cut:
        return text.error_at(f"not valid JSON: {message}", error.pos, row=row, hint=_REPAIR_HINT)
    if text.decode_error:
        return text.unicode_error(row)
    if not text.at_end:
        return too_large_error(max_row, text.byte_offset(text.at), file=text.name, row=row)
    return text.error_at(f"the file ends inside its array: {message}", len(text.ahead), row=row, hint=_CUT_HINT)


def too_large_error(max_row: int, byte: int, *, file: str, row: int) -> DataError:
    """The error for a row of more than `max_row` bytes that begins at `byte`."""
    hint = f"a row may take {max_row} bytes: is a quote or bracket missing? Else cut it into several rows"
    return DataError(f"too large, begins at byte {byte}", field="row", hint=hint, file=file, row=row)


def _no_array_error(text: TextReader) -> DataError:
    if text.decode_error and text.at == len(text.ahead):
        return text.unicode_error()
    first = text.ahead[text.at : text.at + 1]
    try:
        reason = f"holds a {type(json.JSONDecoder().raw_decode(text.ahead, text.at)[0]).__name__}" if first else "empty"
    except (ValueError, RecursionError):
        reason = f"starts with {first!r}: no array; not valid JSON, or one large value"
    return DataError(reason, field="file", hint=_ARRAY_HINT, file=text.name)
