from swim.data.documents import Noun


def rows(noun: Noun) -> tuple[tuple[int, ...], ...]:
    """The position that predicts each sub-token, each a sample of its own (as in the released code)."""
    return tuple((token - 1,) for token in noun.tokens)
