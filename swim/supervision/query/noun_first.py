from swim.data.documents import Noun


def rows(noun: Noun) -> tuple[tuple[int, ...], ...]:
    """The noun's first sub-token."""
    return (noun.tokens[:1],)
