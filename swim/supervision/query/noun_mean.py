from swim.data.documents import Noun


def rows(noun: Noun) -> tuple[tuple[int, ...], ...]:
    """All sub-tokens of the noun, their attention averaged into one map."""
    return (noun.tokens,)
