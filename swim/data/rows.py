"""Rows of annotation files of any size, read piece by piece: memory follows the largest row, not their number.

JSON is decoded by the standard library, one row at a time; this module only finds where a row begins, and keeps enough
text ahead for it to end. Text that is cut inside a value fails to decode, whatever the cut, except inside a number: so
a value counts only once the comma or bracket behind it has been seen.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from swim.data.types import DataError

# Half a row is decoded in vain at the end of each piece, so pieces are large against usual rows (1 to 50 kB).
CHUNK_BYTES = 2**20
MAX_ROW_BYTES = 64 * 2**20
_BOM = codecs.BOM_UTF8
_SHOWN = 30  # characters of the file shown on each side of an error
_ARRAY_HINT = "one JSON array of rows is expected; a file with one row a line must end in .jsonl"
_REPAIR_HINT = "correct the text there; the rows before it are readable"
_CUT_HINT = "the file seems cut off: compare its size with the original's and copy it again"

_decode = json.JSONDecoder().raw_decode
_blanks = re.compile(r"[ \t\n\r]*").match  # what JSON calls white space
_unfinished = re.compile(r"[\w\\+.-]{0,32}").fullmatch  # a literal, number or escape that may go on


def read_rows(
    path: str | Path, *, chunk_bytes: int = CHUNK_BYTES, max_row_bytes: int = MAX_ROW_BYTES
) -> Iterator[tuple[int, Any]]:
    """(row number from 0, row) of a .json array or a .jsonl file, in order, as `json.loads` would give them.

    What should be a row and is no JSON object is passed on as it stands, for `parse_row` to refuse: one bad line must
    not cost the others. Inside an array only valid JSON shows where the next row begins; the rows before an error are
    given, then the error is raised. At most a few times the largest row is held in memory, and no row may be larger
    than `max_row_bytes` (characters, in an array).

    Raises DataError naming the file, and the row and byte where there is one: when the file cannot be read, holds
    no array, is not valid JSON or Unicode, ends too early, goes on behind its array, or holds too large a row.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            if path.suffix == ".jsonl":
                yield from _lines(file, str(path), max_row_bytes)
            else:
                yield from _array(_Text(file, str(path), chunk_bytes), max_row_bytes)
    except OSError as error:
        raise DataError(
            f"cannot be read: {error.strerror}", field="file", hint="check the path", file=str(path)
        ) from error


def _lines(file: BinaryIO, name: str, max_row_bytes: int) -> Iterator[tuple[int, Any]]:
    row = 0
    begin = _BOM
    while line := file.readline(max_row_bytes + 1):
        if len(line) > max_row_bytes:
            raise _too_large(max_row_bytes, file.tell() - len(line), file=name, row=row)
        line, begin = line.removeprefix(begin).removesuffix(b"\n"), b""
        if not line.strip():
            continue
        try:
            yield row, json.loads(line)
        except (ValueError, RecursionError):
            yield row, line.decode("utf-8", "replace")
        row += 1


def _array(text: _Text, max_row: int) -> Iterator[tuple[int, Any]]:
    if text.next() != "[":
        raise text.no_array()
    text.at += 1
    row, last = 0, text.next() == "]"
    if last:
        text.at += 1
    while not last:
        start = _past_blanks(text.ahead, text.at)
        try:
            value, end, last = _element(text.ahead, start)
        except RecursionError as error:
            raise text.error("nested too deeply", start, row=row, hint=_REPAIR_HINT) from error
        except ValueError as error:
            text.at = start
            if len(text.ahead) - start <= max_row and text.more():
                continue
            raise _broken(text, error, row, max_row) from error
        if end - start > max_row:
            raise _too_large(max_row, text.byte(start), file=text.name, row=row)
        text.at = end
        yield row, value
        row += 1
    if text.next():
        raise text.error("text behind the end of the array", text.at, hint="keep one array of rows in the file")
    if text.fault:
        raise text.not_unicode()


def _past_blanks(text: str, at: int) -> int:
    return _blanks(text, at).end()  # type: ignore[union-attr]  # matches everywhere


def _element(text: str, start: int) -> tuple[Any, int, bool]:
    """(value, where the next one begins, is it the last). Raises ValueError when it is wrong, or `text` too short."""
    value, end = _decode(text, start)
    end = _past_blanks(text, end)
    behind = text[end : end + 1]
    if behind not in (",", "]") or not behind:
        raise json.JSONDecodeError("Expecting ',' delimiter", text, end)
    return value, end + 1, behind == "]"


def _broken(text: _Text, error: ValueError, row: int, max_row: int) -> DataError:
    """Why the row at `text.at` did not decode, though all text it may have was there."""
    if not isinstance(error, json.JSONDecodeError):  # a whole number of more digits than Python converts
        return text.error(f"not readable: {error}", text.at, row=row, hint=_REPAIR_HINT)
    what = error.msg.removesuffix(" at").removesuffix(" starting")
    cut = what.startswith("Unterminated string") or _unfinished(text.ahead, error.pos)
    if not cut:
        return text.error(f"not valid JSON: {what}", error.pos, row=row, hint=_REPAIR_HINT)
    if text.fault:
        return text.not_unicode(row)
    if not text.ended:
        return _too_large(max_row, text.byte(text.at), file=text.name, row=row)
    return text.error(f"the file ends inside its array: {what}", len(text.ahead), row=row, hint=_CUT_HINT)


def _too_large(max_row: int, byte: int, *, file: str, row: int) -> DataError:
    hint = f"a row may take {max_row} bytes: is a quote or bracket missing? Else cut it into several rows"
    return DataError(f"too large, begins at byte {byte}", field="row", hint=hint, file=file, row=row)


class _Text:
    """A file's characters: `ahead` holds those read and not yet let go, `at` is the first one not yet used in it.

    Encodings are told apart as `json.loads` does it for bytes: UTF-8, UTF-16 and UTF-32, with or without BOM.
    """

    def __init__(self, file: BinaryIO, name: str, chunk_bytes: int) -> None:
        begin = file.read(4)
        file.seek(0)
        self.encoding = json.detect_encoding(begin)
        self._decoder = codecs.getincrementaldecoder(self.encoding)("surrogatepass")
        self._file, self.name, self._step = file, name, chunk_bytes
        self.ahead, self.at = "", 0
        self.ended = False
        self.fault: UnicodeDecodeError | None = None

    def more(self) -> bool:
        """Lets the used characters go and reads on. False, and nothing moved, at the end of what can be read."""
        if self.ended:
            return False
        if self.at == 0 and self.ahead:
            self._step *= 2  # a row larger than that: reading on in equal steps would decode it again for each
        block = self._file.read(self._step)
        try:
            new = self._decoder.decode(block, final=not block)
            self.ended = not block
        except UnicodeDecodeError as error:
            self.fault, self.ended = error, True
            new = error.object[: error.start].decode(error.encoding, "surrogatepass").removeprefix("\ufeff")
        if block:
            self.ahead, self.at = self.ahead[self.at :] + new, 0
        return bool(block)

    def next(self) -> str:
        """The next character that is not blank, left in place; empty at the end."""
        while True:
            self.at = _past_blanks(self.ahead, self.at)
            if self.at < len(self.ahead) or not self.more():
                return self.ahead[self.at : self.at + 1]

    def byte(self, at: int) -> int:
        """Where in the file, in bytes from 0, a character of `ahead` is."""
        unused = len(self.fault.object) - self.fault.start if self.fault else len(self._decoder.getstate()[0])
        # Encoders may put a BOM first: the bracket makes it cancel out.
        behind = len(f"[{self.ahead[at:]}".encode(self.encoding, "surrogatepass")) - len("[".encode(self.encoding))
        return self._file.tell() - unused - behind

    def error(self, reason: str, at: int, *, hint: str, row: int = -1) -> DataError:
        shown = self.ahead[max(at - _SHOWN, 0) : at + _SHOWN]
        reason = f"{reason}, at byte {self.byte(at)}, near {shown!r}"
        return DataError(reason, field="file", hint=hint, file=self.name, row=row)

    def not_unicode(self, row: int = -1) -> DataError:
        why = self.fault.reason if self.fault else ""
        hint = "copy the file again if it is cut off there, else save it as UTF-8"
        return self.error(f"not valid {self.encoding}: {why}", len(self.ahead), row=row, hint=hint)

    def no_array(self) -> DataError:
        if self.fault and self.at == len(self.ahead):
            return self.not_unicode()
        first = self.ahead[self.at : self.at + 1]
        try:
            reason = f"holds a {type(_decode(self.ahead, self.at)[0]).__name__}" if first else "empty"
        except (ValueError, RecursionError):
            reason = f"starts with {first!r}: no array; not valid JSON, or one large value"
        return DataError(reason, field="file", hint=_ARRAY_HINT, file=self.name)
