from torch import Tensor


def reduce(a_NHRK: Tensor) -> Tensor:
    """Largest value over heads: one attending head is enough."""
    return a_NHRK.amax(1)
