def rows(tokens: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """All sub-tokens of the noun, their attention averaged into one map."""
    return (tokens,)
