from torch import Tensor


def normalise(map_PHW: Tensor, area_P: Tensor) -> Tensor:
    """Shares of the patch's attention × the mask's area in cells: attention spread evenly over the mask becomes 1 there
    and 0 elsewhere, which a softmax alone cannot reach. Under an empty mask the map is 0 and has no gradient."""
    # 1e-30: a map that is zero everywhere stays so. In this order, because the gradient of area ÷ sum is area ÷ sum²,
    # which overflows under a sum of 1e-18.
    return map_PHW / map_PHW.sum((1, 2), keepdim=True).clamp_min(1e-30) * area_P[:, None, None]
