def rows(tokens: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """The token before the noun: the position that predicts it."""
    return ((tokens[0] - 1,),)
