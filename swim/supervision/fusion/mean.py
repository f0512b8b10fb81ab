from torch import Tensor


def fuse(a_SMK: Tensor) -> Tensor:
    """Mean over layers: the paper's choice (Table 4, 3.78)."""
    return a_SMK.mean(0)
