from collections.abc import Mapping, Sequence

from swim.data.documents import Noun
from swim.data.types import Rle


def masks(noun: Noun, nouns: Sequence[Noun]) -> Mapping[int, Rle]:
    """The noun's own object (paper, section 3.2)."""
    return noun.masks
