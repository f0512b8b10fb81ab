def rows(tokens: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """The noun's last sub-token, the first that attends to the whole noun (preset `paper`)."""
    return (tokens[-1:],)
