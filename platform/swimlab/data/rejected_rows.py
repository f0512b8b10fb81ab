"""Rows that cannot be used: what is recorded of one, and how reasons are grouped for counting.

Preparation quarantines such rows, the doctor lists them and the rewriter writes them beside its output. Each adds one
field of its own.
"""

from __future__ import annotations

import re
from typing import Any, Literal, Self

from swim.data.types import DataError
from swim.recipe import Frozen
from swimlab.identity.splits import Split

_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


class RejectedRow(Frozen):
    """A row that cannot be used, and why. `hint` says what to do."""

    file: str
    row: int
    key: str
    field: str
    reason: str
    hint: str

    @classmethod
    def of(
        cls,
        error: DataError,
        *,
        file: str | None = None,
        row: int | None = None,
        key: str | None = None,
        max_chars: int | None = None,
        **extra: Any,
    ) -> Self:
        """The row of an error; file, row and key default to those of the error. Texts are cut at `max_chars`."""
        texts = {
            "file": error.file if file is None else file,
            "key": error.key if key is None else key,
            "field": error.field,
            "reason": error.reason,
            "hint": error.hint,
        }
        cleaned = {name: valid_text(text, max_chars) for name, text in texts.items()}
        return cls(row=error.row if row is None else row, **cleaned, **extra)

    @property
    def group(self) -> str:
        """Field and reason without numbers and quoted names."""
        return masked(f"{self.field}: {self.reason}")


class QuarantinedRow(RejectedRow):
    """A row that preparation left out of a split (`prepared_clips.QUARANTINE_SCHEMA`). `machine`: for want of memory or
    time on the machine; the next preparation tries it again."""

    split: Split
    machine: bool = False


class BrokenRow(RejectedRow):
    """A row that the doctor cannot read; `kind` is the format that it was probably meant to have."""

    kind: str


class Reject(RejectedRow):
    """A row that the rewriter rejects, or whose synonym variant it rejects."""

    output: Literal["rewritten", "synonym"] = "rewritten"

    @property
    def summary(self) -> str:
        """The reason without the row's particulars, so that equal reasons are counted together."""
        text = masked(re.split(r" [(]|: ", self.reason)[0])
        return f"synonym: {text}" if self.output == "synonym" else text


def masked(text: str) -> str:
    """A text without numbers and quoted names: rows whose reasons are then equal are one group."""
    return _NUMBER.sub("N", _QUOTED.sub("'…'", text))


def valid_text(text: str, max_chars: int | None = None) -> str:
    """Valid UTF-8, which Parquet requires, of at most `max_chars` characters."""
    if max_chars is not None and len(text) > max_chars:
        text = text[:max_chars] + "…"
    return text.encode("utf-8", "backslashreplace").decode()
