"""The table as Markdown, with the numbers and the caveat of the page, and helpers for other Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from swimlab.base.printable import one_line
from swimlab.report import row_claims
from swimlab.report.cells import TRAILING_COLUMNS, _cited, _claim_cells, arm_name, column_title
from swimlab.report.evidence import EvidenceIndex
from swimlab.report.number_format import as_printed, mean_ci
from swimlab.report.table import Table


def render_markdown(table: Table, citations: EvidenceIndex) -> str:
    """The table for a README or a pull request. `§1a2b3c4d` after a number is its id in `citations`, the table's
    evidence index, which is listed at the end."""
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
            *(_cited(mean_ci(cell.interval), citations.id("cell", i, j)) for j, cell in enumerate(row.cells)),
            *(
                [_cited(mean_ci(row.over_reference, signed=True), citations.id("reference", i))]
                if table.reference
                else ()
            ),
            *(
                _cited(column.text(table, row), citations.id(column.evidence, i) if column.evidence else "")
                for column in TRAILING_COLUMNS
            ),
        ]
        for i, row in enumerate(table.rows)
    ]
    lines += ["", *md_grid([*heads, *(column.head for column in TRAILING_COLUMNS)], body)]
    if table.claims:
        heads = ["claim", "difference ± 95 % CI", "p (Holm)", "verdict", "to settle it", "why"]
        cells = [
            _claim_cells(claim, citations.id("claim", i), citations.id("own", i))
            for i, claim in enumerate(table.claims)
        ]
        lines += ["", "## Claims", "", *md_grid(heads, cells)]
        lines += ["", md(table.judging)] if table.judging else []
    if by_rows := row_claims.grid(table):
        heading, heads, cells = by_rows
        lines += ["", f"### {md(heading)}", "", *md_grid(heads, cells), "", md(row_claims.NOTE)]
    if table.self_test:
        test = table.self_test
        shown = _cited(mean_ci(test.interval, signed=True), citations.id("self-test"))
        lines += ["", f"A/A: {md(test.arm)} against itself: {shown}, {md(test.text)}."]
    lines += ["", md(table.replication)]
    if table.protocol:
        lines += ["", f"Protocol: {md(table.protocol.text)}."]
    if table.mixed:
        lines += ["", "**MIXED**: these trials may not all be compared, so no verdict is given:", ""]
        lines += [f"- {md(group.label)}: {md(table.members(group))}" for group in table.mixture]
    if table.problems:
        lines += ["", "## Failed or missing trials", ""]
        lines += [f"- {md(t.arm)}, seed {t.seed} ({t.state}): {md(t.problem)}" for t in table.problems]
    if table.quarantine:
        lines += ["", "## Quarantined rows", "", *(f"- {n} × {md(reason)}" for reason, n in table.quarantine.items())]
    if table.notes:
        lines += ["", "## Known inconsistencies of the paper", "", *(f"- {md(note)}" for note in table.notes)]
    ids = [[t.arm, str(t.seed), t.trial_id, t.state] for t in table.trials]
    lines += ["", "## Trials", "", *md_grid(["arm", "seed", "trial", "state"], ids)]
    rests = [[n.id, n.label, n.meaning, " ".join(n.trial_ids)] for n in citations]
    lines += ["", "## Evidence", "", *md_grid(["id", "number", "statistic", "trials"], rests)]
    return "\n".join(lines) + "\n"


_SPECIAL = {mark: f"\\{mark}" for mark in "\\|*_`[]#~"}
# A $ with a backslash still opens a formula on GitHub.
_SPECIAL |= {"&": "&amp;", "<": "&lt;", ">": "&gt;", "$": "&#36;"}
# Alone or before a space at the start, "-", "+", "1." and "1)" open a list; "---" and "===" underline a heading.
_BLOCK = re.compile(r"\A(\d*)([-+.)=])(?=\s|[-=]*\Z)")


def md(text: str) -> str:
    """Text escaped for Markdown, GitHub's formulas and HTML within it, on one line."""
    escaped = "".join(_SPECIAL.get(char, char) for char in one_line(text))
    return _BLOCK.sub(r"\1\\\2", escaped)


def md_grid(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table; cells are plain text and are escaped."""
    lines = [[md(cell) for cell in line] for line in (heads, *rows)]
    lines.insert(1, ["---"] * len(heads))
    return [f"| {' | '.join(line)} |" for line in lines]
