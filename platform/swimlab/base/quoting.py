"""Quoting of names and paths in the lines that pages print for copying: of a shell, of SQL and of Python."""

from __future__ import annotations

import re
import shlex

from swimlab.base.printable import printable


def shell(text: str) -> str:
    """The text as one word of a shell. A page cannot show control characters, so a text with some is written as
    $'…', which bash and zsh read."""
    if printable(text, keep="") == text:
        return shlex.quote(text)
    return f"$'{''.join(map(_ansi_c, text))}'"


def _ansi_c(char: str) -> str:
    if char in "\\'":
        return f"\\{char}"
    if printable(char, keep="") == char:
        return char
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name that is no UTF-8, as Python spells it
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def sql_name(name: str) -> str:
    """A column or table of that name in SQL."""
    return '"' + name.replace('"', '""') + '"'


def sql_text(text: str) -> str:
    """A text value in SQL. Backslashes mean nothing in it."""
    return "'" + text.replace("'", "''") + "'"


def python_block(text: str) -> str:
    """A Python string of several lines, between three quotes; other control characters become escapes of Python."""
    escaped = printable(text.replace("\\", "\\\\"), keep="\n")
    return "'''" + re.sub(r"'(?=''|\Z)", r"\\'", escaped) + "'''"
