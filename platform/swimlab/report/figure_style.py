"""The style of figures: colours of arms, fonts and lines, and a figure as SVG."""

from __future__ import annotations

import io
from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.text import Text

from swimlab.base.printable import printable

# Eight hues that stay apart for colour-blind readers (after Okabe and Ito), darkened for text on white.
PALETTE = ("#0b6fa4", "#d9822b", "#178a63", "#b3446c", "#6a51a3", "#8a6d3b", "#3aa6b9", "#c03a2b")
REFERENCE_COLOUR = "#7a828c"
STYLE = {
    "font.size": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#b6bcc4",
    "axes.labelcolor": "#59636e",
    "xtick.color": "#59636e",
    "ytick.color": "#59636e",
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "grid.color": "#eceff2",
    # Text stays text and takes the page's font; matplotlib lays it out with its own, which is wider.
    "svg.fonttype": "none",
    "svg.hashsalt": "swimlab",
    "text.parse_math": False,  # a $ in the name of an arm or a metric is a $
}


def arm_colours(arms: Sequence[str], reference: str | None) -> dict[str, str]:
    """Arm → colour, the same in every figure and row of a report; the reference arm is grey."""
    coloured = [arm for arm in arms if arm != reference]
    colours = {arm: PALETTE[i % len(PALETTE)] for i, arm in enumerate(coloured)}
    return {arm: colours.get(arm, REFERENCE_COLOUR) for arm in arms}


def to_svg(figure: Figure) -> str:
    """The figure as an `<svg>` element, without XML header; equal figures give equal text.

    Control characters in the figure's texts are escaped.
    """
    for label in figure.findobj(Text):
        label.set_text(printable(label.get_text()))
    svg = io.StringIO()
    # No metadata: the date would make equal results differ, and the default writes a reference to a web page.
    figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = svg.getvalue()
    return text[text.index("<svg") :]
