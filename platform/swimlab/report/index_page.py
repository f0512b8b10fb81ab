"""reports/index.html: every table and search of a store on one page, from the summaries that their reports wrote."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from swimlab.report import html
from swimlab.report.cell_axis import CellAxis, axis
from swimlab.report.figure_style import arm_colours
from swimlab.report.page_summaries import PageSummary, TableSummary
from swimlab.report.replication import of_tables
from swimlab.stats.intervals import ALPHA
from swimlab.stats.verdicts import Verdict
from swimlab.store.sweep_store import SweepStore

PAGE = "reports/index.html"
TABLE_SUMMARY = "table.json"
PAGE_SUMMARY = "page.json"
DRAWING_PX = 150
T = TypeVar("T", bound=BaseModel)
VERDICTS = (*(str(verdict) for verdict in Verdict), "MIXED")


@dataclass(frozen=True)
class IndexEntry:
    """A table in the index; `counted`: its claims are in the tally (one recipe of each table, see `entries`)."""

    summary: TableSummary
    page: str
    counted: bool
    drawing: CellAxis | None
    colours: dict[str, str]


def write_index(store: SweepStore) -> str:
    """Writes reports/index.html, replacing an earlier one.

    Two processes that write at the same time do not wait for each other: a page that one of them missed appears with
    the next report.

    Returns:
        The address of the index.
    """
    pages = store.list_files("reports")
    unreadable: list[str] = []
    summaries = read_summaries(store, pages, TABLE_SUMMARY, TableSummary, unreadable)
    described = read_summaries(store, pages, PAGE_SUMMARY, PageSummary, unreadable)
    other_pages = {
        path.removeprefix("reports/"): described.get(path.removesuffix("index.html"))
        for path in pages
        if path.endswith("/index.html") and path != PAGE and path.removesuffix("index.html") not in summaries
    }
    page = render_index(store.uri, entries(summaries), other_pages, unreadable)
    store.backend.replace(PAGE, page.encode())
    return f"{store.uri}/{PAGE}"


def read_summaries(
    store: SweepStore, pages: Sequence[str], name: str, kind: type[T], unreadable: list[str]
) -> dict[str, T]:
    """Folder → summary, of those pages that have one; paths that cannot be read are added to `unreadable`."""
    summaries: dict[str, T] = {}
    paths = [path for path in pages if path.count("/") == 3 and path.endswith(f"/{name}")]
    for path, data in sorted(store.backend.read_many(paths).items()):
        try:
            summaries[path.removesuffix(name)] = kind.model_validate_json(data)
        except ValidationError:
            unreadable.append(path)
    return summaries


def entries(summaries: dict[str, TableSummary]) -> list[IndexEntry]:
    """The rows of the index in the paper's order; `summaries` maps folders to summaries.

    Of a table that was run under several recipes, only the page with most finished trials (of equals, the later) is
    counted, so that no claim is counted twice.
    """
    best: dict[str, str] = {}
    for folder, summary in summaries.items():
        rank = (len(summary.done), summary.last_finished)
        rival = summaries.get(best.get(summary.name, ""))
        if rival is None or rank > (len(rival.done), rival.last_finished):
            best[summary.name] = folder
    rows = [
        IndexEntry(
            summary=summary,
            page=f"{folder.removeprefix('reports/')}index.html",
            counted=best[summary.name] == folder,
            drawing=axis(
                [v for arm in summary.arms for v in (arm.low, arm.mean, arm.high) if v is not None], DRAWING_PX
            ),
            colours=arm_colours([arm.name for arm in summary.arms], summary.reference),
        )
        for folder, summary in summaries.items()
    ]
    titles = {summary.name: summaries[folder].title for folder, summary in summaries.items()}
    return sorted(
        rows, key=lambda e: (*_order(titles[e.summary.name]), e.summary.name, not e.counted, e.summary.recipe)
    )


def tally(rows: Sequence[IndexEntry]) -> dict[str, int]:
    """Verdict → number of claims on the counted pages."""
    counts = Counter(claim.verdict for row in rows if row.counted for claim in row.summary.claims)
    return {verdict: counts[verdict] for verdict in VERDICTS if counts[verdict] or verdict != "MIXED"}


def error_rate(rows: Sequence[IndexEntry]) -> str:
    """What α for each family of claims means for all counted pages together; "" without a tested claim."""
    families = sum(len(row.summary.tested) for row in rows if row.counted)
    if not families:
        return ""
    each = 100 * ALPHA / 2
    subject = (
        f"Each of the {families} families of claims (a table's claims about one metric)"
        if families > 1
        else ("The claims about the one metric")
    )
    everywhere = (
        f" A false REPRODUCED anywhere among them has a chance of at most {min(100.0, each * families):g} %, whatever "
        "the tables share."
        if families > 1
        else ""
    )
    return (
        f"{subject} may hold a false REPRODUCED with a chance of at most {each:g} %, and as much a false CONTRADICTED "
        f"or EQUIVALENT.{everywhere} These rates hold for what the seeds of a page replicate, not for what they share."
    )


def render_index(
    uri: str, rows: Sequence[IndexEntry], other_pages: Mapping[str, PageSummary | None], unreadable: Sequence[str]
) -> str:
    """The HTML of the index; its links are relative, so that a copied folder works. `other_pages`: address → summary,
    None for a page without one."""
    trials = {trial_id: wall_s for row in rows for trial_id, wall_s in row.summary.done.items()}
    return html.render(
        "index.html.j2",
        uri=uri,
        rows=rows,
        replication=of_tables({row.summary.name: row.summary.replicate for row in rows if row.counted}),
        tally=tally(rows),
        recipes=sorted({row.summary.recipe for row in rows if row.counted}),
        error_rate=error_rate(rows),
        direction_only=all(c.direction_only for row in rows if row.counted for c in row.summary.claims),
        trials=len(trials),
        wall_s=sum(trials.values()),
        other_pages=other_pages,
        unreadable=unreadable,
    )


def _order(title: str) -> tuple[int, list[tuple[bool, int, str]]]:
    """Tables, figures, then the rest; numbers by value."""
    kind = 0 if title.startswith("Table") else 1 if title.startswith("Fig") else 2
    return kind, [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", title)]
