from torch import Tensor


def fuse(a_SBRK: Tensor) -> Tensor:
    """Product over layers ÷ (its sum over all visual tokens + 1e-6): what the released code runs.

    With diffuse attention the product is far below 1e-6 and the epsilon decides the scale.
    """
    product_BRK = a_SBRK.prod(0)
    return product_BRK / (product_BRK.sum(-1, keepdim=True) + 1e-6)
