"""Small tables of text for pages and terminals."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

Grid = tuple[str, list[str], list[list[str]]]
"""(heading, column heads, rows of cells)"""


def print_grids(grids: Sequence[Grid], console: Console) -> None:
    """Prints each grid as a table with its heading."""
    for heading, heads, rows in grids:
        table = Table(title=Text(heading), title_justify="left")
        for head in heads:
            table.add_column(Text(head), overflow="fold")
        for row in rows:
            table.add_row(*map(Text, row))
        console.print(table)
