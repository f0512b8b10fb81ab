"""The doctor's report: one self-contained page, the same as Markdown and as JSON, beside the table of broken rows."""

from __future__ import annotations

import io

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from swimlab.data.doctor.findings import Findings
from swimlab.data.doctor.row_checks import STATES
from swimlab.report import doctor_text, doctor_words, html
from swimlab.report.figure_style import PALETTE, STYLE
from swimlab.store.sweep_store import SweepStore

PANELS = {
    "objects a row": "objects a row",
    "masks an object": "masks an object",
    "frames annotated a row": "frames annotated a row",
    "object area": "object area, % of the picture",
    "tags a row": "tags a row",
    "turns a row": "turns a row",
    "question characters": "characters of a question",
    "answer characters": "characters of an answer",
    "seconds a video": "seconds a video",
    "frames a video": "frames a video",
    "tokens a clip": "visual tokens a clip",
}
COLUMNS = 4


def folder_of(name: str) -> str:
    """Where the report lies in the store."""
    return f"reports/doctor/{name}"


def write_report(found: Findings, store: SweepStore, *, failed: bool) -> str:
    """Writes the page, Markdown and JSON beside the broken rows, which are there already, and takes away those of an
    earlier exam of that name. The page's address."""
    folder = folder_of(found.name)
    for name, content in write(found, store.uri, failed=failed).items():
        store.backend.replace(f"{folder}/{name}", content.encode())
    kept = {f"{folder}/{name}" for name in found.broken_files}
    for path in store.list_files(folder):
        if path.startswith(f"{folder}/broken-") and path not in kept:
            store.backend.delete(path)
    return f"{store.uri}/{folder}/index.html"


def write(found: Findings, store_uri: str, *, failed: bool) -> dict[str, str]:
    """File name → text."""
    return {
        "summary.json": found.model_dump_json(indent=1),
        "report.md": doctor_text.markdown(found),
        "index.html": render_html(found, store_uri, failed=failed),
    }


def render_html(found: Findings, store_uri: str, *, failed: bool) -> str:
    """The page. Everything that comes from data is cut, made printable and escaped."""
    return html.render(
        "doctor.html.j2",
        count=doctor_words.count,
        share=doctor_words.share,
        size=doctor_words.size,
        found=found,
        states=STATES,
        verdict=doctor_words.verdict(found),
        steps=doctor_words.next_steps(found),
        lines=doctor_words.lines(found),
        areas=doctor_words.area_classes(found),
        charts=charts(found),
        tone="bad" if failed else "fair" if found.state("broken") else "good",
        snippet=_snippet(found, store_uri),
    )


def charts(found: Findings) -> str | None:
    """Small multiples of all histograms that hold anything, as SVG; None when none does."""
    panels = [(subject, title) for subject, title in PANELS.items() if any(found.histograms[subject].values())]
    if not panels:
        return None
    lines = -(-len(panels) // COLUMNS)
    with rc_context(STYLE):
        figure = Figure(figsize=(10.6, 2.0 * lines), layout="constrained")
        axes = figure.subplots(lines, COLUMNS, squeeze=False)
        for axis, (subject, title) in zip(axes.flat, panels, strict=False):
            values = list(found.histograms[subject].values())
            labels = doctor_words.bin_labels(subject)
            first = next(i for i, n in enumerate(values) if n)
            last = max(i for i, n in enumerate(values) if n)
            axis.bar(labels[first : last + 1], values[first : last + 1], color=PALETTE[0], width=0.8)
            axis.set_title(title, parse_math=False)
            axis.set_axisbelow(True)
            axis.grid(visible=False, axis="x")
            wide = len("".join(labels[first : last + 1])) > 18
            axis.tick_params(axis="x", labelsize=7, rotation=45 if wide else 0, length=0)
            axis.yaxis.set_major_locator(MaxNLocator(4, integer=True))
            axis.yaxis.set_major_formatter(lambda value, _: doctor_words.count(value))
            axis.set_xlim(-0.8, max(last - first, 3) + 0.8)
        for axis in list(axes.flat)[len(panels) :]:
            axis.set_axis_off()
        svg = io.StringIO()
        # No metadata: the date would make equal findings differ, and the default names a web page.
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = svg.getvalue()
    return text[text.index("<svg") :]


def _snippet(found: Findings, store_uri: str) -> str:
    return f"""import duckdb

duckdb.sql('''
    select reason, count(*) as rows, min(file || ' row ' || row) as first
    from '{store_uri}/{folder_of(found.name)}/broken-*.parquet'
    group by reason order by rows desc
''').show()"""
