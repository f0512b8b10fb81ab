"""Console output of commands: prints any text in any encoding."""

from __future__ import annotations

import codecs
import io
import sys
from collections.abc import Callable
from datetime import UTC, datetime

from rich.console import Console

LOG_WIDTH = 100


def screen(width: int = LOG_WIDTH) -> Console:
    """A console as wide as the terminal, or `width` columns in a log. Markup and emoji codes are off, since names of
    arms, files and metrics may hold brackets and colons."""
    print_any_text()
    return Console(width=None if sys.stdout.isatty() else width, highlight=False, markup=False, emoji=False)


def say(console: Console, text: str, style: str = "") -> None:
    """Print a line literally, without wrapping, so that paths stay whole."""
    console.print(text, style=style, markup=False, emoji=False, highlight=False, soft_wrap=True)


def ago(moment: str, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> str:
    """The time since a UTC time of a record, in one unit: "3 h ago"."""
    seconds = (now() - datetime.fromisoformat(moment)).total_seconds()
    for unit, length_s in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length_s:
            return f"{seconds / length_s:.0f} {unit} ago"
    return f"{max(seconds, 0):.0f} s ago"


# Replacements for encodings that lack a character: a "?" in place of a minus sign would change a result.
PLAIN = {"−": "-", "–": "-", "─": "-", "━": "=", "·": "-", "±": "+-", "×": "x", "÷": "/", "≈": "~", "…": "..."}
PLAIN |= {"≥": ">=", "≤": "<=", "→": "->", "Δ": "D"}


def print_any_text() -> None:
    """Make stdout replace characters that its encoding lacks. Called at the start of every command: Latin-1 has no "−",
    and a finished run would end with a UnicodeEncodeError."""
    codecs.register_error("plain", _plain)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a notebook's stdout is no such wrapper and prints every character
        sys.stdout.reconfigure(errors="plain")


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(PLAIN.get(char, "?") for char in error.object[error.start : error.end]), error.end
