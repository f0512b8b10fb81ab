"""Pixel-wise binary cross-entropy (paper, eq. 7; Table 5, 3.78)."""

import torch
from torch import Tensor


def mask_loss(map_PHW: Tensor, mask_PHW: Tensor) -> Tensor:
    """−m·log p − (1 − m)·log(1 − p), mean over a map's pixels. NaN stays NaN (torch's own raises, and hides where)."""
    # 1e-6: below the smallest attention seen on 8k tokens, and log stays finite in fp32.
    p_PHW = map_PHW.clamp(1e-6, 1 - 1e-6)
    return -(mask_PHW * p_PHW.log() + (1 - mask_PHW) * torch.log1p(-p_PHW)).mean((1, 2))
