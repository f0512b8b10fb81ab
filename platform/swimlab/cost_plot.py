"""Cost against length: paired ratios to one scheme, a line a scheme with its 95 % band. PNG bytes, no display."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

from matplotlib import rc_context
from matplotlib.figure import Figure

from swimlab.measurements import Run
from swimlab.plots import STYLE, arm_colours
from swimlab.verdict import Interval


def ratio_figure(run: Run, size: str, reference: str, quantities: Mapping[str, str]) -> bytes:
    """One panel a quantity (field of `Measurement` → title), both axes logarithmic, `reference` the line at 1."""
    rows = [row for row in run.rows if row.size == size]
    schemes = list(dict.fromkeys(row.scheme for row in rows))
    lengths = sorted({row.tokens for row in rows})
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
                    seen = [(n, run.ratio(quantity, scheme, reference, size, n)) for n in lengths]
                    if drawn := [(n, found) for n, found in seen if found]:
                        _line(panel, scheme, drawn, colours[scheme])
            panel.set_xscale("log", base=2)
            panel.set_yscale("log", base=2)
            for axis in (panel.xaxis, panel.yaxis):
                axis.set_major_formatter("{x:g}")
            panel.set_xticks(lengths, [str(length) for length in lengths])
            panel.set_xlabel("tokens")
            panel.legend(frameon=False)
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=150, metadata={"Software": None})
    return picture.getvalue()


def _line(panel: object, scheme: str, seen: Sequence[tuple[int, Interval]], colour: str) -> None:
    x = [n for n, _ in seen]
    low = [found.mean if found.low is None else found.low for _, found in seen]
    high = [found.mean if found.high is None else found.high for _, found in seen]
    panel.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)  # type: ignore[attr-defined]
    panel.plot(x, [found.mean for _, found in seen], color=colour, marker="o", markersize=3.5, label=scheme)  # type: ignore[attr-defined]
