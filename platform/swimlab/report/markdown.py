"""The table as Markdown, with the numbers and the caveat of the page, and helpers for other Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from swimlab.report.cells import _cited, _claim_cells, arm_name, column_title, seeds_done
from swimlab.report.evidence import EvidenceIndex
from swimlab.report.number_format import as_printed, duration, mean_ci
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
            seeds_done(table, row),
            _cited(duration(row.wall_s), citations.id("cost", i)),
        ]
        for i, row in enumerate(table.rows)
    ]
    lines += ["", *md_grid([*heads, "seeds", "cost"], body)]
    if table.claims:
        heads = ["claim", "difference ± 95 % CI", "p (Holm)", "verdict", "seeds to settle", "why"]
        cells = [_claim_cells(claim, citations.id("claim", i)) for i, claim in enumerate(table.claims)]
        lines += ["", "## Claims", "", *md_grid(heads, cells)]
    if table.self_test:
        test = table.self_test
        shown = _cited(mean_ci(test.interval, signed=True), citations.id("self-test"))
        lines += ["", f"A/A: {md(test.arm)} against itself: {shown}, {test.text}."]
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


def md(text: str) -> str:
    """Text escaped for Markdown and for HTML within it, on one line."""
    text = " ".join(text.split())
    for mark in ("\\", "|", "*", "_", "`", "[", "]", "#"):
        text = text.replace(mark, f"\\{mark}")
    return text.replace("&", "&amp;").replace("<", "&lt;")


def md_grid(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table; cells are plain text and are escaped."""
    lines = [heads, ["---"] * len(heads), *rows]
    return [f"| {' | '.join(cell if cell == '---' else md(cell) for cell in line)} |" for line in lines]
