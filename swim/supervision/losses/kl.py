"""KL divergence from the mask to the map, as KLAL has it (arXiv 2511.12738; preset `klal`)."""

import torch
from torch import Tensor


def mask_loss(map_PHW: Tensor, mask_PHW: Tensor) -> Tensor:
    """Σ m̂·(log m̂ − log p), m̂ being the mask divided by its sum and p the map as it is, at least 1e-20. An empty mask
    costs 0.

    "cross-entropy" divides the map by its sum as well. Here it is a distribution already under domain "frame" and
    resize "mask-to-grid"; under others the loss differs from a divergence by the logarithm of that sum, and under
    "map-to-mask" by that of the pixels in a cell.
    """
    p_PHW = map_PHW.clamp_min(1e-20)
    m_PHW = mask_PHW / mask_PHW.sum((1, 2), keepdim=True).clamp_min(1e-12)
    return (torch.xlogy(m_PHW, m_PHW) - m_PHW * p_PHW.log()).sum((1, 2))
