from torch import Tensor


def normalise(map_PHW: Tensor, area_P: Tensor) -> Tensor:
    """Divided by its sum: each cell's share of the patch's attention."""
    # 1e-30: a map that is zero everywhere stays so.
    return map_PHW / map_PHW.sum((1, 2), keepdim=True).clamp_min(1e-30)
