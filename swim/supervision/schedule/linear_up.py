def factor(progress: float) -> float:
    """From 0 to the full weight: the text is trained first."""
    return progress
