from swim.data.documents import Noun


def rows(noun: Noun) -> tuple[tuple[int, ...], ...]:
    """The token before the noun: the position that predicts it."""
    return ((noun.tokens[0] - 1,),)
