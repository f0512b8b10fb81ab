from torch import Tensor


def normalise(map_PHW: Tensor, area_P: Tensor) -> Tensor:
    """The attention as it is (preset `paper`, eq. 7 taken literally)."""
    return map_PHW
