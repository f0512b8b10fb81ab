"""Text without control characters: what names, paths and error texts of a store are before they are shown anywhere.

A name may come from anybody who can write to a store. ESC moves a terminal's cursor or sets its title, a bidirectional
override shows letters in another order than they have, and a carriage return hides what stands before it.
"""

from __future__ import annotations

import sys

# Python calls these unprintable too: the no-break spaces of ordinary text, and the joiners of Persian and of emoji.
LINE = "\u00a0\u2009\u202f\u200c\u200d"
LINES = f"\n\t{LINE}"


def printable(text: str, keep: str = LINES) -> str:
    r"""The text with an escape such as \x1b or \u202e in place of every control, format and unassigned character.

    Args:
        text: any text, surrogates included; it is returned as it is where nothing is to be escaped.
        keep: unprintable characters that stay: `LINES`, `LINE` for a text that must be one line, or none.
    """
    if text.translate(dict.fromkeys(map(ord, keep))).isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def one_line(text: str) -> str:
    """The text made printable, its white space as single spaces."""
    return " ".join(printable(text).split())


def complain(text: str) -> None:
    """Prints a line on stderr. What was typed or read is in it, so that control characters are escaped."""
    print(printable(text), file=sys.stderr)
