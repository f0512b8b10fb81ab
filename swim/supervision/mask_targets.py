"""The masks that maps are compared with: worked out once on the CPU as run boundaries, rendered where the maps are.

A mask at 1080p is 8 MB in fp32 and some hundred run boundaries: 32 of them took 384 ms to render on a CPU, while the
GPU waited. Here a map's boundaries are scattered into zeros (+1 where a run of ones starts, -1 where it ends), and
their running sum is the mask. In whole numbers, hence exact and in any order the same.

Dimensions: P maps of one size, C of them in a chunk, E boundaries of all P, h × w pixels or cells.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from swim.data.masks.run_lengths import check_runs, unpack
from swim.data.types import Rle
from swim.supervision.targets import render


@dataclass(frozen=True)
class MaskTargets:
    """Masks of one size. Those annotated at that size are boundaries: `edge_E` counts pixels column by column through
    all maps, each with one place more than it has pixels, and `first_P` are the numbers of their first boundaries;
    `frames_P11` is the number of frames that each is the mean of. Otherwise they are `dense_PHW`."""

    size: tuple[int, int]
    edge_E: Tensor
    delta_E: Tensor
    first_P: tuple[int, ...]
    frames_P11: Tensor
    dense_PHW: Tensor | None = None

    def each(self, change: Callable[[Tensor], Tensor]) -> MaskTargets:
        """With every tensor changed."""
        return replace(
            self,
            edge_E=change(self.edge_E),
            delta_E=change(self.delta_E),
            frames_P11=change(self.frames_P11),
            dense_PHW=None if self.dense_PHW is None else change(self.dense_PHW),
        )

    def chunk(self, first: int, maps: int) -> Tensor:
        """Masks `first` to `first + maps`, fp32 in [0, 1], [C, h, w]: the share of each pixel that the mean over the
        frames covers."""
        if self.dense_PHW is not None:
            return self.dense_PHW[first : first + maps]
        h, w = self.size
        places = h * w + 1
        edges = slice(self.first_P[first], self.first_P[first + maps])
        change = self.delta_E.new_zeros(maps * places)
        change.index_copy_(0, self.edge_E[edges] - first * places, self.delta_E[edges])
        inside_CX: Tensor = change.cumsum(0, dtype=torch.int8).view(maps, places)[:, :-1]
        mask_CHW = inside_CX.reshape(maps, w, h).transpose(1, 2).contiguous().float()
        mask_CHW /= self.frames_P11[first : first + maps]
        return mask_CHW


def mask_targets(masks_P: Sequence[tuple[Rle, ...]], size: tuple[int, int]) -> MaskTargets:
    """The targets of maps that are compared at `size`; `masks_P` has the masks of each map's frames. On the CPU.

    Raises DataError for run lengths that do not fill their mask.
    """
    nothing = torch.zeros(0, dtype=torch.int64)
    frames_P11 = torch.tensor([float(len(masks)) for masks in masks_P])[:, None, None]
    if any((mask.height, mask.width) != size for masks in masks_P for mask in masks):
        # Question and answer name one object with the same masks: each is rendered once.
        rendered = {masks: torch.from_numpy(render(masks, size)) for masks in dict.fromkeys(masks_P)}
        dense_PHW = torch.stack([rendered[masks] for masks in masks_P])
        return MaskTargets(size, nothing, nothing.to(torch.int8), (), frames_P11, dense_PHW)
    places = size[0] * size[1] + 1
    boundaries = [_boundaries(masks) for masks in masks_P]
    edge_E = np.concatenate([edge + p * places for p, (edge, _) in enumerate(boundaries)])
    delta_E = np.concatenate([delta for _, delta in boundaries])
    first_P = (0, *np.cumsum([len(edge) for edge, _ in boundaries]).tolist())
    return MaskTargets(size, torch.from_numpy(edge_E), torch.from_numpy(delta_E), first_P, frames_P11)


@lru_cache(maxsize=4096)
def _boundaries(masks: tuple[Rle, ...]) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    """(pixels in ascending order, change there of the number of masks that cover it), each pixel once."""
    if len(masks) > np.iinfo(np.int8).max:
        raise ValueError(f"{len(masks)} masks of one temporal patch: at most {np.iinfo(np.int8).max} are added up")
    edges, deltas = [], []
    for mask in masks:
        runs = check_runs(unpack(mask.counts), mask.height, mask.width)
        edge = runs[: runs.size & ~1].cumsum()
        edges.append(edge)
        deltas.append(np.where(np.arange(edge.size) % 2, -1.0, 1.0))
    unique, inverse = np.unique(np.concatenate(edges), return_inverse=True)
    return unique, np.bincount(inverse, np.concatenate(deltas), minlength=unique.size).astype(np.int8)
