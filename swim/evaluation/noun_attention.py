"""Where nouns look: one map for each noun that has masks, read from a forward pass over plain text.

Prompts carry no tags here either: tags only say which token to read. P annotated temporal patches, T' temporal patches,
H' × W' visual tokens, H × W pixels; other dimensions as in `swim.supervision.objective`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from swim.data.documents import Noun, documents
from swim.data.encode import Batch, Encoded, NounRow
from swim.data.types import Rle
from swim.recipe import Readout
from swim.supervision.forward import last_hidden
from swim.supervision.maps import NounMap, Reading, noun_maps, plan_reading, upsample
from swim.supervision.objective import stock
from swim.supervision.targets import render
from swim.train import Trained


@dataclass(frozen=True)
class NounAttention:
    """The map of one noun on the temporal patches where it is annotated, `map_PHW` over visual tokens."""

    sample: Encoded
    noun: NounRow
    frames: dict[int, tuple[Rle, ...]]
    map_PHW: torch.Tensor

    def map_of_pixels(self) -> NDArray[np.float64]:
        """The map [P, H, W] at the frames' size."""
        height, width = self.sample.clip.frames_THWC.shape[1:3]
        pixels_PHW: NDArray[np.float64] = upsample(self.map_PHW, (height, width)).double().cpu().numpy()
        return pixels_PHW

    def rendered(self, masks_P: Iterable[Sequence[Rle]]) -> NDArray[np.bool_]:
        """Masks of each of its patches, [P, H, W] at the frames' size: a pixel is inside where any frame's mask covers
        half of it."""
        height, width = self.sample.clip.frames_THWC.shape[1:3]
        return np.stack([render(rles, (height, width), union=True) >= 0.5 for rles in masks_P])

    def map_of_video(self) -> NDArray[np.float32]:
        """[T', H', W'], zero where the noun is not annotated."""
        steps = len(self.sample.clip.frames_THWC) // self.sample.family.frames_per_patch
        map_THW = np.zeros((steps, *self.map_PHW.shape[1:]), dtype=np.float32)
        map_THW[list(self.frames)] = self.map_PHW.float().cpu().numpy()
        return map_THW


class Masks:
    """The masks of a batch's nouns at the frames' size, each rendered once, however many maps are compared with it."""

    def __init__(self) -> None:
        self._rendered: dict[tuple[int, int], NDArray[np.bool_]] = {}

    def of(self, attention: NounAttention) -> NDArray[np.bool_]:
        """The masks of a noun's patches, [P, H, W] (`NounAttention.rendered`)."""
        noun = id(attention.sample), attention.noun.tag  # the batch holds its samples; keys of clips may repeat
        if noun not in self._rendered:
            self._rendered[noun] = attention.rendered(attention.frames.values())
        return self._rendered[noun]


def of_questions(nouns: Sequence[NounRow]) -> Iterator[NounRow]:
    """Questions only: the tag inside an answer is supervised, but at inference the answer is the model's own."""
    return (noun for noun in nouns if not noun.in_answer)


def read(
    trained: Trained, batch: Batch, nouns: Sequence[Sequence[Noun]], readout: Readout
) -> tuple[torch.Tensor, Reading | None]:
    """One forward pass: the last hidden states [B, L, D], and what was read of the nouns (None where there are none).
    `nouns`: those of each conversation."""
    model = stock(trained.model)
    reading = plan_reading(documents(model.config, batch.inputs), nouns, readout, model, batch.labels_BL.device)
    probe = reading.probe if reading else None
    return last_hidden(model, batch.inputs, probe), reading


def attentions(
    batch: Batch, reading: Reading, fusion: str, normalise: str, layer: int | None = None
) -> list[NounAttention]:
    """The map of every noun that was read: of all layers, or of the one at this place among those that were read."""
    a_SNRK = reading.probe.stacked_SNRK()
    groups: dict[int, list[NounMap]] = defaultdict(list)
    for noun_map in noun_maps(reading, a_SNRK if layer is None else a_SNRK[layer : layer + 1], fusion, normalise):
        groups[id(noun_map.read.noun)].append(noun_map)
    result = []
    for maps in groups.values():
        read_noun = maps[0].read
        assert isinstance(read_noun.noun, NounRow)
        # A query that reads a noun in several maps supervises each; here the noun looks where they do on average.
        map_PHW = torch.stack([noun_map.map_PHW for noun_map in maps]).mean(0)
        result.append(NounAttention(batch.samples[read_noun.document], read_noun.noun, maps[0].frames, map_PHW))
    return result
