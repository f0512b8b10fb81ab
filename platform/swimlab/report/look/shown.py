"""The part of a look that a picture shows: the maps of one word, raw or relative to a neutral prompt, on one scale.

Dimensions: M words, T' temporal patches, H' × W' visual tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from swim.evaluation.word_maps import WordMaps
from swimlab.checkpoints.asking import Look
from swimlab.report.figure_style import PALETTE, REFERENCE_COLOUR

Sink = Literal["raw", "relative"]
SINKS: dict[Sink, str] = {
    "raw": "the attention itself",
    "relative": "divided by that of a neutral prompt, which removes places that every word looks at",
}
# Of the views of a look, in pictures and on the page: grey for the model that the other is compared with.
VIEW_COLOURS = (PALETTE[0], REFERENCE_COLOUR)


@dataclass(frozen=True)
class Panel:
    """One model's fused map of a word, in multiples of an even spread over the video (1 = no preference)."""

    name: str
    colour: str
    map_THW: NDArray[np.float32]
    share_T: NDArray[np.float32]


def fused(maps: WordMaps, sink: Sink) -> NDArray[np.float32]:
    """The fused maps of all words, [M, T', H', W']."""
    return maps.fused_MTHW if sink == "raw" else maps.relative_MTHW()


def panels(look: Look, word: int, sink: Sink) -> list[Panel]:
    """The maps of a word, the model that the others are compared with first."""
    result = []
    for view, colour in zip(look.views, VIEW_COLOURS, strict=False):
        map_THW = fused(view.maps, sink)[word]
        result.append(Panel(view.name, colour, even_spreads(map_THW), shares(map_THW)))
    return result[::-1]


def even_spreads(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Maps [..., T', H', W'] in multiples of an even spread; one without attention is 0 everywhere."""
    mean = maps.mean((-3, -2, -1), keepdims=True)
    spread: NDArray[np.float32] = maps / np.maximum(mean, np.finfo(np.float32).tiny)
    return spread


def shares(map_THW: NDArray[np.float32]) -> NDArray[np.float32]:
    """The share of a map's attention in each temporal patch, [T']; their sum is 1."""
    sum_T = map_THW.sum((-2, -1))
    share_T: NDArray[np.float32] = sum_T / max(float(sum_T.sum()), float(np.finfo(np.float32).tiny))
    return share_T


def top_of(shown: list[Panel]) -> float:
    """The value of the brightest colour: the largest of all models at all times."""
    return max(float(panel.map_THW.max()) for panel in shown)
