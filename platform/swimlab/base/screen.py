"""Console output of commands: any text, shown literally, in any encoding."""

from __future__ import annotations

import codecs
import io
import logging
import sys
from collections.abc import Iterable
from itertools import accumulate
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Span, Text

from swimlab.base.printable import printable

LOG_WIDTH = 100


class Screen(Console):
    """A console that escapes control characters (see `printable`) in everything it prints: lines, tables, bars."""

    def render_str(self, text: str, **options: Any) -> Text:
        """See `Console`: every str that is printed comes through here, before it is measured."""
        return super().render_str(printable(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """See `Console`: everything that is printed comes through here, the cells of tables too."""
        return super().render(_literal(renderable) if isinstance(renderable, Text) else renderable, options)


def _literal(text: Text) -> Text:
    """The text with control characters escaped, its styles where they were."""
    if (plain := printable(text.plain)) == text.plain:
        return text
    offsets = list(accumulate((len(printable(char)) for char in text.plain), initial=0))
    literal = text.blank_copy(plain)
    literal.spans = [Span(offsets[span.start], offsets[min(span.end, len(text))], span.style) for span in text.spans]
    return literal


def screen(width: int = LOG_WIDTH) -> Console:
    """A console as wide as the terminal, or `width` columns in a log. Markup and emoji codes are off, since names of
    arms, files and metrics may hold brackets and colons."""
    print_any_text()
    return Screen(width=None if sys.stdout.isatty() else width, highlight=False, markup=False, emoji=False)


def say(console: Console, text: str, style: str = "") -> None:
    """Print a line literally, without wrapping, so that paths stay whole."""
    console.print(text, style=style, markup=False, emoji=False, highlight=False, soft_wrap=True)


# Replacements for encodings that lack a character: a "?" in place of a minus sign would change a result.
PLAIN = {"−": "-", "–": "-", "─": "-", "━": "=", "·": "-", "±": "+-", "×": "x", "÷": "/", "≈": "~", "…": "..."}
PLAIN |= {"≥": ">=", "≤": "<=", "→": "->", "Δ": "D"}


def print_any_text() -> None:
    """Make stdout replace characters that its encoding lacks. Called at the start of every command: Latin-1 has no "−",
    and a finished run would end with a UnicodeEncodeError. Warnings of loggers on stderr are made printable too."""
    codecs.register_error("plain", _plain)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a notebook's stdout is no such wrapper and prints every character
        sys.stdout.reconfigure(errors="plain")
    if logging.lastResort is not None:  # what prints warnings where nothing else is set up
        logging.lastResort.setFormatter(_PrintableFormatter())


class _PrintableFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(PLAIN.get(char, "?") for char in error.object[error.start : error.end]), error.end
