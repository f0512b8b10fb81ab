"""Rotary positions in three dimensions, for models that give each visual token its time, height and width.

Dimensions: B batch rows, L row length; T × H × W a block of visual tokens, K = T·H·W.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


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


def block_positions(inputs: Mapping[str, Tensor], blocks: Mapping[int, Sequence[Block]]) -> Tensor | None:
    """Position ids [3, B, L] on the device of `input_ids`, 0 at padding; None for a batch without visual tokens.
    `blocks`: id of a visual token → its blocks in the order of the batch.

    A text token is one further than the largest position before it, on all three axes, and a block starts there: the
    authors' rule (huggingface/transformers#35569), which its releases up to 5.2.0 follow. 5.23 goes on behind a block
    at max(height, width) instead, which for Qwen2.5-VL is inside the time of a video longer than about 18 s.

    Raises ValueError when visual tokens come without `mm_token_type_ids` that mark them, or do not fill their blocks.
    """
    ids_BL = inputs["input_ids"].cpu()
    visual_BL = torch.isin(ids_BL, torch.tensor(list(blocks)))
    if not visual_BL.any():
        return None
    types_BL = inputs.get("mm_token_type_ids")
    if types_BL is None or not torch.equal(types_BL.cpu() != 0, visual_BL):
        raise ValueError(
            f"input_ids hold {int(visual_BL.sum())} visual tokens, and mm_token_type_ids "
            f"{'are missing' if types_BL is None else 'mark others'}: without them transformers counts positions in "
            "one dimension, also when the model generates. Pass the processor's mm_token_type_ids, or position_ids"
        )
    left = {token: iter(of_token) for token, of_token in blocks.items()}
    mask_BL = inputs.get("attention_mask")
    real_BL = torch.ones_like(visual_BL) if mask_BL is None else mask_BL.cpu().bool()
    position_3BL = torch.zeros(3, *ids_BL.shape, dtype=torch.long)
    for row, real_L in enumerate(real_BL):
        position_3BL[:, row, real_L] = _row_positions(row, ids_BL[row, real_L], left)
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
