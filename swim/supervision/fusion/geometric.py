from torch import Tensor


def fuse(a_SMK: Tensor) -> Tensor:
    """Geometric mean over layers: its logarithm is the mean of theirs, so that a loss that is linear in the logarithm
    ("kl") is the mean of the layers' losses. Where a layer does not look at all, so does the map."""
    # At least 1e-30, so that the logarithm of a padded or unattended token stays finite.
    return a_SMK.clamp_min(1e-30).log().mean(0).exp() * (a_SMK > 0).all(0)
