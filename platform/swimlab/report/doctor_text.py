"""The findings for the terminal, on one screen, and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from swimlab.data.doctor.findings import DoctorFindings
from swimlab.data.doctor.row_checks import STATES
from swimlab.data.doctor.scenes import Case
from swimlab.data.doctor.tally import shown
from swimlab.data.rejected_rows import BrokenRow
from swimlab.report.doctor_words import command, count, lines, next_steps, rows, share, size, verdict
from swimlab.report.markdown import md, md_grid

SCREEN_REASONS = 8
_STYLES = {"usable": "green", "to rewrite": "yellow", "for evaluation": "", "broken": "red"}


def terminal(findings: DoctorFindings, *, failed: bool) -> RenderableType:
    """The findings on one screen, for any rich console. Texts from data carry no markup and no control characters."""
    parts: list[RenderableType] = [Text(_title(findings), style="bold"), _kinds(findings)]
    subjects = Grid.grid(padding=(0, 2, 0, 0))
    subjects.add_column(style="bold", no_wrap=True)
    subjects.add_column(overflow="fold")
    for subject, text in lines(findings):
        subjects.add_row(Text(subject), Text(shown(text, 700)))
    parts.append(subjects)
    if findings.reasons:
        parts.append(_reasons(findings))
    if findings.cases:
        parts.append(_cases(findings))
    for file in findings.problems:
        parts.append(Text(f"not read to its end: {shown(file.problem, 500)}", style="bold red"))
    style = "bold red" if failed else "bold yellow" if findings.state("broken") else "bold green"
    parts += [Text(), Text(verdict(findings), style=style)]
    parts += [Text(f"{number}. {step}") for number, step in enumerate(next_steps(findings), start=1)]
    return Group(*parts)


def markdown(findings: DoctorFindings, store_uri: str) -> str:
    """The findings as Markdown, for a pull request or a note."""
    heads = ["kind", *STATES, "rows"]
    body = [
        [kind, *(count(states.get(state, 0)) for state in STATES), count(sum(states.values()))]
        for kind, states in findings.kinds.items()
    ]
    text = [f"# {md(_title(findings))}", "", f"**{md(verdict(findings))}**", ""]
    text += [f"{number}. {md(step)}" for number, step in enumerate(next_steps(findings), start=1)]
    text += ["", f"Next: {md(command(findings, store_uri))}"]
    text += ["", "## Rows", "", *md_grid(heads, body)]
    text += ["", "## Contents", "", *md_grid(["subject", ""], [[a, shown(b, 700)] for a, b in lines(findings)])]
    if findings.reasons:
        listed = [
            [count(r.rows), r.reason, _first(r.examples), shown(r.examples[0].hint, 200)] for r in findings.reasons
        ]
        text += ["", "## Broken rows", "", *md_grid(["rows", "reason", "first", "what to do"], listed)]
        text += ["", f"All of them: {', '.join(map(md, findings.broken_files))}"]
    files = [[shown(f.file, 200), size(f.size_bytes), count(f.rows), shown(f.problem, 300)] for f in findings.files]
    text += ["", "## Files", "", *md_grid(["file", "size", "rows", "problem"], files)]
    return "\n".join(text) + "\n"


def _title(findings: DoctorFindings) -> str:
    files = "1 file" if len(findings.files) == 1 else f"{len(findings.files)} files"
    total = size(sum(file.size_bytes for file in findings.files))
    return f"doctor {findings.name}: {rows(findings.rows)} in {files} ({total})"


def _kinds(findings: DoctorFindings) -> Grid:
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False)
    grid.add_column("kind")
    for state in (*STATES, "rows"):
        grid.add_column(state, justify="right")
    for kind, states in findings.kinds.items():
        cells = [Text(count(n), style=_STYLES[state]) if (n := states.get(state, 0)) else Text("–") for state in STATES]
        grid.add_row(Text(kind), *cells, Text(count(sum(states.values()))))
    if len(findings.kinds) > 1:
        sums = [f"{count(n)} ({share(n, findings.rows)})" if (n := findings.state(s)) else "–" for s in STATES]
        grid.add_row(
            Text("all", style="bold"), *(Text(text) for text in sums), Text(count(findings.rows), style="bold")
        )
    return grid


def _reasons(findings: DoctorFindings) -> Grid:
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False)
    grid.add_column("broken", justify="right")
    grid.add_column("reason", overflow="fold", ratio=3)
    grid.add_column("first", overflow="fold", ratio=2)
    for reason in findings.reasons[:SCREEN_REASONS]:
        grid.add_row(Text(count(reason.rows)), Text(reason.reason), Text(_first(reason.examples)))
    if (more := findings.distinct["reason"] - SCREEN_REASONS) > 0:
        grid.add_row(Text(), Text(f"and {more} more reasons, in the report"), Text())
    return grid


def _cases(findings: DoctorFindings) -> Grid:
    """The values of single rows: the worst of each caution, and one drawn by chance."""
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False)
    grid.add_column("rows worth a look (drawn in the report)", overflow="fold", ratio=2)
    grid.add_column("measured", overflow="fold", ratio=3)
    grid.add_column("row", overflow="fold", ratio=1)
    worst: dict[str, Case] = {}
    for case in findings.cases:
        if not case.broken:
            worst.setdefault(case.concern, case)
    for case in worst.values():
        place = f"{shown(case.file.rpartition('/')[2], 60)} {case.row}"
        grid.add_row(Text(case.concern), Text(case.text), Text(place))
    return grid


def _first(examples: Sequence[BrokenRow]) -> str:
    """File and row of each example, grouped by file."""
    named: dict[str, list[str]] = {}
    for example in examples:
        named.setdefault(example.file.rpartition("/")[2], []).append(str(example.row))
    return "; ".join(f"{shown(file, 60)} row {', '.join(numbers)}" for file, numbers in named.items())
