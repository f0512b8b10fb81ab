"""The characters of a file, read piece by piece, and where in the file, in bytes, each of them is."""

from __future__ import annotations

import codecs
import json
import re
from typing import BinaryIO

from swim.data.types import DataError

# Half a row is decoded in vain at the end of each piece, so pieces are large against usual rows (1 to 50 kB).
CHUNK_BYTES = 2**20
_SHOWN = 30  # characters of the file shown on each side of an error
_BOMS = {
    "utf-8-sig": {codecs.BOM_UTF8: "utf-8"},
    "utf-16": {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"},
    "utf-32": {codecs.BOM_UTF32_LE: "utf-32-le", codecs.BOM_UTF32_BE: "utf-32-be"},
}

_blanks = re.compile(r"[ \t\n\r]*").match  # what JSON calls white space


def past_blanks(text: str, at: int) -> int:
    """Where the next character that is not blank is in `text`."""
    return _blanks(text, at).end()  # type: ignore[union-attr]  # matches everywhere


def encoding_of(file: BinaryIO) -> str:
    """The encoding of a JSON file, as `json.loads` tells it for bytes; the file is left behind the byte order mark."""
    begin = file.read(4)
    encoding = json.detect_encoding(begin)
    for mark, meant in _BOMS.get(encoding, {}).items():
        if begin.startswith(mark):
            file.seek(len(mark))
            return meant
    file.seek(0)
    return encoding


class Text:
    """A file's characters from where it stands: `ahead` holds those read and not yet let go, `at` is the first one not
    yet used in it. `encoding` names one without byte order mark (UTF-8, UTF-16-LE, …).
    """

    def __init__(self, file: BinaryIO, name: str, encoding: str, chunk_bytes: int = CHUNK_BYTES) -> None:
        self._decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
        self._file, self.name, self.encoding, self._step = file, name, encoding, chunk_bytes
        self.ahead, self.at = "", 0
        self._counted, self._counted_byte = 0, file.tell()  # a character of `ahead`, and its byte in the file
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
            new = error.object[: error.start].decode(self.encoding, "surrogatepass")
        if block:
            self.position()
            self.ahead, self.at, self._counted = self.ahead[self.at :] + new, 0, 0
        return bool(block)

    def next(self) -> str:
        """The next character that is not blank, left in place; empty at the end."""
        while True:
            self.at = past_blanks(self.ahead, self.at)
            if self.at < len(self.ahead) or not self.more():
                return self.ahead[self.at : self.at + 1]

    def byte(self, at: int) -> int:
        """Where in the file, in bytes from 0, a character of `ahead` is that is not yet used."""
        return self._counted_byte + len(self.ahead[self._counted : at].encode(self.encoding, "surrogatepass"))

    def position(self) -> int:
        """`byte(at)`, remembered: each character is encoded once, however often this is asked."""
        self._counted, self._counted_byte = self.at, self.byte(self.at)
        return self._counted_byte

    def error(self, reason: str, at: int, *, hint: str, row: int = -1) -> DataError:
        """An error at a character of `ahead`."""
        shown = self.ahead[max(at - _SHOWN, 0) : at + _SHOWN]
        reason = f"{reason}, at byte {self.byte(at)}, near {shown!r}"
        return DataError(reason, field="file", hint=hint, file=self.name, row=row)

    def not_unicode(self, row: int = -1) -> DataError:
        """The error that stopped the reading."""
        why = self.fault.reason if self.fault else ""
        hint = "copy the file again if it is cut off there, else save it as UTF-8"
        return self.error(f"not valid {self.encoding}: {why}", len(self.ahead), row=row, hint=hint)
