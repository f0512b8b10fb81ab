from swim.data.documents import Noun


def rows(noun: Noun) -> tuple[tuple[int, ...], ...]:
    """The noun's last sub-token, the first that attends to the whole noun (preset `paper`)."""
    return (noun.tokens[-1:],)
