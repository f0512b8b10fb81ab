"""Qwen2.5-VL: laid out as Qwen2-VL, with time in its positions. The vision tower reorders patches for its windowed
blocks, and undoes it."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from swim.models.families.qwen2_vl import Block, block_positions, grids, locate

__all__ = ["locate", "positions"]


def positions(config: Any, inputs: Mapping[str, Tensor]) -> Tensor | None:
    """Position ids [3, B, L]: temporal positions count `tokens_per_second` (whole positions, rounded down), and
    `second_per_grid_ts` are the seconds between temporal patches. Raises ValueError where a video has none."""
    videos = grids(config, inputs, "video_grid_thw")
    given = inputs.get("second_per_grid_ts")
    seconds: list[float] = [] if given is None else torch.as_tensor(given).tolist()
    if len(seconds) != len(videos):
        raise ValueError(
            f"{len(videos)} videos, and {len(seconds)} second_per_grid_ts: pass the processor's, one number a video"
        )
    rate = config.vision_config.tokens_per_second
    blocks = [Block(grid, apart, rate) for grid, apart in zip(videos, seconds, strict=True)]
    return block_positions(config, inputs, blocks)
