"""reports/index.html: every table and search of a store on one page, from the small JSON that each report leaves."""

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
from swimlab.stats.verdicts import Verdict
from swimlab.store.sweep_store import SweepStore

PAGE = "reports/index.html"
DIGEST = "table.json"
OTHER_DIGEST = "page.json"
DRAWING_PX = 150
T = TypeVar("T", bound=BaseModel)
VERDICTS = (*(str(verdict) for verdict in Verdict), "MIXED")


@dataclass(frozen=True)
class Entry:
    """A table as the index shows it; `chosen`: of its recipes the one that counts, see `entries`."""

    digest: TableSummary
    page: str
    chosen: bool
    drawing: CellAxis | None
    colours: dict[str, str]


def write_index(store: SweepStore) -> str:
    """Writes reports/index.html, replacing what is there; its address. Two drivers at once: the last one to read wins,
    and the next report of any of them puts that right."""
    pages = store.list_files("reports")
    unreadable: list[str] = []
    digests = _read(store, pages, DIGEST, TableSummary, unreadable)
    described = _read(store, pages, OTHER_DIGEST, PageSummary, unreadable)
    others = {
        path.removeprefix("reports/"): described.get(path.removesuffix("index.html"))
        for path in pages
        if path.endswith("/index.html") and path != PAGE and path.removesuffix("index.html") not in digests
    }
    page = render_index(store.uri, entries(digests), others, unreadable)
    store.backend.replace(PAGE, page.encode())
    return f"{store.uri}/{PAGE}"


def _read(store: SweepStore, pages: Sequence[str], name: str, kind: type[T], unreadable: list[str]) -> dict[str, T]:
    """Folder → digest; what cannot be read is added to `unreadable`."""
    found: dict[str, T] = {}
    paths = [path for path in pages if path.count("/") == 3 and path.endswith(f"/{name}")]
    for path, data in sorted(store.backend.read_many(paths).items()):
        try:
            found[path.removesuffix(name)] = kind.model_validate_json(data)
        except ValidationError:
            unreadable.append(path)
    return found


def entries(digests: dict[str, TableSummary]) -> list[Entry]:
    """Folder → digest, as rows in the paper's order. Where an ablation was run under several recipes, the page with
    most finished trials is chosen (of equals, the later): only its claims are counted, none twice."""
    best: dict[str, str] = {}
    for folder, one in digests.items():
        rank = (len(one.done), one.last_finished)
        rival = digests.get(best.get(one.name, ""))
        if rival is None or rank > (len(rival.done), rival.last_finished):
            best[one.name] = folder
    rows = [
        Entry(
            digest=one,
            page=f"{folder.removeprefix('reports/')}index.html",
            chosen=best[one.name] == folder,
            drawing=axis([v for arm in one.arms for v in (arm.low, arm.mean, arm.high) if v is not None], DRAWING_PX),
            colours=arm_colours([arm.name for arm in one.arms], one.reference),
        )
        for folder, one in digests.items()
    ]
    titles = {one.name: digests[folder].title for folder, one in digests.items()}
    return sorted(rows, key=lambda e: (*_order(titles[e.digest.name]), e.digest.name, not e.chosen, e.digest.recipe))


def tally(rows: Sequence[Entry]) -> dict[str, int]:
    """How many claims of the chosen pages have each verdict."""
    counts = Counter(claim.verdict for row in rows if row.chosen for claim in row.digest.claims)
    return {verdict: counts[verdict] for verdict in VERDICTS if counts[verdict] or verdict != "MIXED"}


def render_index(
    uri: str, rows: Sequence[Entry], others: Mapping[str, PageSummary | None], unreadable: Sequence[str]
) -> str:
    """The page; its links are relative, so that a copied folder works. `others`: address → what it says of itself."""
    trials = {trial_id: wall_s for row in rows for trial_id, wall_s in row.digest.done.items()}
    return html.render(
        "index.html.j2",
        uri=uri,
        rows=rows,
        tally=tally(rows),
        recipes=sorted({row.digest.recipe for row in rows if row.chosen}),
        direction_only=all(c.direction_only for row in rows if row.chosen for c in row.digest.claims),
        trials=len(trials),
        wall_s=sum(trials.values()),
        others=others,
        unreadable=unreadable,
    )


def _order(title: str) -> tuple[int, list[tuple[bool, int, str]]]:
    """Tables, figures, then the rest; numbers by value."""
    kind = 0 if title.startswith("Table") else 1 if title.startswith("Fig") else 2
    return kind, [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", title)]
