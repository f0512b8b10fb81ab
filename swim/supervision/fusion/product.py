import torch
from torch import Tensor


def fuse(a_SMK: Tensor) -> Tensor:
    """Product over layers, normalised over the visual tokens, in log space (Table 4, 3.55).

    A plain product of six maps of 1e-4 is 1e-24, below any epsilon; the softmax of summed logs is the same map, stable.
    A token that no layer attends to stays 0, and so does a map that is 0 everywhere.
    """
    # At least 1e-30, so that the logarithm of a padded or unattended token stays finite.
    product_MK = torch.softmax(a_SMK.clamp_min(1e-30).log().sum(0), dim=-1)
    # Else a map of zeros would be spread evenly over all columns, padding included.
    return product_MK * (a_SMK > 0).any(0)
