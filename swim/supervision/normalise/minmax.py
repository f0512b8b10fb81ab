from torch import Tensor


def normalise(map_PHW: Tensor, area_P: Tensor) -> Tensor:
    """Min-max with 1e-6 in the denominator, as the released code does: the peak becomes (almost) 1.

    A flat map, that of a single cell included, becomes 0 and has no gradient."""
    low_P11 = map_PHW.amin((1, 2), keepdim=True)
    high_P11 = map_PHW.amax((1, 2), keepdim=True)
    return (map_PHW - low_P11) / (high_P11 - low_P11 + 1e-6)
