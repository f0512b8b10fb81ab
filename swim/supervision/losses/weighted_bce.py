"""Binary cross-entropy with equal weight for the inside and the outside of the mask, for objects of any size."""

import torch
from torch import Tensor


def mask_loss(map_PHW: Tensor, mask_PHW: Tensor) -> Tensor:
    """½ the mean of −log p inside the mask + ½ the mean of −log(1 − p) outside; where one of the two is empty the other
    counts alone, halved. p is clamped as in "bce"."""
    p_PHW = map_PHW.clamp(1e-20, 1 - 1e-6)
    outside_PHW = 1 - mask_PHW

    def mean(value_PHW: Tensor, weight_PHW: Tensor) -> Tensor:
        return (value_PHW * weight_PHW).sum((1, 2)) / weight_PHW.sum((1, 2)).clamp_min(1e-6)

    return 0.5 * (mean(-p_PHW.log(), mask_PHW) + mean(-torch.log1p(-p_PHW), outside_PHW))
