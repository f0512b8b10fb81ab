"""The report of a run of measurements: a picture, Markdown and one self-contained page, all from the same grids."""

from __future__ import annotations

import base64
import statistics
from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from swimlab.cost_plot import ratio_figure
from swimlab.measurements import Bound, Run
from swimlab.store import SweepStore
from swimlab.verdict import Interval

Grid = tuple[str, list[str], list[list[str]]]
QUANTITIES = {"time_s": "time of a step", "step_bytes": "memory of a step"}
MEASURED = {
    "time_s": ("{:.3f}", 1),
    "tokens_per_s": ("{:.0f}", 1),
    "mfu": ("{:.1f}", 0.01),
    "step_bytes": ("{:.1f}", 2**20),
    "peak_bytes": ("{:.1f}", 2**20),
    "held_bytes": ("{:.2f}", 2**20),
}


def ratio_text(seen: Interval | None) -> str:
    """`1.012 [0.998, 1.027]`; one round has no interval."""
    if seen is None:
        return "–"
    return f"{seen.mean:.3f}" + ("" if seen.low is None else f" [{seen.low:.3f}, {seen.high:.3f}]")


def verdict_grid(run: Run, bounds: Sequence[Bound]) -> Grid:
    """A line a promise, whatever it says."""
    rows = []
    for bound in bounds:
        verdict, seen = bound.judge(run)
        rows.append([bound.text, ratio_text(seen), str(seen.n) if seen else "0", verdict])
    return "Bounds", ["bound", "measured [95 % CI]", "rounds", "verdict"], rows


def cost_grid(run: Run, reference: str) -> Grid:
    """Medians and spread of every scheme and length, and the paired ratios to `reference`."""
    heads = ["size", "tokens", "scheme", "step (s)", "tokens/s", "MFU (%)", "step memory (MiB)", "peak (MiB)"]
    heads += ["held (MiB)", f"time ÷ {reference}", f"memory ÷ {reference}"]
    rows = []
    for size, tokens, scheme in dict.fromkeys((row.size, row.tokens, row.scheme) for row in run.rows):
        mine = [row for row in run.rows if (row.size, row.tokens, row.scheme) == (size, tokens, scheme)]
        head = [size, str(tokens), scheme]
        if lost := [row.outcome for row in mine if row.outcome != "ok"]:
            rows.append([*head, f"{lost[0]} ({len(lost)} of {len(mine)})", *["–"] * 7])
            continue
        seen = {name: list(run.values(name, scheme, size, tokens).values()) for name in MEASURED}
        cells = [_spread(seen[name], form, scale) for name, (form, scale) in MEASURED.items()]
        ratios = [ratio_text(run.ratio(name, scheme, reference, size, tokens)) for name in QUANTITIES]
        rows.append([*head, *cells, *ratios])
    return "Cost", heads, rows


def _spread(values: Sequence[float], form: str, scale: float) -> str:
    """Median, and the lowest and highest where they differ."""
    if not values:
        return "–"
    low, middle, high = (form.format(f(values) / scale) for f in (min, statistics.median, max))
    return middle if low == high else f"{middle} ({low}–{high})"


def markdown(title: str, run: Run, grids: Sequence[Grid], notes: Sequence[str]) -> str:
    """The same for a README or a pull request."""
    lines = [f"# {title}", "", f"Run {run.run_id} on {run.machine}, {run.provenance.finished_at}.", ""]
    lines += [f"_{note}_\n" for note in notes] + ["![ratios](ratios.png)", ""]
    for heading, heads, rows in grids:
        lines += [f"## {heading}", "", f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
        lines += [f"| {' | '.join(row)} |" for row in rows] + [""]
    return "\n".join(lines)


def write_report(
    store: SweepStore, run: Run, size: str, title: str, question: str, grids: Sequence[Grid], notes: Sequence[str]
) -> str:
    """reports/<experiment>/<run_id>/{ratios.png, report.md, index.html}; the page's address."""
    folder = f"reports/{run.experiment}/{run.run_id}"
    picture = ratio_figure(run, size, "sft", QUANTITIES)
    environment = Environment(
        loader=PackageLoader("swimlab", "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    came = run.provenance
    facts = {"run": run.run_id, "machine": run.machine, "git": (came.git_sha or "?")[:9], "finished": came.finished_at}
    facts |= {name: came.versions[name] for name in ("torch", "transformers") if name in came.versions}
    page = environment.get_template("cost.html.j2").render(
        title=title,
        question=question,
        run=run,
        facts=facts,
        notes=notes,
        grids=grids,
        picture=base64.b64encode(picture).decode(),
    )
    files = {
        "ratios.png": picture,
        "report.md": markdown(title, run, grids, notes).encode(),
        "index.html": page.encode(),
    }
    for name, data in files.items():
        store.backend.replace(f"{folder}/{name}", data)
    return f"{store.uri}/{folder}/index.html"
