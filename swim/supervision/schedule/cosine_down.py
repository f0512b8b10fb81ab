import math


def factor(progress: float) -> float:
    """From the full weight to 0 along half a cosine."""
    return 0.5 * (1 + math.cos(math.pi * progress))
