from torch import Tensor


def fuse(a_SMK: Tensor) -> Tensor:
    """Product over layers ÷ (its sum over all visual tokens + 1e-6), as in the released code.

    With diffuse attention the product is far below 1e-6 and the epsilon decides the scale.
    """
    product_MK = a_SMK.prod(0)
    return product_MK / (product_MK.sum(-1, keepdim=True) + 1e-6)
