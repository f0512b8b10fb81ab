"""Figures of a search as inline SVG: Pareto front, values at rungs, importance of axes, parallel coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from optuna.trial import TrialState

from swimlab.experiment.search import Choice
from swimlab.report.figure_style import PALETTE, STYLE, to_svg
from swimlab.report.search_findings import Importance

if TYPE_CHECKING:
    from swimlab.execution.search.results import SearchResults

COMPLETE, PRUNED, BEST = PALETTE[0], PALETTE[1], PALETTE[2]
FAINT = "#c9d0d7"


def front(results: SearchResults, numbers: Sequence[int]) -> str | None:
    """First objective against second, one dot for each complete point; the `numbers` on the front are joined."""
    done = results.complete()
    if len(results.names) < 2 or not done:
        return None
    with rc_context(STYLE):
        figure = Figure(figsize=(5.2, 3.6), layout="constrained")
        panel = figure.subplots()
        for point, answer in done:
            on_it = point.number in numbers
            panel.plot(*answer.values[:2], "o", ms=7 if on_it else 5, color=BEST if on_it else FAINT, mec="white")
        if len(results.names) == 2:
            line = sorted(answer.values[:2] for point, answer in done if point.number in numbers)
            panel.plot(*zip(*line, strict=True), color=BEST, linewidth=1, drawstyle=_stairs(results), zorder=0)
        for point, answer in done:
            if point.number in numbers:
                x, y = answer.values[:2]
                panel.annotate(str(point.number), (x, y), (5, 4), textcoords="offset points", color=BEST)
        panel.set_xlabel(_aim(results, 0))
        panel.set_ylabel(_aim(results, 1))
        return to_svg(figure)


def rungs(results: SearchResults, best: int | None) -> str | None:
    """The first objective at every rung; pruned points end in a cross, the point `best` is drawn thick."""
    reached = [(p, a) for p, a in results.points if a and a.rungs and p.number not in results.repeats]
    if not reached:
        return None
    with rc_context(STYLE):
        figure = Figure(figsize=(5.2, 3.6), layout="constrained")
        panel = figure.subplots()
        for point, answer in sorted(reached, key=lambda pair: pair[0].number == best):
            steps, values = list(answer.rungs), list(answer.rungs.values())
            if answer.state == TrialState.COMPLETE:
                steps, values = [*steps, _steps(results, point)], [*values, answer.values[0]]
            pruned = answer.state == TrialState.PRUNED
            colour = BEST if point.number == best else PRUNED if pruned else COMPLETE
            panel.plot(steps, values, "-", color=colour, linewidth=2.2 if point.number == best else 1.1, alpha=0.85)
            panel.plot(steps[-1], values[-1], "x" if pruned else "o", color=colour, ms=6 if pruned else 4)
        panel.set_xlabel("optimiser steps")
        panel.set_ylabel(results.names[0])
        return to_svg(figure)


def importance(importances: Sequence[Importance], paths: Sequence[str]) -> str | None:
    """Bars, one group for each axis, one colour for each objective."""
    if not importances:
        return None
    order = sorted(paths, key=lambda path: sum(item.shares.get(path, 0.0) for item in importances))
    with rc_context(STYLE):
        figure = Figure(figsize=(10.6, 0.5 + 0.24 * len(order) * (len(importances) + 0.6)), layout="constrained")
        panel = figure.subplots()
        height = 0.8 / len(importances)
        for i, item in enumerate(importances):
            at = np.arange(len(order)) + 0.4 - (i + 0.5) * height
            shares = [item.shares.get(path, 0.0) for path in order]
            panel.barh(at, shares, height * 0.9, color=PALETTE[i % len(PALETTE)], label=item.objective)
            for y, share in zip(at, shares, strict=True):
                panel.text(share + 0.004, y, f"{share:.2f}", va="center", fontsize=7.5, color="#59636e")
        panel.set_yticks(np.arange(len(order)), order)
        panel.grid(visible=False, axis="y")
        panel.set_axisbelow(True)
        panel.set_xlim(0, 1)
        panel.set_xlabel("share in being among the best quarter")
        panel.legend(frameon=False, loc="lower right")
        return to_svg(figure)


def parallel(results: SearchResults, best: int | None) -> str | None:
    """One line for each point through its parameters and objectives, coloured by the first objective. The line of a
    pruned point is dashed, coloured by its last rung, and ends before the objectives."""
    shown = [(p, a) for p, a in results.points if a and (a.values or a.rungs) and p.number not in results.repeats]
    if len(shown) < 2:
        return None
    columns = [*(axis.path for axis in results.search.space), *results.names]
    with rc_context({**STYLE, "axes.grid": False, "axes.spines.left": False, "axes.spines.bottom": False}):
        figure = Figure(figsize=(10.6, 4.2), layout="constrained")
        panel = figure.subplots()
        scales = [_Scale(results, i) for i in range(len(columns))]
        first = [a.values[0] if a.values else list(a.rungs.values())[-1] for _, a in shown]
        shade = matplotlib.colors.Normalize(min(first), max(first))
        colours = matplotlib.colormaps["viridis" if results.search.objectives[0].higher_is_better else "viridis_r"]
        for (point, answer), value in sorted(zip(shown, first, strict=True), key=lambda item: item[1]):
            values = [*point.params.values(), *answer.values]
            heights = [scale.y(v) for scale, v in zip(scales, values, strict=False)]
            # Points with the same choice would hide each other, so each is shifted by its number.
            spread = 0.05 * (point.number / max(1, results.search.budget - 1) - 0.5)
            heights = [y + spread if scale.labels else y for y, scale in zip(heights, scales, strict=False)]
            line, alpha = ("-", 0.9) if answer.values else ("--", 0.5)
            width = 2.6 if point.number == best else 1.2
            panel.plot(
                range(len(heights)), heights, color=colours(shade(value)), linewidth=width, linestyle=line, alpha=alpha
            )
        for at, scale in enumerate(scales):
            panel.axvline(at, color="#b6bcc4", linewidth=1, zorder=0)
            for y, label in scale.ticks():
                panel.text(at + 0.02, y, label, fontsize=7.5, color="#59636e", va="center", zorder=5, parse_math=False,
                           bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6})  # fmt: skip
        panel.set_xticks(range(len(columns)), [name.replace(".", "\n", 1) for name in columns])
        panel.set_yticks([])
        panel.set_xlim(-0.1, len(columns) - 0.6)
        panel.set_ylim(-0.06, 1.06)
        panel.tick_params(length=0)
        figure.colorbar(matplotlib.cm.ScalarMappable(shade, colours), ax=panel, label=results.names[0], pad=0.01)
        return to_svg(figure)


class _Scale:
    """The scale of one column in the parallel coordinates: values → 0…1."""

    def __init__(self, results: SearchResults, index: int) -> None:
        self.labels: list[str] = []
        self._log = False
        axes = results.search.space
        if index < len(axes):
            axis = axes[index]
            if isinstance(axis, Choice):
                self.labels = [str(label) for label in axis.values]
                return
            self._low, self._high, self._log = float(axis.low), float(axis.high), axis.log
        else:
            values = [a.values[index - len(axes)] for _, a in results.complete()] or [0.0]
            self._low, self._high = min(values), max(values)

    def y(self, value: Any) -> float:
        if self.labels:
            return self.labels.index(str(value)) / (len(self.labels) - 1)
        if self._high == self._low:
            return 0.5
        if self._log:
            return float(np.log(value / self._low) / np.log(self._high / self._low))
        return float((value - self._low) / (self._high - self._low))

    def ticks(self) -> list[tuple[float, str]]:
        if self.labels:
            return [(self.y(label), label) for label in self.labels]
        return [(self.y(value), f"{value:.3g}") for value in dict.fromkeys((self._low, self._high))]


def _steps(results: SearchResults, point: Any) -> int:
    return int(point.spec.recipe.optim.total_steps)


def _aim(results: SearchResults, index: int) -> str:
    return (
        f"{results.names[index]} ({'more' if results.search.objectives[index].higher_is_better else 'less'} is better)"
    )


def _stairs(results: SearchResults) -> str:
    return "steps-pre" if results.search.objectives[0].higher_is_better else "steps-post"
