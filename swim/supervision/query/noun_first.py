def rows(tokens: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """The noun's first sub-token."""
    return (tokens[:1],)
