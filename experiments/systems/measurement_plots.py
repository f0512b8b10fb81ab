"""Measurements as pictures: ratios against a length, or a value for every scheme. PNG bytes, no display."""

from __future__ import annotations

import io
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from measurements import MeasurementRun
from swimlab.report.figure_style import STYLE, arm_colours
from swimlab.stats.intervals import Interval


def ratio_figure(
    run: MeasurementRun, along: str, reference: str, quantities: Mapping[str, str], **filters: Any
) -> bytes:
    """A line a scheme with its 95 % band, against the field `along`. One panel a quantity (field → title), both axes
    logarithmic, `reference` the line at 1."""
    rows = [row for row in run.rows if all(getattr(row, name) == value for name, value in filters.items())]
    schemes = list(dict.fromkeys(row.scheme for row in rows))
    lengths = sorted({getattr(row, along) for row in rows})
    colours = arm_colours(schemes, reference)
    with rc_context(STYLE):
        figure = Figure(figsize=(4.6 * len(quantities), 3.4), layout="constrained")
        for panel, (quantity, title) in zip(
            figure.subplots(1, len(quantities), squeeze=False)[0], quantities.items(), strict=True
        ):
            panel.set_title(f"{title} ÷ {reference}", parse_math=False)
            panel.axhline(1, color=colours.get(reference, "grey"), linestyle="--", linewidth=1, label=reference)
            for scheme in schemes:
                if scheme != reference:
                    ratios = [(n, run.ratio(quantity, scheme, reference, **filters, **{along: n})) for n in lengths]
                    if drawn := [(n, ratio) for n, ratio in ratios if ratio]:
                        _line(panel, scheme, drawn, colours[scheme])
            panel.set_xscale("log", base=2)
            panel.set_yscale("log", base=2)
            for axis in (panel.xaxis, panel.yaxis):
                axis.set_major_formatter("{x:g}")
            panel.set_xticks(lengths, [str(length) for length in lengths])
            panel.set_xlabel(along)
            panel.legend(frameon=False)
        return _png(figure)


def value_figure(run: MeasurementRun, quantity: str, title: str, schemes: Sequence[str], sizes: Sequence[str]) -> bytes:
    """A panel a size: the median of every scheme as a bar, its lowest and highest as a line, the first scheme grey."""
    colours = arm_colours(schemes, schemes[0])
    with rc_context(STYLE):
        figure = Figure(figsize=(4.6 * len(sizes), 0.8 + 0.34 * len(schemes)), layout="constrained")
        for panel, size in zip(figure.subplots(1, len(sizes), squeeze=False)[0], sizes, strict=True):
            panel.set_title(f"{title}, {size}", parse_math=False)
            panel.grid(axis="y", visible=False)
            panel.set_axisbelow(True)
            for at, scheme in enumerate(schemes):
                if values := list(run.values(quantity, scheme, size=size).values()):
                    middle = statistics.median(values)
                    panel.barh(at, middle, height=0.62, color=colours[scheme], alpha=0.85)
                    panel.plot([min(values), max(values)], [at, at], color="#1c2127", linewidth=1)
                    panel.annotate(f" {middle:,.0f}", (max(middle, *values), at), va="center", fontsize=7.5)
            panel.set_yticks(range(len(schemes)), schemes)
            panel.margins(x=0.14)
            panel.invert_yaxis()
        return _png(figure)


def _png(figure: Figure) -> bytes:
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=150, metadata={"Software": None})
    return picture.getvalue()


def _line(panel: object, scheme: str, points: Sequence[tuple[int, Interval]], colour: str) -> None:
    x = [n for n, _ in points]
    low = [ratio.mean if ratio.low is None else ratio.low for _, ratio in points]
    high = [ratio.mean if ratio.high is None else ratio.high for _, ratio in points]
    panel.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)  # type: ignore[attr-defined]
    panel.plot(x, [ratio.mean for _, ratio in points], color=colour, marker="o", markersize=3.5, label=scheme)  # type: ignore[attr-defined]
