from swim.data.documents import Noun


def rows(noun: Noun) -> tuple[tuple[int, ...], ...]:
    """The answer's last token, which predicts its closing token (as in KLAL, arXiv 2511.12738)."""
    return tuple((token - 1,) for token in noun.known_answer.tokens[-1:])
