"""Figures of a report: learning curves per arm as inline SVG (matplotlib's Agg family, no display, no files)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from numpy.typing import NDArray

if TYPE_CHECKING:
    from swimlab.report.figure_data import TrendFit
from swimlab.report.figure_data import MetricCurve
from swimlab.report.figure_style import PALETTE, STYLE, to_svg

MOST_PANELS = 6
SMOOTH_ABOVE_POINTS = 60


def learning_curves(curves: Sequence[MetricCurve], colours: Mapping[str, str]) -> str | None:
    """SVG with one panel a metric: mean over seeds, band from the lowest to the highest seed.

    Seeds are averaged on the steps they share. Curves above 60 points, and their bands, are smoothed with a running
    mean of 1/30 of their length, so that the band shows differences of seeds and not of batches. At most six metrics
    are drawn, in name order: those with two steps or more that differ between trials (a learning-rate schedule does
    not).

    Args:
        curves: of every trial and metric.
        colours: arm → colour.

    Returns:
        None without such a metric.
    """
    by_name: dict[str, list[MetricCurve]] = {}
    for curve in curves:
        by_name.setdefault(curve.name, []).append(curve)
    names = [name for name in sorted(by_name) if _differs(by_name[name])][:MOST_PANELS]
    if not names:
        return None
    columns = min(3, len(names))
    lines = -(-len(names) // columns)
    with rc_context(STYLE):
        figure = Figure(figsize=(10.6, 2.5 * lines), layout="constrained")
        axes = figure.subplots(lines, columns, squeeze=False)
        for panel, name in zip(axes.flat, names, strict=False):
            panel.set_title(name, parse_math=False)
            panel.set_axisbelow(True)
            for arm, colour in colours.items():
                _draw(panel, [c for c in by_name[name] if c.arm == arm], colour)
        for panel in list(axes.flat)[len(names) :]:
            panel.set_axis_off()
        for panel in axes[-1]:
            panel.set_xlabel("optimiser steps")
        return to_svg(figure)


def trend_plot(trend: TrendFit) -> str | None:
    """SVG with the points of every seed, the fitted curve and its 95 % band; None without a fit."""
    if trend.fit is None:
        return None
    fit, colour = trend.fit, PALETTE[0]
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.1), layout="constrained")
        panel = figure.subplots()
        panel.set_axisbelow(True)
        if fit.low:
            panel.fill_between(fit.n, fit.low, fit.high, color=colour, alpha=0.16, linewidth=0)
        panel.plot(fit.n, fit.curve, color=colour, linewidth=1.6)
        for amount, by_seed in sorted(trend.points.items()):
            panel.plot([amount] * len(by_seed), list(by_seed.values()), "o", color=colour, markersize=4, alpha=0.65)
        panel.set_xscale("log")
        amounts = sorted(trend.points)
        panel.set_xticks(amounts, [f"{amount:g}" for amount in amounts])
        panel.minorticks_off()
        panel.set_xlabel(trend.axis, parse_math=False)
        panel.set_ylabel(trend.metric, parse_math=False)
        return to_svg(figure)


def _differs(curves: Sequence[MetricCurve]) -> bool:
    longest = max(len(curve.steps) for curve in curves)
    return longest > 1 and (len(curves) == 1 or any(list(c.values) != list(curves[0].values) for c in curves))


def _draw(panel: object, curves: Sequence[MetricCurve], colour: str) -> None:
    shared = sorted(set.intersection(*(set(c.steps) for c in curves))) if curves else []
    if not shared:
        return
    by_step = (dict(zip(c.steps, c.values, strict=True)) for c in curves)
    values_NT = _smooth(np.array([[values[step] for step in shared] for values in by_step]))
    panel.fill_between(shared, values_NT.min(0), values_NT.max(0), color=colour, alpha=0.16, linewidth=0)  # type: ignore[attr-defined]
    panel.plot(shared, values_NT.mean(0), color=colour, linewidth=1.5)  # type: ignore[attr-defined]


def _smooth(values_NT: NDArray[np.float64]) -> NDArray[np.float64]:
    """Running mean over N curves of T points; the window is shorter at the ends, without padding."""
    points = values_NT.shape[1]
    if points <= SMOOTH_ABOVE_POINTS:
        return values_NT
    kernel = np.ones(2 * (points // 60) + 1)
    counts = np.convolve(np.ones(points), kernel, "same")
    return np.stack([np.convolve(row, kernel, "same") / counts for row in values_NT])
