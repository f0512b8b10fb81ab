from torch import Tensor


def fuse(a_SBRK: Tensor) -> Tensor:
    """Largest value over layers, the paper's "pool" (Table 4, 3.49)."""
    return a_SBRK.amax(0)
