from torch import Tensor


def normalise(map_PHW: Tensor, area_P: Tensor) -> Tensor:
    """σ(log a − log of the patch's mean a) = a / (a + mean a): ½ where the attention is average, whatever its scale.

    A single cell is its own average: ½, without a gradient."""
    # 1e-30: a map that is zero everywhere becomes 0.
    return map_PHW / (map_PHW + map_PHW.mean((1, 2), keepdim=True)).clamp_min(1e-30)
