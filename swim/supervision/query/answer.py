from swim.data.documents import Noun


def rows(noun: Noun) -> tuple[tuple[int, ...], ...]:
    """Every position that predicts a token of the answer about the noun's object, each a sample of its own."""
    return tuple((token - 1,) for token in noun.known_answer.tokens)
