"""Pixel-wise binary cross-entropy (paper, eq. 7; Table 5, 3.78)."""

import torch.nn.functional as F
from torch import Tensor


def mask_loss(map_PHW: Tensor, mask_PHW: Tensor) -> Tensor:
    # 1e-6: below the smallest attention seen on 8k tokens, and log stays finite in fp32.
    return F.binary_cross_entropy(map_PHW.clamp(1e-6, 1 - 1e-6), mask_PHW, reduction="none").mean((1, 2))
