"""The targets of maps: whose masks they are, and those of a temporal patch's frames, rendered when they are needed.

Dimensions: T' temporal patches, h × w pixels or cells of the requested size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from swim import registry
from swim.data.documents import Noun
from swim.data.masks import encodings
from swim.data.types import Rle
from swim.recipe import PatchMasks


def with_targets(nouns: Sequence[Noun], target: str) -> list[Noun]:
    """The nouns of one document with the masks that `target` (an entry of `swim.supervision.target`) says in place of
    their own."""
    masks = registry.load("swim.supervision.target", target)
    return [replace(noun, masks=masks(noun, nouns)) for noun in nouns]


def patch_frames(
    track: Mapping[int, Rle], frames_per_patch: int, patch_masks: PatchMasks = "both"
) -> dict[int, tuple[Rle, ...]]:
    """Temporal patch → its masks: those of all its annotated frames, or ("second", as in the released code) that of its
    last frame alone. Patches without masks are absent: neither supervised nor scored."""
    frames: dict[int, tuple[Rle, ...]] = {}
    for slot in sorted(track):
        patch, frame = divmod(slot, frames_per_patch)
        if patch_masks == "both" or frame == frames_per_patch - 1:
            frames[patch] = (*frames.get(patch, ()), track[slot])
    return frames


def render(frames: Sequence[Rle], size: tuple[int, int], *, union: bool = False) -> NDArray[np.float32]:
    """Masks as one [h, w] in [0, 1] by exact area: their mean (the target of a loss) or their union (the inside
    of a score)."""
    total_hw = np.zeros(size, dtype=np.float32)
    for rle in frames:
        mask_hw = encodings.decode(rle) if (rle.height, rle.width) == size else encodings.to_grid(rle, *size)
        total_hw = np.maximum(total_hw, mask_hw) if union else total_hw + mask_hw
    return total_hw if union else total_hw / np.float32(len(frames))


@lru_cache(maxsize=4096)
def area_share(frames: tuple[Rle, ...]) -> float:
    """The share of the picture that the masks cover, mean over the frames."""
    return sum(encodings.area(rle) / (rle.height * rle.width) for rle in frames) / len(frames)
