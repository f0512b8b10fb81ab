"""Tables for CSV: no text of a trial becomes a formula in the spreadsheet that opens the file."""

from __future__ import annotations

import re

import pyarrow as pa

from swimlab.base.printable import printable

# OWASP's list, with the full-width forms that Japanese spreadsheets take for the plain ones.
# https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?")


def cell(text: str) -> str:
    """The text for a cell: control characters are escaped, and what a spreadsheet would compute gets a ' in front."""
    plain = printable(text)
    return f"'{plain}" if plain.startswith(_FORMULA) and not _NUMBER.fullmatch(plain) else plain


def as_cells(table: pa.Table) -> pa.Table:
    """The table with its texts and column names as cells (see `cell`); numbers stay as they are."""
    columns = [
        pa.chunked_array([pa.array([None if text is None else cell(text) for text in column.to_pylist()], column.type)])
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
        else column
        for column in table.columns
    ]
    return pa.table(columns, names=[cell(name) for name in table.column_names])
