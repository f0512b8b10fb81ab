"""The attribute in front of a noun ("the small lemon"): the word that the paper's analysis sets beside it."""

from dataclasses import replace
from typing import Any

from torch import Tensor

from swim.data.encode import NounRow

# Words that stand in front of a noun and say nothing of how it looks.
_FUNCTION_WORDS = frozenset(
    {"a", "an", "the", "this", "that", "these", "those", "my", "your", "his", "her", "its", "our", "their", "some"}
    | {"any", "each", "every", "no", "one", "another", "other", "both", "all", "of", "in", "on", "at", "by", "with"}
    | {"and", "or", "to", "for", "from"}
)


def attribute_of(noun: NounRow, input_ids_L: Tensor, tokenizer: Any) -> NounRow | None:
    """The last sub-token of the word in front of a noun as a row of its own, masks and all; None where that is no word
    or a function word. Positions are those of the padded row that `noun` has, `input_ids_L` may be unpadded on the
    right."""
    position = noun.tokens[0] - 1
    word = tokenizer.decode([int(input_ids_L[position])]).strip().lower()
    if not word.isalpha() or word in _FUNCTION_WORDS:
        return None
    return replace(noun, tokens=(position,))
