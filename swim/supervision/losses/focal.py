import torch.nn.functional as F
from torch import Tensor


def mask_loss(map_PHW: Tensor, mask_PHW: Tensor) -> Tensor:
    """Focal loss, γ = 2, α = 0.25 (paper, Table 5, 3.69; constants of the focal-loss paper, SWIM states none)."""
    p_PHW = map_PHW.clamp(1e-6, 1 - 1e-6)
    bce_PHW = F.binary_cross_entropy(p_PHW, mask_PHW, reduction="none")
    miss_PHW = mask_PHW * (1 - p_PHW) + (1 - mask_PHW) * p_PHW
    alpha_PHW = mask_PHW * 0.25 + (1 - mask_PHW) * 0.75
    return (alpha_PHW * miss_PHW.square() * bce_PHW).mean((1, 2))
