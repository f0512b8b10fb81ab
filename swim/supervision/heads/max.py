from torch import Tensor


def reduce(a_NHRK: Tensor) -> Tensor:
    """Largest value over heads: one head that looks suffices."""
    return a_NHRK.amax(1)
