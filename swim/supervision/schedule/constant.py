def factor(progress: float) -> float:
    """The same weight throughout (paper and release)."""
    return 1.0
