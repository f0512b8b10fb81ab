"""The table in the terminal and in logs."""

from __future__ import annotations

import io
from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from swimlab.base.screen import Screen
from swimlab.report import row_claims
from swimlab.report.cells import TRAILING_COLUMNS, _claim_cells, arm_name
from swimlab.report.number_format import as_printed, mean_ci
from swimlab.report.table import Table
from swimlab.stats.pairing import mixed_of

VERDICT_STYLE = {
    "REPRODUCED": "bold green",
    "SHIFTED": "bold yellow",
    "CONTRADICTED": "bold red",
    "EQUIVALENT": "bold blue",
    "UNDERPOWERED": "bold magenta",
    "NOT_RUN": "dim",
    "MIXED": "bold yellow",
}


def terminal(table: Table) -> RenderableType:
    """The table for any rich console, as `run` and `report` print it at the end."""
    title = table.title + (f": {table.question}" if table.question else "")
    parts: list[RenderableType] = [Text(title, style="bold"), Text(table.caveat, style="italic"), _rows_grid(table)]
    parts += [Text(f"* {c.measured} stands in for {c.name}", "dim") for c in table.columns if c.standin]
    if table.claims:
        parts.append(_claims_grid(table))
        parts += [Text(table.judging, "dim")] if table.judging else []
    if by_rows := row_claims.grid(table):
        heading, heads, cells = by_rows
        parts += [Text(f"{heading}. {row_claims.NOTE}", "dim"), _text_grid(heads, cells)]
    if table.self_test:
        test = table.self_test
        parts.append(Text(f"A/A  {test.arm} against itself: {mean_ci(test.interval, signed=True)}, {test.text}"))
    parts.append(Text(table.replication, "dim"))
    if table.protocol:
        parts.append(Text(f"protocol  {table.protocol.text}", "yellow" if table.protocol.amended else ""))
    if table.mixed:
        parts.append(Text(f"MIXED: no verdicts. {mixed_of(table.mixture)}", style="bold yellow"))
    parts += [Text(f"{t.state}: {t.arm}, seed {t.seed} ({t.trial_id}): {t.problem}", "red") for t in table.problems]
    parts += [Text(f"quarantined: {count} × {reason}", "yellow") for reason, count in table.quarantine.items()]
    return Group(*parts)


def render_terminal(table: Table, width: int = 120) -> str:
    """The same as plain text without colour codes, for logs; `width` in columns."""
    console = Screen(file=io.StringIO(), width=width, force_terminal=False, color_system=None, legacy_windows=False)
    console.print(terminal(table))
    file = console.file
    assert isinstance(file, io.StringIO)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"


def _rows_grid(table: Table) -> Grid:
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, padding=0)
    grid.add_column("arm", overflow="fold")
    if table.printed:
        grid.add_column("paper", justify="right")
    for column in table.columns:
        # Heads on two lines: five metrics with their intervals fit a log of 120 columns.
        head = column.measured.replace(".", "\n", 1) + ("*" if column.standin else "")
        grid.add_column(Text(head, justify="right"), justify="right", overflow="fold")
    if table.reference:
        grid.add_column(Text(f"Δ vs\n{table.reference}", justify="right"), justify="right", overflow="fold")
    for trailing in TRAILING_COLUMNS:
        grid.add_column(trailing.head, justify="right", no_wrap=True)
    for row in table.rows:
        cells = [arm_name(row), *([as_printed(row.paper, table.paper_digits)] if table.printed else ())]
        numbers = [mean_ci(cell.interval) for cell in row.cells]
        numbers += [mean_ci(row.over_reference, signed=True)] if table.reference else []
        cells += [text.replace(" ± ", "±") for text in numbers]  # kept on one line, and two columns narrower
        cells += [column.text(table, row) for column in TRAILING_COLUMNS]
        grid.add_row(*map(Text, cells))
    return grid


def _text_grid(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Grid:
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False)
    for head in heads:
        grid.add_column(Text(head), overflow="fold")
    for row in rows:
        grid.add_row(*map(Text, row))
    return grid


def _claims_grid(table: Table) -> Grid:
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("claim", "difference ± 95 % CI", "p (Holm)", "verdict", "why"):
        grid.add_column(title, overflow="fold")
    for claim in table.claims:
        claim_text, mean, p, label, _, why = _claim_cells(claim)
        badge = Text(label, style=VERDICT_STYLE[claim.label])
        grid.add_row(Text(claim_text), Text(mean), Text(p), badge, Text(why))
    return grid
