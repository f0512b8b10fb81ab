from torch import Tensor


def normalise(map_PHW: Tensor, area_P: Tensor) -> Tensor:
    """Divided by its largest value: the peak becomes 1, zero stays zero."""
    # 1e-30: a map that is zero everywhere stays so.
    return map_PHW / map_PHW.amax((1, 2), keepdim=True).clamp_min(1e-30)
