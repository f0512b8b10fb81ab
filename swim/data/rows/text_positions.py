"""The characters of a file, read piece by piece, and the byte offset of each in the file."""

from __future__ import annotations

import codecs
import json
import re
from typing import BinaryIO

from swim.data.types import DataError

# Half a row on average is decoded twice at the end of each piece, so pieces are large against rows (1 to 50 kB).
CHUNK_BYTES = 2**20
_SHOWN = 30  # characters of the file shown on each side of an error
_BOMS = {
    "utf-8-sig": {codecs.BOM_UTF8: "utf-8"},
    "utf-16": {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"},
    "utf-32": {codecs.BOM_UTF32_LE: "utf-32-le", codecs.BOM_UTF32_BE: "utf-32-be"},
}
NOT_UTF8_HINT = (
    "save it as UTF-8, from what it was written in: iconv -f WINDOWS-1252 -t UTF-8 (Western Windows; GB18030 for "
    "Chinese, SHIFT_JIS for Japanese); UTF-16 and UTF-32 are read as they are"
)

_blanks = re.compile(r"[ \t\n\r]*").match  # white space of JSON


def past_blanks(text: str, at: int) -> int:
    """The index in `text` of the next character that is not blank."""
    return _blanks(text, at).end()  # type: ignore[union-attr]  # matches everywhere


def encoding_of(file: BinaryIO) -> str:
    """The encoding of a JSON file, as `json.loads` detects it. The file is left after the byte order mark."""
    first_bytes = file.read(4)
    encoding = json.detect_encoding(first_bytes)
    for mark, plain_encoding in _BOMS.get(encoding, {}).items():
        if first_bytes.startswith(mark):
            file.seek(len(mark))
            return plain_encoding
    file.seek(0)
    return encoding


class TextReader:
    """A file's characters from its current position on. `ahead` are those in memory, `at` is the index in it of the
    first one that is not used yet. `encoding` is one without byte order mark (UTF-8, UTF-16-LE, …).
    """

    def __init__(self, file: BinaryIO, name: str, encoding: str, chunk_bytes: int = CHUNK_BYTES) -> None:
        self._decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
        self._file, self.name, self.encoding, self._read_size = file, name, encoding, chunk_bytes
        self.ahead, self.at = "", 0
        self._counted_chars, self._counted_byte = 0, file.tell()  # a character of `ahead`, and its byte in the file
        self.at_end = False
        self.decode_error: UnicodeDecodeError | None = None

    def read_more(self) -> bool:
        """Drops the used characters and reads on. False, without a change, at the end of the readable text."""
        if self.at_end:
            return False
        if self.at == 0 and self.ahead:
            self._read_size *= 2  # the row is larger than a piece: in equal steps it would be decoded again for each
        block = self._file.read(self._read_size)
        try:
            new_text = self._decoder.decode(block, final=not block)
            self.at_end = not block
        except UnicodeDecodeError as error:
            self.decode_error, self.at_end = error, True
            new_text = error.object[: error.start].decode(self.encoding, "surrogatepass")
        if block:
            self.position()
            self.ahead, self.at, self._counted_chars = self.ahead[self.at :] + new_text, 0, 0
        return bool(block)

    def peek(self) -> str:
        """The next character that is not blank, left in place; empty at the end."""
        while True:
            self.at = past_blanks(self.ahead, self.at)
            if self.at < len(self.ahead) or not self.read_more():
                return self.ahead[self.at : self.at + 1]

    def byte_offset(self, at: int) -> int:
        """The byte in the file, from 0, of an unused character of `ahead`."""
        return self._counted_byte + len(self.ahead[self._counted_chars : at].encode(self.encoding, "surrogatepass"))

    def position(self) -> int:
        """The byte of the character at `at`. Cached, so that each character is encoded once."""
        self._counted_chars, self._counted_byte = self.at, self.byte_offset(self.at)
        return self._counted_byte

    def error_at(self, reason: str, at: int, *, hint: str, row: int = -1) -> DataError:
        """The error for a problem at a character of `ahead`."""
        shown = self.ahead[max(at - _SHOWN, 0) : at + _SHOWN]
        reason = f"{reason}, at byte {self.byte_offset(at)}, near {shown!r}"
        return DataError(reason, field="file", hint=hint, file=self.name, row=row)

    def unicode_error(self, row: int = -1) -> DataError:
        """The error for the invalid bytes that stopped the reading."""
        reason = self.decode_error.reason if self.decode_error else ""
        hint = f"copy the file again if it is cut off there, else {NOT_UTF8_HINT}"
        return self.error_at(f"not valid {self.encoding}: {reason}", len(self.ahead), row=row, hint=hint)
