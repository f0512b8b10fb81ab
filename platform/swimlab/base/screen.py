"""What commands print on: a console that takes any text, and lines of text from data."""

from __future__ import annotations

import codecs
import io
import sys
from collections.abc import Callable
from datetime import UTC, datetime

from rich.console import Console

LOG_WIDTH = 100


def screen(width: int = LOG_WIDTH) -> Console:
    """A terminal as wide as it is; a log of `width` columns. Text is printed as it is: names of arms, files and metrics
    may hold brackets (rich's markup) or colons (its emoji)."""
    print_any_text()
    return Console(width=None if sys.stdout.isatty() else width, highlight=False, markup=False, emoji=False)


def say(console: Console, text: str, style: str = "") -> None:
    """A line of text, not folded inside paths; literal on any console."""
    console.print(text, style=style, markup=False, emoji=False, highlight=False, soft_wrap=True)


def ago(moment: str, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> str:
    """How long ago a UTC time of a record was, in one unit."""
    seconds = (now() - datetime.fromisoformat(moment)).total_seconds()
    for unit, length_s in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length_s:
            return f"{seconds / length_s:.0f} {unit} ago"
    return f"{max(seconds, 0):.0f} s ago"


# What numbers and tables are printed with, for encodings without it: a "?" for a minus sign would change a result.
PLAIN = {"−": "-", "–": "-", "─": "-", "━": "=", "·": "-", "±": "+-", "×": "x", "÷": "/", "≈": "~", "…": "..."}


def print_any_text() -> None:
    """Let stdout print something else for characters that its encoding lacks. At the start of every command: Latin-1
    has no "−", and a finished run would end with a UnicodeEncodeError."""
    codecs.register_error("plain", _plain)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a notebook's stdout takes every character
        sys.stdout.reconfigure(errors="plain")


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(PLAIN.get(char, "?") for char in error.object[error.start : error.end]), error.end
