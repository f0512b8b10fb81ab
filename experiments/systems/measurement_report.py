"""The report of a run of measurements: a picture, Markdown and one self-contained page, all from the same grids."""

from __future__ import annotations

import base64
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console

from measurements import Bound, MeasurementRun
from swimlab.report import html
from swimlab.report.grids import Grid, print_grids
from swimlab.report.markdown import md, md_grid
from swimlab.stats.intervals import Interval
from swimlab.store.sweep_store import SweepStore

MIB = 2**20


@dataclass(frozen=True)
class Column:
    """A quantity as a grid shows it: its values in units of `scale`, or the paired ratio to those of scheme `over`."""

    heading: str
    quantity: str
    form: str = "{:.3f}"
    scale: float = 1
    over: str | None = None

    def cell(self, run: MeasurementRun, scheme: str, **filters: str | int) -> str:
        """Median and spread over the rounds, or the ratio with its interval."""
        if self.over == scheme:
            return "1"
        if self.over is not None:
            return ratio_text(run.ratio(self.quantity, scheme, self.over, **filters))
        return _spread(list(run.values(self.quantity, scheme, **filters).values()), self.form, self.scale)


def ratio_text(interval: Interval | None) -> str:
    """`1.012 [0.998, 1.027]`; one round has no interval."""
    if interval is None:
        return "–"
    return f"{interval.mean:.3f}" + ("" if interval.low is None else f" [{interval.low:.3f}, {interval.high:.3f}]")


def verdict_grid(run: MeasurementRun, bounds: Sequence[Bound]) -> Grid:
    """A line a promise, whatever it says."""
    rows = []
    for bound in bounds:
        verdict, interval = bound.judge(run)
        rows.append([bound.text, ratio_text(interval), str(interval.n) if interval else "0", verdict])
    return "Bounds", ["bound", "measured [95 % CI]", "rounds", "verdict"], rows


def values_grid(
    run: MeasurementRun, heading: str, by: Sequence[str], columns: Sequence[Column], schemes: Sequence[str]
) -> Grid:
    """A line for each of these schemes in each combination of the fields `by` that was measured."""
    rows = []
    for *place, scheme in dict.fromkeys((*(getattr(row, name) for name in by), row.scheme) for row in run.rows):
        if scheme not in schemes:
            continue
        filters = dict(zip(by, place, strict=True))
        matching = run.of(scheme, **filters)
        head = [*map(str, place), scheme]
        if failures := [row.outcome for row in matching if row.outcome != "ok"]:
            rows.append([*head, f"{failures[0]} ({len(failures)} of {len(matching)})", *["–"] * (len(columns) - 1)])
        else:
            rows.append([*head, *(column.cell(run, scheme, **filters) for column in columns)])
    return heading, [*by, "scheme", *(column.heading for column in columns)], rows


def _spread(values: Sequence[float], form: str, scale: float) -> str:
    """Median, and the lowest and highest where they differ."""
    if not values:
        return "–"
    low, middle, high = (form.format(f(values) / scale) for f in (min, statistics.median, max))
    return middle if low == high else f"{middle} ({low}–{high})"


def markdown(title: str, run: MeasurementRun, grids: Sequence[Grid], notes: Sequence[str]) -> str:
    """The same for a README or a pull request."""
    lines = [f"# {md(title)}", "", md(f"Run {run.run_id} on {run.machine}, {run.provenance.finished_at}."), ""]
    lines += [f"_{md(note)}_\n" for note in notes] + ["![measured](measured.png)", ""]
    for heading, heads, rows in grids:
        lines += [f"## {md(heading)}", "", *md_grid(heads, rows), ""]
    return "\n".join(lines)


def show_report(
    store: SweepStore,
    run: MeasurementRun,
    title: str,
    question: str,
    grids: Sequence[Grid],
    notes: Sequence[str],
    picture: bytes,
    console: Console,
) -> None:
    """Prints the grids, writes the report, and prints where it is."""
    print_grids(grids, console)
    page = write_report(store, run, title, question, grids, notes, picture)
    console.print(f"run    {run.run_id}\nstore  {store.uri}\nreport {page}", soft_wrap=True, highlight=False)


def write_report(
    store: SweepStore,
    run: MeasurementRun,
    title: str,
    question: str,
    grids: Sequence[Grid],
    notes: Sequence[str],
    picture: bytes,
) -> str:
    """reports/<experiment>/<run_id>/{measured.png, report.md, index.html}; the page's address."""
    folder = f"reports/{run.experiment}/{run.run_id}"
    origin = run.provenance
    facts = {
        "run": run.run_id,
        "machine": run.machine,
        "git": (origin.git_sha or "?")[:9],
        "finished": origin.finished_at,
    }
    facts |= {name: origin.versions[name] for name in ("torch", "transformers", "ray") if name in origin.versions}
    page = html.render(
        "cost.html.j2",
        title=title,
        question=question,
        run=run,
        facts=facts,
        notes=notes,
        grids=grids,
        picture=base64.b64encode(picture).decode(),
    )
    files = {
        "measured.png": picture,
        "report.md": markdown(title, run, grids, notes).encode(),
        "index.html": page.encode(),
    }
    for name, data in files.items():
        store.backend.replace(f"{folder}/{name}", data)
    return f"{store.uri}/{folder}/index.html"
