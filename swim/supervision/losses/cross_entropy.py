"""Cross-entropy between the map and the mask, both as distributions over pixels."""

import torch
from torch import Tensor


def mask_loss(map_PHW: Tensor, mask_PHW: Tensor) -> Tensor:
    """−Σ m̂ log p̂ + Σ m̂ log m̂, p̂ and m̂ being map and mask divided by their sums: 0 when they agree. The second term,
    the floor, is a constant of the mask. An empty mask costs 0."""
    # 1e-12: a map that is exactly zero on the mask costs log(its sum / 1e-12), not infinity, and has no gradient there;
    # one that is zero everywhere counts as even.
    p_PHW = map_PHW.clamp_min(1e-12)
    p_PHW = p_PHW / p_PHW.sum((1, 2), keepdim=True)
    m_PHW = mask_PHW / mask_PHW.sum((1, 2), keepdim=True).clamp_min(1e-12)
    return (torch.xlogy(m_PHW, m_PHW) - m_PHW * p_PHW.log()).sum((1, 2))
