"""Focal loss (paper, Table 5, 3.69)."""

import torch
from torch import Tensor

# Constants of the focal-loss paper; SWIM states none.
GAMMA, ALPHA = 2, 0.25


def mask_loss(map_PHW: Tensor, mask_PHW: Tensor) -> Tensor:
    """−α·m·(1 − p)^γ·log p − (1 − α)·(1 − m)·p^γ·log(1 − p), mean over a map's pixels; p clamped as in "bce"."""
    p_PHW = map_PHW.clamp(1e-20, 1 - 1e-6)
    inside_PHW = ALPHA * mask_PHW * (1 - p_PHW) ** GAMMA * p_PHW.log()
    outside_PHW = (1 - ALPHA) * (1 - mask_PHW) * p_PHW**GAMMA * torch.log1p(-p_PHW)
    return -(inside_PHW + outside_PHW).mean((1, 2))
