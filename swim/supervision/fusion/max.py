from torch import Tensor


def fuse(a_SMK: Tensor) -> Tensor:
    """Largest value over layers, the paper's "pool" (Table 4, 3.49)."""
    return a_SMK.amax(0)
