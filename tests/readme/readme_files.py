"""What our Markdown files print to be run: commands and snippets of the fences, commands and expressions in the prose.

Extraction errs on the side of too much: a span of prose with a blank, a call or a flag in it counts as a command until
the table says what it is. So one changed character gives a text that the table does not know.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
# A fence may move from one of these files to another; a new file is one more name.
FILES = (
    "README.md",
    "CONTRIBUTING.md",
    "experiments/README.md",
    "infra/README.md",
    "platform/swimlab/README.md",
    *(f"platform/swimlab/{package}/README.md" for package in ("checkpoints", "experiment", "llm", "report", "store")),
    "swim/README.md",
    "swim/data/README.md",
    "tests/README.md",
)

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_SPAN = re.compile(r"`([^`]+)`")
_COMMENT = re.compile(r"\s+# .*$")
_FLAG = re.compile(r"--[a-z][a-z-]*")
# A word alone is a name, unless it is more than that.
_TO_RUN = re.compile(r"[\s(=]|^make|^-(?!-[a-z-]+$)")


def texts() -> list[tuple[str, str]]:
    """(file, its text)"""
    return [(name, (REPO / name).read_text(encoding="utf-8")) for name in FILES]


@dataclass(frozen=True)
class Printed:
    """A command without its comment, a snippet, or a span of prose; and where in its file it stands."""

    text: str
    start: int
    end: int


def printed(text: str) -> Iterator[Printed]:
    """All of them, fences first."""
    for fence in _FENCE.finditer(text):
        if fence[1] == "python":
            yield Printed(fence[2], fence.start(2), fence.end(2))
        else:
            yield from _commands(fence)
    for span in _SPAN.finditer(_prose(text)):
        if _TO_RUN.search(one_line(span[1])):
            yield Printed(one_line(span[1]), span.start(1), span.end(1))


def lone_flags(text: str) -> set[str]:
    """Flags that the prose or a comment names by themselves: `--store`."""
    comments = [match[0] for _, body in _FENCE.findall(text) for match in re.finditer(r"\s# .*", body)]
    alone = {span for span in _spans(text) if _FLAG.fullmatch(span)}
    return alone | {flag for comment in comments for flag in _FLAG.findall(comment)}


def paths(text: str) -> set[str]:
    """Files and folders that links and prose name."""
    linked = set(re.findall(r"\]\(([\w/.]+)\)", text))
    return linked | {
        span for span in _spans(text) if re.fullmatch(r"(experiments|infra|platform|swim|tests)/[\w/.]*", span)
    }


def one_line(span: str) -> str:
    """A span of prose may go over two lines."""
    return " ".join(span.split())


def _prose(text: str) -> str:
    """The text with blanks for fences, so that places stay."""
    return _FENCE.sub(lambda fence: " " * len(fence[0]), text)


def _spans(text: str) -> list[str]:
    return [one_line(span) for span in _SPAN.findall(_prose(text))]


def _commands(fence: re.Match[str]) -> Iterator[Printed]:
    language, start = fence[1], fence.start(2)
    if language not in ("console", "bash"):
        raise ValueError(f"a fence of language {language!r}: say python, console or bash")
    for line in fence[2].splitlines(keepends=True):
        prompt = "$ " if language == "console" else ""
        command = _COMMENT.sub("", line.rstrip("\n").removeprefix(prompt))
        if command and not line.startswith(prompt):
            raise ValueError(f"a console fence holds commands after '$ ', and this is none: {line!r}")
        if command:
            yield Printed(command, start + len(prompt), start + len(prompt) + len(command))
        start += len(line)
