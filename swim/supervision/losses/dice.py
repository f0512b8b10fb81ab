from torch import Tensor


def mask_loss(map_PHW: Tensor, mask_PHW: Tensor) -> Tensor:
    """1 − Dice coefficient, smoothed by one pixel (paper, Table 5, 3.74): an empty mask costs 1 − 1 / (Σp + 1),
    which is 0 where the map is empty too."""
    overlap_P = (map_PHW * mask_PHW).sum((1, 2))
    return 1 - (2 * overlap_P + 1) / (map_PHW.sum((1, 2)) + mask_PHW.sum((1, 2)) + 1)
