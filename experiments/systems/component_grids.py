"""Components of variance as grids and as a picture (`variance_components.py`)."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence

from matplotlib import rc_context
from matplotlib.figure import Figure

from swimlab.report.figure_style import PALETTE, STYLE
from swimlab.report.grids import Grid
from swimlab.stats.intervals import ALPHA
from swimlab.stats.variance_components import Component, components, margin_in_sds

# The book judges at 4 and at 8 worlds with half of alpha each; a margin is for the last look.
WORLDS, LOOKS = 8, 2

Values = dict[str, list[list[float]]]
"""Claim or arm → base → order → value."""


def component_grids(
    metric: str,
    claims: Values,
    arms: Values,
    clips_errors: Mapping[str, Sequence[float]],
    margins: Mapping[str, float],
) -> Iterator[Grid]:
    """What varies by how much in one metric, for claims and for arms, then a margin for each claim. `margins`: as
    declared."""
    heads = ["mean", "SD between bases", "SD between orders", "ratio of the two", "test clips", "SD over worlds"]
    for title, kind, values in (("Differences", "claim", claims), ("Scores of arms", "arm", arms)):
        if values:
            rows = [[name, *_cells(of, clips_errors.get(name, ()))] for name, of in values.items()]
            yield f"{title}, {metric}", [kind, *heads], rows
    if margins:
        yield margin_grid(metric, claims, margins)


def _cells(values: Sequence[Sequence[float]], clips_errors: Sequence[float]) -> list[str]:
    found = components(values)
    ratio = "–" if found.ratio is None else "{:.2f} [{:.2f}, {:.2f}]".format(*found.ratio)
    clips = math.sqrt(math.fsum(e**2 for e in clips_errors) / len(clips_errors)) if clips_errors else None
    return [
        f"{found.mean:+.3f}",
        _sd(found.between),
        _sd(found.within),
        ratio,
        "–" if clips is None else f"{clips:.4f}",
        f"{found.world_sd:.4f}",
    ]


def _sd(component: Component) -> str:
    low, high = component.sd_bounds
    return f"{component.sd:.4f} [{low:.4f}, {high:.4f}]"


def margin_grid(metric: str, claims: Values, margins: Mapping[str, float]) -> Grid:
    """The margin at which two equal arms are EQUIVALENT four times in five, by the SD over worlds of each claim, and
    by all of them together for claims that were not measured."""
    reach = margin_in_sds(WORLDS, ALPHA / LOOKS, len(margins))
    sds = {name: components(claims[name]).world_sd for name in margins}
    rows = [
        [name, f"{declared:g}", f"{sds[name]:.4f}", f"{rounded_up(reach * sds[name]):g}"]
        for name, declared in margins.items()
    ]
    pooled = math.sqrt(math.fsum(sd**2 for sd in sds.values()) / len(sds))
    rows.append(["any other claim about it", "–", f"{pooled:.4f}", f"{rounded_up(reach * pooled):g}"])
    title = (
        f"Margins in {metric}: {reach:.2f} SDs over worlds, within which {WORLDS} worlds call equal arms EQUIVALENT 4 "
        f"times in 5 (the last of {LOOKS} looks, Holm over the claims measured)"
    )
    return title, ["claim", "margin declared", "SD over worlds", "margin proposed"], rows


def rounded_up(value: float) -> float:
    """To two digits, upwards: a margin that is rounded down is one that the worlds do not reach."""
    if value == 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return round(math.ceil(round(value / unit, 6)) * unit, 12)


def component_figure(claims: Values) -> bytes:
    """A row a claim, a dot an order, a colour a base. PNG bytes, no display."""
    with rc_context(STYLE):
        figure = Figure(figsize=(7, 0.7 + 0.7 * max(1, len(claims))), layout="constrained")
        panel = figure.subplots()
        for row, values in enumerate(claims.values()):
            for base, of_base in enumerate(values):
                height = row + (base - (len(values) - 1) / 2) * 0.6 / len(values)
                colour = PALETTE[base % len(PALETTE)]
                label = f"base {base}" if row == 0 else None
                panel.plot(of_base, [height] * len(of_base), "o", color=colour, markersize=4, label=label)
        panel.axvline(0, color="#b6bcc4", linewidth=1)
        panel.set_yticks(range(len(claims)), list(claims), parse_math=False)
        panel.invert_yaxis()
        panel.set_xlabel("difference, positive as claimed")
        if claims:
            panel.legend(frameon=False, fontsize=7)
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=150, metadata={"Software": None})
        return picture.getvalue()
