def rows(tokens: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """The position that predicts each sub-token, each a sample of its own (as in the released code)."""
    return tuple((token - 1,) for token in tokens)
