def factor(progress: float) -> float:
    """From the full weight to 0: the attention is trained first, then the text alone."""
    return 1.0 - progress
