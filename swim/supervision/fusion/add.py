from torch import Tensor


def fuse(a_SMK: Tensor) -> Tensor:
    """Sum over layers, not renormalised (Table 4, 3.57); where it exceeds 1 the loss clamps it."""
    return a_SMK.sum(0)
