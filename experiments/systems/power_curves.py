"""Power curves of simulated ablations as a picture. PNG bytes, no display."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

from matplotlib import rc_context
from matplotlib.figure import Figure

from swimlab.report.figure_style import PALETTE, STYLE

# seeds → (effect in SDs, share of tables) along the effects
Curves = Mapping[int, Sequence[tuple[float, float]]]


def power_figure(curves: Mapping[tuple[str, int], Curves]) -> bytes:
    """A row a noise and a column a number of claims; keys are (noise, claims). The dashed line is a power of 0.8."""
    noises, claims = list(dict.fromkeys(n for n, _ in curves)), list(dict.fromkeys(c for _, c in curves))
    with rc_context(STYLE):
        figure = Figure(figsize=(3.4 * len(claims), 2.6 * len(noises)), layout="constrained")
        panels = figure.subplots(len(noises), len(claims), squeeze=False, sharex=True, sharey=True)
        for row, noise in enumerate(noises):
            for column, count in enumerate(claims):
                panel = panels[row][column]
                panel.set_title(f"{noise} noise, {count} claim{'s' * (count != 1)}", parse_math=False)
                panel.axhline(0.8, color="#b6bcc4", linestyle="--", linewidth=1)
                for colour, (seeds, points) in zip(PALETTE, curves.get((noise, count), {}).items(), strict=False):
                    effects, shares = zip(*points, strict=True)
                    panel.plot(effects, shares, color=colour, marker="o", markersize=3, label=f"{seeds} seeds")
                panel.set_xscale("log", base=2)
                panel.xaxis.set_major_formatter("{x:g}")
                panel.set_ylim(0, 1.02)
                if row == len(noises) - 1:
                    panel.set_xlabel("true difference, SDs of the paired differences")
                if column == 0:
                    panel.set_ylabel("REPRODUCED")
        panels[0][0].legend(frameon=False)
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=150, metadata={"Software": None})
        return picture.getvalue()
