"""The table as Markdown and in the terminal: same numbers, same words, same caveat as the page."""

from __future__ import annotations

import io
from collections.abc import Sequence

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from swimlab import evidence
from swimlab.stats.pairing import mixed_of
from swimlab.table import ClaimRow, Column, Row, Table
from swimlab.wording import as_printed, duration, mean_ci, p_value, seeds_needed

VERDICT_STYLE = {
    "REPRODUCED": "bold green",
    "SHIFTED": "bold yellow",
    "CONTRADICTED": "bold red",
    "EQUIVALENT": "bold blue",
    "UNDERPOWERED": "bold magenta",
    "NOT_RUN": "dim",
    "MIXED": "bold yellow",
}


def column_title(column: Column) -> str:
    """The measured metric; a stand-in says what it stands for."""
    return f"{column.measured} (stands in for {column.name})" if column.standin else column.measured


def arm_name(row: Row) -> str:
    """The arm; one that means the same trials as an arm above says so."""
    return f"{row.arm} = {row.same_as}" if row.same_as else row.arm


def seeds_done(table: Table, row: Row) -> str:
    """Seeds of the primary metric that count, of those planned."""
    return f"{len(row.cells[table.primary].values)}/{len(row.trials)}"


def verdict_text(claim: ClaimRow) -> str:
    """The badge in words."""
    only = claim.outcome.verdict is not None and claim.outcome.evidence.direction_only and claim.outcome.interval
    return claim.label.replace("_", " ") + (" (direction only)" if only else "")


def terminal(table: Table) -> RenderableType:
    """What `run` and `report` print at the end, for any rich console."""
    title = table.title + (f": {table.question}" if table.question else "")
    parts: list[RenderableType] = [Text(title, style="bold"), Text(table.caveat, style="italic"), _rows_grid(table)]
    parts += [Text(f"* {c.measured} stands in for {c.name}", "dim") for c in table.columns if c.standin]
    if table.claims:
        parts.append(_claims_grid(table))
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
    """The same as plain text without colour codes, for logs that are no terminal."""
    console = Console(file=io.StringIO(), width=width, force_terminal=False, color_system=None, legacy_windows=False)
    console.print(terminal(table))
    file = console.file
    assert isinstance(file, io.StringIO)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"


def render_markdown(table: Table) -> str:
    """The table for a README or a pull request. `§1a2b3c4d` after a number is the id of its evidence, listed below."""
    ledger = evidence.ledger(table)
    lines = [
        f"# {md(table.title)}",
        "",
        *([md(table.question), ""] if table.question else []),
        f"_{md(table.caveat)}_",
    ]
    heads = ["arm", *(["paper"] if table.printed else ()), *(column_title(c) for c in table.columns)]
    heads += [f"Δ vs {table.reference}"] if table.reference else []
    body = [
        [
            arm_name(row),
            *([as_printed(row.paper, table.paper_digits)] if table.printed else ()),
            *(_cited(mean_ci(cell.interval), ledger.id("cell", i, j)) for j, cell in enumerate(row.cells)),
            *([_cited(mean_ci(row.over_reference, signed=True), ledger.id("reference", i))] if table.reference else ()),
            seeds_done(table, row),
            _cited(duration(row.wall_s), ledger.id("cost", i)),
        ]
        for i, row in enumerate(table.rows)
    ]
    lines += ["", *md_grid([*heads, "seeds", "cost"], body)]
    if table.claims:
        heads = ["claim", "difference ± 95 % CI", "p (Holm)", "verdict", "seeds to settle", "why"]
        cells = [_claim_cells(claim, ledger.id("claim", i)) for i, claim in enumerate(table.claims)]
        lines += ["", "## Claims", "", *md_grid(heads, cells)]
    if table.self_test:
        test = table.self_test
        shown = _cited(mean_ci(test.interval, signed=True), ledger.id("self-test"))
        lines += ["", f"A/A: {md(test.arm)} against itself: {shown}, {test.text}."]
    lines += ["", md(table.replication)]
    if table.protocol:
        lines += ["", f"Protocol: {md(table.protocol.text)}."]
    if table.mixed:
        lines += ["", "**MIXED**: these trials may not all be compared, so no verdict is given:", ""]
        lines += [f"- {md(group.what)}: {md(table.members(group))}" for group in table.mixture]
    if table.problems:
        lines += ["", "## Failed or missing trials", ""]
        lines += [f"- {md(t.arm)}, seed {t.seed} ({t.state}): {md(t.problem)}" for t in table.problems]
    if table.quarantine:
        lines += ["", "## Quarantined rows", "", *(f"- {n} × {md(reason)}" for reason, n in table.quarantine.items())]
    if table.notes:
        lines += ["", "## Known inconsistencies of the paper", "", *(f"- {md(note)}" for note in table.notes)]
    ids = [[t.arm, str(t.seed), t.trial_id, t.state] for t in table.trials]
    lines += ["", "## Trials", "", *md_grid(["arm", "seed", "trial", "state"], ids)]
    rests = [[n.id, n.label, n.meaning, " ".join(n.trial_ids)] for n in ledger]
    lines += ["", "## Evidence", "", *md_grid(["id", "number", "statistic", "trials"], rests)]
    return "\n".join(lines) + "\n"


def _cited(shown: str, evidence_id: str) -> str:
    return f"{shown} §{evidence_id}" if evidence_id else shown


def _claim_cells(claim: ClaimRow, evidence_id: str = "") -> list[str]:
    outcome = claim.outcome
    return [
        claim.text,
        _cited(mean_ci(outcome.interval, signed=True), evidence_id),
        p_value(outcome.p_holm),
        verdict_text(claim),
        seeds_needed(outcome),
        outcome.reason,
    ]


def _rows_grid(table: Table) -> Grid:
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, padding=0)
    grid.add_column("arm", overflow="fold")
    if table.printed:
        grid.add_column("paper", justify="right")
    for column in table.columns:
        # Two lines a head: five metrics with their intervals fit a log of 120 columns.
        head = column.measured.replace(".", "\n", 1) + ("*" if column.standin else "")
        grid.add_column(Text(head, justify="right"), justify="right", overflow="fold")
    if table.reference:
        grid.add_column(Text(f"Δ vs\n{table.reference}", justify="right"), justify="right", overflow="fold")
    for title in ("seeds", "cost"):
        grid.add_column(title, justify="right", no_wrap=True)
    for row in table.rows:
        cells = [arm_name(row), *([as_printed(row.paper, table.paper_digits)] if table.printed else ())]
        seen = [mean_ci(cell.interval) for cell in row.cells]
        seen += [mean_ci(row.over_reference, signed=True)] if table.reference else []
        cells += [text.replace(" ± ", "±") for text in seen]  # unbroken, and two columns narrower
        grid.add_row(*(Text(cell) for cell in (*cells, seeds_done(table, row), duration(row.wall_s))))
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


def md(text: str) -> str:
    """Text that Markdown and the HTML inside it leave alone."""
    text = " ".join(text.split())
    for mark in ("\\", "|", "*", "_", "`", "[", "]", "#"):
        text = text.replace(mark, f"\\{mark}")
    return text.replace("&", "&amp;").replace("<", "&lt;")


def md_grid(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table; its cells are text."""
    lines = [heads, ["---"] * len(heads), *rows]
    return [f"| {' | '.join(cell if cell == '---' else md(cell) for cell in line)} |" for line in lines]
