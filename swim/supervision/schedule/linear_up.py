def factor(progress: float) -> float:
    """From nothing to the full weight: the text loss first."""
    return progress
