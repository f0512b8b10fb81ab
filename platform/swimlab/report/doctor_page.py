"""The doctor's report: one self-contained page, Markdown and JSON, beside the table of broken rows."""

from __future__ import annotations

import glob
from collections.abc import Sequence

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from swimlab.base import quoting
from swimlab.data.doctor.findings import DoctorFindings
from swimlab.data.doctor.row_checks import STATES
from swimlab.data.doctor.scenes import Scene
from swimlab.report import doctor_pictures, doctor_text, doctor_words, html
from swimlab.report.figure_style import PALETTE, STYLE, to_svg
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
    "text tokens a row": "text tokens a row",
    "seconds a video": "seconds a video",
    "frames a video": "frames a video",
    "tokens a clip": "visual tokens a clip",
}
COLUMNS = 4


def folder_of(name: str) -> str:
    """The folder of the report in the store."""
    return f"reports/doctor/{name}"


def write_report(findings: DoctorFindings, store: SweepStore, *, failed: bool, scenes: Sequence[Scene] = ()) -> str:
    """Writes the page, Markdown and JSON beside the broken rows, which the examination wrote, and deletes the broken
    rows of an earlier report of that name.

    Args:
        findings: what the examination found.
        store: where the report goes.
        failed: whether more rows are broken than was allowed; colours the verdict.
        scenes: the rows that are drawn.

    Returns:
        The address of the page.
    """
    folder = folder_of(findings.name)
    for name, content in write(findings, store.uri, failed=failed, scenes=scenes).items():
        store.backend.replace(f"{folder}/{name}", content.encode())
    current = {f"{folder}/{name}" for name in findings.broken_files}
    for path in store.list_files(folder):
        if path.startswith(f"{folder}/broken-") and path not in current:
            store.backend.delete(path)
    return f"{store.uri}/{folder}/index.html"


def write(findings: DoctorFindings, store_uri: str, *, failed: bool, scenes: Sequence[Scene] = ()) -> dict[str, str]:
    """The files of the report, name → text."""
    return {
        "summary.json": findings.model_dump_json(indent=1),
        "report.md": doctor_text.markdown(findings, store_uri),
        "index.html": render_html(findings, store_uri, failed=failed, scenes=scenes),
    }


def render_html(findings: DoctorFindings, store_uri: str, *, failed: bool, scenes: Sequence[Scene] = ()) -> str:
    """The HTML page; everything that comes from data is cut to length, made printable and escaped."""
    return html.render(
        "doctor.html.j2",
        count=doctor_words.count,
        share=doctor_words.share,
        size=doctor_words.size,
        findings=findings,
        states=STATES,
        verdict=doctor_words.verdict(findings),
        steps=doctor_words.next_steps(findings),
        lines=doctor_words.lines(findings),
        areas=doctor_words.area_classes(findings),
        charts=charts(findings),
        tone="bad" if failed else "fair" if findings.state("broken") else "good",
        most_picture_bytes=doctor_pictures.MOST_BYTES,
        cases=doctor_pictures.case_pictures(scenes),
        command=doctor_words.command(findings, store_uri),
        snippet=_snippet(findings, store_uri),
    )


def charts(findings: DoctorFindings) -> str | None:
    """The histograms that are not empty as small panels, as SVG; None when all are empty."""
    panels = [(subject, title) for subject, title in PANELS.items() if any(findings.histograms[subject].values())]
    if not panels:
        return None
    lines = -(-len(panels) // COLUMNS)
    with rc_context(STYLE):
        figure = Figure(figsize=(10.6, 2.0 * lines), layout="constrained")
        axes = figure.subplots(lines, COLUMNS, squeeze=False)
        for axis, (subject, title) in zip(axes.flat, panels, strict=False):
            values = list(findings.histograms[subject].values())
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
        return to_svg(figure)


def _snippet(findings: DoctorFindings, store_uri: str) -> str:
    rows = quoting.sql_text(f"{glob.escape(f'{store_uri}/{folder_of(findings.name)}')}/broken-*.parquet")
    query = f"""
    select reason, count(*) as rows, min(file || ' row ' || row) as first
    from {rows}
    group by reason order by rows desc
"""
    return f"import duckdb\n\nduckdb.sql({quoting.python_block(query)}).show()"
