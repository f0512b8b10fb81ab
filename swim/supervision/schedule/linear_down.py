def factor(progress: float) -> float:
    """From the full weight to nothing: look first, then speak."""
    return 1.0 - progress
