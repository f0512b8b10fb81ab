"""The page of a look: click a word of the question or of an answer to see where it looks. It needs no server.

Dimensions: S layers, M words, T' temporal patches, H' × W' visual tokens.
"""

from __future__ import annotations

import base64
import io
import zlib
from collections.abc import Iterator
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from swimlab.base.printable import printable
from swimlab.checkpoints.asking import Look, View
from swimlab.report import html
from swimlab.report.attention_maps import COLOURS, DIMMED, LEAST_ALPHA, data_uri
from swimlab.report.look.shown import SINKS, VIEW_COLOURS, Sink, even_spreads, fused, shares

FRAME_PX = 640  # the longer side of a frame
# Values are coded as eight levels an octave, from 2⁻¹⁶ to 2¹⁵·⁷⁵ of an even spread: at most 4.4 % off, also where a
# relative map divides small numbers.
LEVELS, LOWEST = 8, -16
# Maps are one byte a visual token before compression. Beyond this many, layers are shown for the nouns alone.
MOST_BYTES = 24_000_000


def render_page(look: Look, sink: Sink) -> str:
    """The page, with all of its frames and maps. `sink`: what it shows first."""
    words_with_layers = _words_with_layers(look)
    parts = list(_parts(look, words_with_layers))
    codes = b"".join(coded(part).tobytes() for part in parts)
    facts = np.concatenate([_facts(part) for part in parts]).astype("<f4")
    patches, height, width = look.views[0].maps.fused_MTHW.shape[1:]
    data: dict[str, Any] = {
        "texts": [_pieces(look, number) for number in range(len(look.texts))],
        "nouns": look.nouns,
        "words": len(look.words),
        "words_with_layers": words_with_layers,
        "times_s": look.times_s,
        "grid": [patches, height, width],
        "layers": look.views[0].maps.layers,
        "views": [
            {"name": printable(view.name), "text": view.text, "finish": view.finish, "colour": colour}
            for view, colour in zip(look.views, VIEW_COLOURS, strict=False)
        ],
        "sinks": list(SINKS),
        "sink": sink,
        "frames": [_webp(frame_HWC) for frame_HWC in look.frames_THWC],
        "levels": LEVELS,
        "lowest": LOWEST,
        "dimmed": DIMMED,
        "least_alpha": LEAST_ALPHA,
        "colours": base64.b64encode(_colours().tobytes()).decode(),
        "maps": base64.b64encode(zlib.compress(codes, 6)).decode(),
        "facts": base64.b64encode(facts.tobytes()).decode(),
    }
    return html.render("look.html.j2", look=look, data=data, sinks=SINKS, noun=look.words[look.nouns[0]].word)


def coded(maps: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Maps [..., T', H', W'] as bytes: 0 for less than 2^`LOWEST` of an even spread, else 1 + `LEVELS` · (log2 of its
    multiple − `LOWEST`), rounded."""
    spread = even_spreads(maps)
    with np.errstate(divide="ignore"):
        level = 1 + LEVELS * (np.log2(spread) - LOWEST)
    codes: NDArray[np.uint8] = np.clip(np.nan_to_num(np.rint(level), neginf=0.0), 0, 255).astype(np.uint8)
    return codes


def _colours() -> NDArray[np.uint8]:
    """[256, 3]: the colours of a map, RGB."""
    colours: NDArray[np.uint8] = (matplotlib.colormaps[COLOURS](np.arange(256))[:, :3] * 255).astype(np.uint8)
    return colours


def _words_with_layers(look: Look) -> list[int]:
    """The words of which the page has every layer: all, or the nouns where that would be too much."""
    maps = look.views[0].maps
    size_bytes = maps.layers_SMTHW.size * len(look.views) * len(SINKS)
    return list(range(len(look.words))) if size_bytes <= MOST_BYTES else list(look.nouns)


def _parts(look: Look, words_with_layers: list[int]) -> Iterator[NDArray[np.float32]]:
    """Maps in the order in which the page reads them: view, sink, then the fused ones of all words, then each layer."""
    for view in look.views:
        for sink in SINKS:
            yield fused(view.maps, sink)
            yield from _layers(view, sink)[:, words_with_layers]


def _facts(map_MTHW: NDArray[np.float32]) -> NDArray[np.float32]:
    """[M, 1 + T']: the peak of each map, and its share of each patch. Out of the coded maps they would be 4 % off."""
    peak_M = even_spreads(map_MTHW).max((-3, -2, -1))
    return np.column_stack([peak_M, [shares(map_THW) for map_THW in map_MTHW]]).astype(np.float32)


def _layers(view: View, sink: Sink) -> NDArray[np.float32]:
    return view.maps.layers_SMTHW if sink == "raw" else view.maps.relative_layers_SMTHW()


def _pieces(look: Look, number: int) -> list[tuple[str, int]]:
    """A text in pieces: a word and its number, or what stands between words and −1. Control characters are escaped."""
    text, copied = look.texts[number], 0
    pieces: list[tuple[str, int]] = []
    for i, word in enumerate(look.words):
        if word.text == number:
            pieces += [(text[copied : word.start], -1), (word.word, i)]
            copied = word.end
    return [(printable(piece), word) for piece, word in [*pieces, (text[copied:], -1)] if piece]


def _webp(frame_HWC: NDArray[np.uint8]) -> str:
    picture = Image.fromarray(frame_HWC)
    picture.thumbnail((FRAME_PX, FRAME_PX), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=82)
    return data_uri(buffer.getvalue(), "webp")
