"""The report of an ablation: one self-contained HTML page (no request leaves it), and the same table as
Markdown and LaTeX."""

from __future__ import annotations

from typing import Any

from swimlab.base import quoting
from swimlab.experiment.results import Results
from swimlab.report import evidence, figure_data, html, index_page, latex, markdown, row_claims
from swimlab.report.cell_axis import CellAxis, axis
from swimlab.report.evidence import EvidenceIndex
from swimlab.report.figure_style import arm_colours
from swimlab.report.line_plots import SMOOTH_ABOVE_POINTS, learning_curves, trend_plot
from swimlab.report.page_summaries import table_summary
from swimlab.report.table import Table
from swimlab.stats.intervals import Interval
from swimlab.stats.pairing import UNKNOWN

DOTS_PX = 120
FOREST_PX = 250
QUARANTINED_ROWS = 200
MOST_PARTS = 100  # of a number, beside its query: with all of them the page of 5,000 trials had 10 MB


def write_report(results: Results, table: Table) -> str:
    """Writes reports/<ablation>/<recipe>/{index.html, report.md, report.tex, table.json} into the store, replacing
    earlier ones, then the index over all tables.

    Args:
        results: the trials, and the store that they are in.
        table: `summarise` of the same results.

    Returns:
        The address of the page.

    Raises:
        StoreError: when a committed file is missing or has other content than was committed.
    """
    folder = f"reports/{results.ablation.name}/{results.recipe.name}"
    for name, content in write(results, table).items():
        results.store.backend.replace(f"{folder}/{name}", content.encode())
    index_page.write_index(results.store)
    return f"{results.store.uri}/{folder}/index.html"


def write(results: Results, table: Table) -> dict[str, str]:
    """The files of the report, name → text. Raises StoreError as `write_report` does."""
    citations = evidence.evidence_index(table)
    return {
        "index.html": render_html(results, table, citations),
        "report.md": markdown.render_markdown(table, citations),
        "report.tex": latex.render_latex(table, citations),
        index_page.TABLE_SUMMARY: table_summary(results, table, citations).model_dump_json(indent=1),
    }


def render_html(results: Results, table: Table, citations: EvidenceIndex) -> str:
    """The HTML page; everything that comes from data is escaped."""
    colours = arm_colours([row.arm for row in table.rows], table.reference)
    strips_seed, strips = figure_data.pictures(results)
    film_seed, film = figure_data.sharpening(results)
    return html.render(
        "report.html.j2",
        table=table,
        citations=citations,
        uri=results.store.uri,
        most_parts=MOST_PARTS,
        how_to_run=evidence.how_to_run(results.store.uri),
        colours=colours,
        dots=_dots_axis(table),
        forests=_forest_axes(table),
        by_rows=row_claims.grid(table),
        by_rows_note=row_claims.NOTE,
        trends=[(trend, trend_plot(trend)) for trend in figure_data.trends(results)],
        curves=learning_curves(figure_data.learning_curves(results), colours),
        smooth_above=SMOOTH_ABOVE_POINTS,
        quarantined=results.quarantined[:QUARANTINED_ROWS],
        quarantined_total=len(results.quarantined),
        strips=strips,
        strips_seed=strips_seed,
        film=film,
        film_seed=film_seed,
        facts=_facts(results),
        snippet=_snippet(results, table),
    )


def _bounds(interval: Interval | None) -> list[float]:
    return [] if interval is None else [v for v in (interval.low, interval.mean, interval.high) if v is not None]


def _dots_axis(table: Table) -> CellAxis | None:
    cells = [row.cells[table.primary] for row in table.rows]
    values = [v for cell in cells for v in (*cell.values.values(), *_bounds(cell.interval))]
    if table.comparable:
        values += [row.paper for row in table.rows if row.paper is not None]
    return axis(values, DOTS_PX)


def _forest_axes(table: Table) -> dict[str, CellAxis | None]:
    """The axis of the differences in each metric; the A/A row is on that of the primary one."""
    primary = table.columns[table.primary].measured
    axes: dict[str, CellAxis | None] = {}
    for metric in {primary: (), **table.families}:
        claims = [claim for claim in table.claims if claim.metric == metric]
        values = [v for claim in claims for v in _bounds(claim.outcome.interval)]
        values += _bounds(table.self_test.interval) if table.self_test and metric == primary else []
        gaps = [claim.outcome.evidence.paper_gap for claim in claims]
        values += [gap for gap in gaps if gap is not None] if values else []
        margins = [sign * claim.margin for claim in claims for sign in (-1, 1)] if values else []
        axes[metric] = axis([*values, *margins, 0.0], FOREST_PX) if values else None
    return axes


def _facts(results: Results) -> dict[str, list[str]]:
    """Provenance: every distinct value of each field, which shows a mixture of machines or versions."""
    records = [trial.record for trial in results.trials if trial.record]
    facts: dict[str, Any] = {"store": [results.store.uri]}
    facts["code fingerprint"] = [record.code_fingerprint for record in records]
    facts["evaluated by"] = [f"{e.suite}, code {e.code_fingerprint}" for record in records for e in record.evaluations]
    facts["data fingerprint"] = [record.data_fingerprint for record in records]
    facts["git"] = [
        f"{r.provenance.git_sha or 'unknown'}{' + changes' * bool(r.provenance.git_dirty)}" for r in records
    ]
    facts["base trial"] = [record.init_trial_id or "none" for record in records]
    facts["versions"] = [_pairs(record.provenance.versions) for record in records]
    facts["start weights"] = [record.start_weights or UNKNOWN for record in records]
    facts["numerics class"] = [_pairs(record.provenance.numerics) for record in records]
    facts["host"] = [record.provenance.host for record in records]
    facts["first started"] = [min((r.provenance.started_at for r in records), default="never")]
    facts["last finished"] = [max((r.provenance.finished_at for r in records), default="never")]
    facts["recipe"] = [results.recipe.model_dump_json()]
    return {name: list(dict.fromkeys(values)) or ["none"] for name, values in facts.items()}


def _pairs(mapping: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in mapping.items())


def _snippet(results: Results, table: Table) -> str:
    columns = ", ".join(quoting.sql_name(column.measured) for column in table.columns)
    done = ", ".join(quoting.sql_text(trial.trial_id) for trial in results.trials if trial.record)
    query = f"""
    select arm, arms.seed, {columns}
    from arms join trials using (trial_id)
    where trial_id in ({done})
    order by all
"""
    return f"""import duckdb, pyarrow.parquet as pq

store = {results.store.uri!r}
trials = pq.read_table(f"{{store}}/tables/trials/trials.parquet")
arms = pq.read_table(f"{{store}}/tables/arms/{results.ablation.name}.parquet")
duckdb.sql({quoting.python_block(query)}).show()"""
