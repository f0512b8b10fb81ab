"""Qwen2.5-VL: laid out as Qwen2-VL, with time in its positions. The vision tower reorders patches for its windowed
blocks, and undoes it."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from swim.data.mrope import Block
from swim.data.types import Clip
from swim.models.families import qwen2_vl


class Family(qwen2_vl.Family):
    """Qwen2.5-VL."""

    def token_inputs(self, ids_BL: Tensor, clips: Sequence[Clip]) -> dict[str, Tensor]:
        """Those of Qwen2-VL, and the seconds between temporal patches."""
        seconds_B = torch.tensor([seconds_per_patch(clip) for clip in clips])
        return {**super().token_inputs(ids_BL, clips), "second_per_grid_ts": seconds_B}

    def video_blocks(self, inputs: Mapping[str, Tensor]) -> list[Block]:
        """Temporal positions count `tokens_per_second` (whole positions, rounded down), and `second_per_grid_ts` are
        the seconds between temporal patches. Raises ValueError where a video has none."""
        videos = self.grids(inputs, "video_grid_thw")
        given = inputs.get("second_per_grid_ts")
        seconds: list[float] = [] if given is None else torch.as_tensor(given).tolist()
        if len(seconds) != len(videos):
            raise ValueError(
                f"{len(videos)} videos, and {len(seconds)} second_per_grid_ts: pass the processor's, one number a video"
            )
        rate = self.config.vision_config.tokens_per_second
        return [Block(grid, apart, rate) for grid, apart in zip(videos, seconds, strict=True)]


def seconds_per_patch(clip: Clip) -> float:
    """Seconds between temporal patches, the unit of M-RoPE: two of the kept frames, not two frames of the file."""
    stride = (clip.frame_indices[-1] - clip.frame_indices[0]) / (len(clip.frame_indices) - 1)
    return 2 * stride / clip.fps
