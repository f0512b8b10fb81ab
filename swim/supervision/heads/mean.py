from torch import Tensor


def reduce(a_NHRK: Tensor) -> Tensor:
    """Mean over heads (the paper does not say; the released code does)."""
    return a_NHRK.mean(1)
