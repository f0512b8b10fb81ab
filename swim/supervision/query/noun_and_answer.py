from swim.data.documents import Noun
from swim.supervision.query import answer_before
from swim.supervision.query import noun as noun_row


def rows(noun: Noun) -> tuple[tuple[int, ...], ...]:
    """The noun's last sub-token ("noun"), and the positions that predict the first tokens of the slots of the answer
    about its object ("answer-before"), each a sample of its own."""
    return (*noun_row.rows(noun), *answer_before.rows(noun))
