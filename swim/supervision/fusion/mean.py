from torch import Tensor


def fuse(a_SMK: Tensor) -> Tensor:
    """Mean over layers: what the paper keeps (Table 4, 3.78)."""
    return a_SMK.mean(0)
