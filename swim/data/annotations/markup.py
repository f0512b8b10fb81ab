"""`<ins>noun</ins>`: from tagged text to character spans, and from spans to token positions.

A noun is located by its tag, through the tokenizer's offset mapping. The released code searches for the noun's token
ids, which fails where two nouns are equal and where the noun occurs earlier without a tag.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

# Misspelt tags match too, so that "< ins >" or "<INS>" is an error and not a part of the question. The quantifiers are
# possessive and no part crosses another "<", so that the time is linear in the length of any text.
_TAG = re.compile(r"<\s*+(?:/\s*+)?+ins\b[^<>]*+>", re.IGNORECASE)


class MarkupError(ValueError):
    """Tags that cannot be read; `position` is the character of the tagged text where reading failed."""

    def __init__(self, reason: str, position: int) -> None:
        super().__init__(f"{reason} at character {position}")
        self.reason, self.position = reason, position


@dataclass(frozen=True)
class Span:
    """Characters [start, end) of the text without tags; `text` is that substring, without white space at its ends."""

    start: int
    end: int
    text: str


def strip_tags(text: str) -> tuple[str, list[Span]]:
    """Removes the tags; returns the plain text and one span per tag, in reading order.

    Raises MarkupError (a ValueError with the position) for tags that are nested, unclosed, unopened, misspelt or empty.
    """
    pieces: list[str] = []
    spans: list[Span] = []
    copied = length = 0
    opened: int | None = None
    inside = 0
    for match in _TAG.finditer(text):
        piece = text[copied : match.start()]
        pieces.append(piece)
        length += len(piece)
        copied = match.end()
        if match.group() == "<ins>":
            if opened is not None:
                raise MarkupError("<ins> inside another <ins>", match.start())
            opened, inside = match.start(), length
        elif match.group() == "</ins>":
            if opened is None:
                raise MarkupError("</ins> without <ins>", match.start())
            noun = piece.strip()
            if not noun:
                raise MarkupError("nothing between <ins> and </ins>", opened)
            start = inside + len(piece) - len(piece.lstrip())
            spans.append(Span(start, start + len(noun), noun))
            opened = None
        else:
            raise MarkupError(f"{match.group()[:40]!r} is neither '<ins>' nor '</ins>'", match.start())
    if opened is not None:
        raise MarkupError("<ins> is never closed", opened)
    pieces.append(text[copied:])
    return "".join(pieces), spans


def token_positions(offsets: Sequence[tuple[int, int]], span: Span) -> tuple[int, ...]:
    """Indices of the tokens that overlap the span, ascending, by bisection: O(log L + their number).

    `offsets` (L pairs) are the tokenizer's character ranges over the plain text that the span indexes. Starts and ends
    are both ascending; equal ones occur where a character is split over several tokens. Tokens without characters
    (special tokens, with offsets (0, 0)) never match; a long series of them is read one by one. Raises ValueError when
    the span's last character has no token.
    """
    tokens: list[int] = []
    reached = 0
    low, high = 0, len(offsets)
    while low < high:  # the first token that ends after the span's start
        middle = probe = (low + high) // 2
        start, end = offsets[probe]
        # Tokens without characters have no place in the order: their right neighbour is compared instead.
        while start >= end and (probe := probe + 1) < high:
            start, end = offsets[probe]
        if start < end and end <= span.start:
            low = probe + 1
        else:
            high = middle
    for token in range(low, len(offsets)):
        start, end = offsets[token]
        if start < end:
            if start >= span.end:
                break
            tokens.append(token)
            reached = end
    if not tokens or reached < span.end:
        raise ValueError(
            f"no token covers {span.text!r} at characters {span.start}-{span.end}: the text was truncated before it, "
            "or the offsets belong to another text"
        )
    return tuple(tokens)
