"""What answering without knowing which object is asked about can reach: the ceiling beside every answer accuracy."""

from collections import defaultdict
from collections.abc import Sequence

from swim.data.types import Turn


def commonest(values: Sequence[str]) -> str:
    """The most frequent value; of several, the first by alphabet, so that every machine picks the same."""
    return max(sorted(set(values)), key=values.count)


def ceiling(conversations: Sequence[tuple[Turn, ...]]) -> float:
    """The share of slots answered by each clip's commonest value of that slot name: all that a model can reach which
    sees the clip but not which object it is asked about. To be printed beside every accuracy.

    Raises ValueError when no turn has a slot.
    """
    hits = [hit for turns in conversations for hit in guesses(turns)]
    if not hits:
        raise ValueError("no turn has a slot: the non-selective ceiling is defined for answers with slots only")
    return sum(hits) / len(hits)


def guesses(turns: Sequence[Turn]) -> list[bool]:
    """For each slot of a clip's turns, in order: is the clip's commonest value of its name right? Commonest over all
    objects where the row knows them (`Slot.commonest`), else over the turns."""
    values = _values(turns)
    return [
        turn.word_at(slot) == (slot.commonest or commonest(values[slot.name])) for turn in turns for slot in turn.slots
    ]


def contested(turns: Sequence[Turn]) -> list[bool]:
    """For each slot of a clip's turns, in order: do the clip's objects differ in it, as the row says or as far as the
    turns and `Slot.commonest` tell? Only there must an answer know which object is meant."""
    values = _values(turns)
    return [
        len({*values[slot.name], slot.commonest} - {None}) > 1 if slot.contested is None else slot.contested
        for turn in turns
        for slot in turn.slots
    ]


def _values(turns: Sequence[Turn]) -> dict[str, list[str]]:
    """Slot name → the values that the turns give it."""
    values: dict[str, list[str]] = defaultdict(list)
    for turn in turns:
        for slot in turn.slots:
            values[slot.name].append(turn.word_at(slot))
    return values
