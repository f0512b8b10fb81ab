"""Names that some output would take for more than text, and what a check of an output needs."""

from __future__ import annotations

import random
import re
from html.parser import HTMLParser

from markdown_it import MarkdownIt

MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])
PIECES = (
    *("\x1b]0;title\x07", "\x1b[2J", "\x1b[31m", "\x9b31m", "\r", "\x08", "\x00", "\x7f", "\x85", "\u2028"),
    *("\u202e", "\u2066", "\u200f", "\u200b", "\ufeff", "\t", "\n"),
    *("[/b]", "[red]", ":smile:", "{{ 7*7 }}", "{% raw %}", "{task}", "%s"),
    *("<script>alert(1)</script>", '" onmouseover="x', "</td></table>", "<!--", "]]>", "&amp;", "&#36;"),
    *("|", "`", "$x^2$", "**b**", "_i_", "~~s~~", "![x](y)", "# h", "- a", "1) a", "> q", "---", "===", "\\"),
    *("\\input{x}", "^^M", "~", "{", "}", "%", "&", "[", "*", "--", "''", ",,", "?`"),
    *("=1+1", "+1", "-1", "@SUM(1)", "＝1"),
    *("'", '"', "'''", '"""', ";", "$(touch pwned)", "`touch pwned`", "-rf"),
    *("é", "−", "名", "a", "Z9", " "),
)


def names(count: int, seed: int) -> list[str]:
    """Different names of one to four pieces; the first `len(PIECES)` begin with a piece each."""
    draw = random.Random(seed)
    first = [*PIECES]
    draw.shuffle(first)
    made: dict[str, None] = {}
    while len(made) < count:
        head = first[len(made) % len(first)]
        name = head + "".join(draw.choices(PIECES, k=draw.randrange(4))) + draw.choice("abcxyz") + str(len(made))
        made[name] = None
    return list(made)


def controls(text: str) -> set[str]:
    """Characters of a text that are not to be in any output, besides line feeds."""
    return {c for c in text if not c.isprintable() and c not in "\n\u00a0\u2009\u202f\u200c\u200d"}


class Page(HTMLParser):
    """The tags of a page in order, and its text with single spaces."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self._words: list[str] = []
        self.feed(page)
        self.text = spaced(" ".join(self._words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(name for name, _ in attrs)))

    def handle_data(self, data: str) -> None:
        self._words.append(data)


def columns(text: str) -> list[set[int]]:
    """Of each grid of a Markdown page, the numbers of bars in its lines: one number where all have the same columns."""
    grids = re.findall(r"(?m)(?:^\|.*\n)+", text)
    return [{len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in grid.splitlines()} for grid in grids]


def spaced(text: str) -> str:
    """The text with single spaces; ids of trials and of evidence, which names decide, are as long zeros."""
    return re.sub(r"\b[0-9a-f]{32}\b|\b[0-9a-f]{8}\b", lambda match: "0" * len(match[0]), " ".join(text.split()))
