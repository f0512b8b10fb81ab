"""Qwen2-VL: a video is one run of `video_token_id`, T' steps of two frames, each (H', W') after the spatial merge.

The processor orders patches by merge window, so that every window becomes one token, and windows are in raster order.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from swim.data.documents import Visual


def locate(config: Any, inputs: Mapping[str, Tensor], ids_L: Tensor, nth: int) -> Visual | None:
    """The document's video; its grid is row `nth` of `video_grid_thw` (patches), divided by `spatial_merge_size`.

    Raises ValueError when that row is missing, or is not the grid of as many tokens as the document has.
    """
    columns_K = (ids_L == config.video_token_id).nonzero()[:, 0]
    if not len(columns_K):
        return None
    grids_N3 = inputs.get("video_grid_thw")
    if grids_N3 is None or nth >= len(grids_N3):
        raise ValueError(
            f"document with video {nth} (counted from 0) has {len(columns_K)} video tokens, but video_grid_thw has "
            f"{0 if grids_N3 is None else len(grids_N3)} rows: pass the processor's, one row a video"
        )
    patches = grids_N3[nth].tolist()
    merge = config.vision_config.spatial_merge_size
    T, H, W = patches[0], patches[1] // merge, patches[2] // merge
    if len(columns_K) != T * H * W:
        raise ValueError(
            f"document with video {nth} (counted from 0) has {len(columns_K)} video tokens, but row {nth} of "
            f"video_grid_thw, {patches}, makes {T} × {H} × {W} = {T * H * W} after merging {merge} × {merge} patches: "
            "do not truncate inside a video, keep one row of video_grid_thw a video, in the documents' order; several "
            "videos in one sample are not supported"
        )
    return Visual(columns_K, (T, H, W), config.vision_config.temporal_patch_size)


@dataclass(frozen=True)
class Block:
    """Visual tokens that follow one another in a row: T steps of H × W tokens, the steps `seconds` apart, of `rate`
    temporal positions each."""

    grid: tuple[int, int, int]
    seconds: float = 1
    rate: float = 1

    def positions(self) -> Tensor:
        """Temporal, height and width position of each token, from 0, [3, T·H·W]."""
        T, H, W = (torch.arange(n) for n in self.grid)
        # In this order, as the authors have it: another one rounds to another whole number.
        axes = torch.meshgrid((T * self.seconds * self.rate).long(), H, W, indexing="ij")
        return torch.stack([axis.flatten() for axis in axes])


def positions(config: Any, inputs: Mapping[str, Tensor]) -> Tensor | None:
    """Position ids [3, B, L] (temporal, height, width) by the authors' rule: one step a temporal patch."""
    return block_positions(config, inputs, [Block(grid) for grid in grids(config, inputs, "video_grid_thw")])


def grids(config: Any, inputs: Mapping[str, Tensor], key: str) -> list[tuple[int, int, int]]:
    """The grids of images or videos, in visual tokens."""
    merge = config.vision_config.spatial_merge_size
    patches_N3 = inputs.get(key)
    rows = [] if patches_N3 is None else patches_N3.tolist()
    return [(T, H // merge, W // merge) for T, H, W in rows]


def block_positions(config: Any, inputs: Mapping[str, Tensor], videos: Sequence[Block]) -> Tensor | None:
    """Position ids [3, B, L] on the device of `input_ids`, 0 at padding; None for a batch without visual tokens.

    A text token is one further than the largest position before it, on all three axes, and a block starts there: the
    authors' rule (huggingface/transformers#35569), which its releases up to 5.2.0 follow. 5.23 goes on behind a block
    at max(height, width) instead, which for Qwen2.5-VL is inside the time of a video longer than about 18 s.

    Raises ValueError when visual tokens come without `mm_token_type_ids` that mark them, or do not fill their blocks.
    """
    ids_BL = inputs["input_ids"].cpu()
    image, video = config.image_token_id, config.video_token_id
    visual_BL = (ids_BL == image) | (ids_BL == video)
    if not visual_BL.any():
        return None
    types_BL = inputs.get("mm_token_type_ids")
    if types_BL is None or not torch.equal(types_BL.cpu() != 0, visual_BL):
        raise ValueError(
            f"input_ids hold {int(visual_BL.sum())} visual tokens, and mm_token_type_ids "
            f"{'are missing' if types_BL is None else 'mark others'}: without them transformers counts positions in "
            "one dimension, also when the model generates. Pass the processor's mm_token_type_ids, or position_ids"
        )
    blocks = {
        image: iter([Block(grid) for grid in grids(config, inputs, "image_grid_thw")]),
        video: iter(videos),
    }
    mask_BL = inputs.get("attention_mask")
    real_BL = torch.ones_like(visual_BL) if mask_BL is None else mask_BL.cpu().bool()
    position_3BL = torch.zeros(3, *ids_BL.shape, dtype=torch.long)
    for row, real_L in enumerate(real_BL):
        position_3BL[:, row, real_L] = _row_positions(row, ids_BL[row, real_L], blocks)
    return position_3BL.to(inputs["input_ids"].device)


def _row_positions(row: int, ids_L: Tensor, blocks: Mapping[int, Iterator[Block]]) -> Tensor:
    visual_L = torch.isin(ids_L, torch.tensor(list(blocks)))
    parts: list[Tensor] = []
    begin = start = 0
    while begin < len(ids_L):
        token = int(ids_L[begin])
        if token in blocks:
            block = next(blocks[token], None)
            offset_3K = torch.empty(3, 0) if block is None else block.positions()
            here_K = ids_L[begin : begin + offset_3K.shape[1]]
            if block is None or len(here_K) < offset_3K.shape[1] or bool((here_K != token).any()):
                raise ValueError(
                    f"row {row}: the visual tokens from token {begin} of the sample on do not fill "
                    f"{'a grid: there is none left' if block is None else f'their grid {block.grid}'}; pass the "
                    "processor's image_grid_thw and video_grid_thw, and do not truncate inside a video"
                )
        else:
            next_visual = visual_L[begin:].nonzero()[:1, 0].tolist()
            offset_3K = torch.arange(next_visual[0] if next_visual else len(ids_L) - begin).expand(3, -1)
        parts.append(offset_3K + start)
        start = int(parts[-1].max()) + 1
        begin += offset_3K.shape[1]
    return torch.cat(parts, 1)
