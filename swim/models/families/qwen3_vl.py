"""Qwen3-VL: the video tokens of Qwen2-VL with text in between: `<1.5 seconds>`, vision start, one T' step, vision end.

So they are no slice of the row, which is why a `Visual` holds positions. The processor's `video_grid_thw` still has one
row a video.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from swim.models.families.qwen2_vl import Block, block_positions, grids, locate

__all__ = ["locate", "positions"]


def positions(config: Any, inputs: Mapping[str, Tensor]) -> Tensor | None:
    """Position ids [3, B, L]: every step is a block of its own, since the text in between tells the time."""
    videos = grids(config, inputs, "video_grid_thw")
    return block_positions(config, inputs, [Block((1, H, W)) for T, H, W in videos for _ in range(T)])
