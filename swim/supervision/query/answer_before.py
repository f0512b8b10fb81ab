from swim.data.documents import Noun


def rows(noun: Noun) -> tuple[tuple[int, ...], ...]:
    """The position that predicts the first token of each slot of the answer, each a sample of its own."""
    return tuple((first - 1,) for first in noun.known_answer.slots)
