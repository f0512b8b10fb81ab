"""`<ins>noun</ins>`: from tagged text to character spans, and from spans to token positions.

A noun is found by where it was tagged, through the tokenizer's offset mapping. Searching for its token ids is what goes
wrong in the released code: two equal nouns collide, and a noun that occurs earlier untagged is mislocated.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

# Whatever resembles the tag is matched, so that "< ins >" or "<INS>" is an error and not a piece of the question.
# Possessive, and no part crosses another "<": each character is read once from one "<", whatever the text.
_TAG = re.compile(r"<\s*+(?:/\s*+)?+ins\b[^<>]*+>", re.IGNORECASE)


class MarkupError(ValueError):
    """Tags that cannot be read; `position` is the character of the tagged text where reading failed."""

    def __init__(self, reason: str, position: int) -> None:
        super().__init__(f"{reason} at character {position}")
        self.reason, self.position = reason, position


@dataclass(frozen=True)
class Span:
    """Characters [start, end) of the stripped text; `text` is what stands there, without white space at its edges."""

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
    """Indices of the tokens that overlap the span, ascending; found by bisection, in O(log L + tokens found).

    `offsets` (L pairs) are the tokenizer's character ranges over the same plain text the span indexes, starts and ends
    both ascending (equal ones too: a character split over several tokens). Tokens that stand for no character (special
    tokens, (0, 0) wherever they are) never match; a long series of them is walked through. Raises ValueError when the
    span's last character has no token.
    """
    found: list[int] = []
    reached = 0
    low, high = 0, len(offsets)
    while low < high:  # towards the first token that ends behind the span's start
        middle = probe = (low + high) // 2
        start, end = offsets[probe]
        # Those without a character have no place in the order: their right neighbour answers for them.
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
            found.append(token)
            reached = end
    if not found or reached < span.end:
        raise ValueError(
            f"no token covers {span.text!r} at characters {span.start}-{span.end}: the text was truncated before it, "
            "or the offsets belong to another text"
        )
    return tuple(found)
