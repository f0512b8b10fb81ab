"""Frames → what a vision tower reads, computed where the frames are.

Dimensions: T frames, H × W pixels, C = 3, p pixels a patch side, T' = T/2 temporal patches.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

FRAMES_PER_PATCH = 2  # Qwen's temporal patch

# Mean and standard deviation of each channel.
Statistics = tuple[tuple[float, float, float], tuple[float, float, float]]
CLIP: Statistics = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
HALF: Statistics = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def patchify(
    frames_THWC: Tensor, patch: int, merge: int, statistics: Statistics = CLIP
) -> tuple[Tensor, tuple[int, int, int]]:
    """uint8 frames → (fp32 patches [T'·H/p·W/p, C·2·p·p], their grid), rows grouped by merge window as Qwen2-VL
    wants. 16 of 868 × 868 take 342 ms on a CPU thread, 1 ms on an H200."""
    T, H, W, C = frames_THWC.shape
    mean_C, std_C = _tensors(statistics, frames_THWC.device)
    x = (frames_THWC.float() / 255 - mean_C) / std_C
    gt, gh, gw = T // FRAMES_PER_PATCH, H // patch, W // patch
    x = x.permute(0, 3, 1, 2).reshape(gt, FRAMES_PER_PATCH, C, gh // merge, merge, patch, gw // merge, merge, patch)
    x = x.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(gt * gh * gw, C * FRAMES_PER_PATCH * patch * patch)
    return x, (gt, gh, gw)


def squares(frames_THWC: Tensor, side: int, statistics: Statistics, by_way_of: tuple[int, int] | None = None) -> Tensor:
    """uint8 frames → fp32 [T, C, side, side]: stretched to squares where they are none, after a first resizing to the
    (height, width) `by_way_of` where the model's processor has one."""
    mean_C, std_C = _tensors(statistics, frames_THWC.device)
    x_TCHW = frames_THWC.permute(0, 3, 1, 2).float()
    for size in (by_way_of, (side, side)):
        if size and x_TCHW.shape[2:] != size:
            # Rounded to whole levels, as processors resize.
            x_TCHW = F.interpolate(x_TCHW, size=size, mode="bicubic", antialias=True).round().clamp(0, 255)
    return (x_TCHW / 255 - mean_C[:, None, None]) / std_C[:, None, None]


@lru_cache
def _tensors(statistics: Statistics, device: torch.device) -> tuple[Tensor, Tensor]:
    # Sent once: a copy to a GPU at every batch would wait for the steps before it.
    mean_C, std_C = (torch.tensor(values, device=device) for values in statistics)
    return mean_C, std_C
