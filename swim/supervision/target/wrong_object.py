from collections.abc import Mapping, Sequence

from swim.data.documents import Noun
from swim.data.types import Rle


def masks(noun: Noun, nouns: Sequence[Noun]) -> Mapping[int, Rle]:
    """The object that the document names next (after the last comes the first): a negative control, which points at an
    object as sharply as "object" does, and at the wrong one. None where the document names no other object."""
    objects: list[Mapping[int, Rle]] = []
    for other in nouns:
        if other.masks and other.masks not in objects:
            objects.append(other.masks)
    if noun.masks not in objects or len(objects) == 1:
        return {}
    return objects[(objects.index(noun.masks) + 1) % len(objects)]
