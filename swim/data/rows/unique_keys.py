"""Decodes the JSON of a row, and finds keys that one of its objects has twice.

`json.loads` keeps the last of two equal keys: of a frame that is annotated twice, the first mask would be lost without
a word. A row with such a key is decoded to `InvalidRow` instead, which `parse_row` refuses.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

from swim.data.limits import abbreviate


@dataclass(frozen=True)
class InvalidRow:
    """A row that cannot be used for a reason that only its text shows: the parts of a DataError, and the row's id."""

    reason: str
    field: str
    hint: str
    id: Any = None


class RowDecoder:
    """`json.JSONDecoder` for rows. Not to be shared between threads.

    The hook adds a tenth to the time of decoding a row of 64 masks (0.45 instead of 0.41 ms).
    """

    def __init__(self) -> None:
        self._decoder = json.JSONDecoder(object_pairs_hook=self._object)
        self._repeated = False

    def raw_decode(self, text: str, start: int) -> tuple[Any, int]:
        """(row, where its text ends). Raises ValueError and RecursionError as `json` does."""
        self._repeated = False
        value, end = self._decoder.raw_decode(text, start)
        return (_invalid(value) if self._repeated else value), end

    def decode(self, text: str) -> Any:
        """The row of a text that holds nothing else. Raises ValueError and RecursionError as `json` does."""
        self._repeated = False
        value = self._decoder.decode(text)
        return _invalid(value) if self._repeated else value

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) == len(pairs):
            return value
        self._repeated = True
        return _RepeatedKeys(pairs)


class _RepeatedKeys(dict[str, Any]):
    """An object that has a key twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.key = repeated_key(pairs)


def repeated_key(pairs: list[tuple[str, Any]]) -> str:
    """The first of the keys that an object has twice; it must have one. In linear time: a hostile object has millions
    of keys."""
    counts = Counter(name for name, _ in pairs)
    return next(name for name, _ in pairs if counts[name] > 1)


def _invalid(row: Any) -> InvalidRow:
    """The error of a row for the first of its repeated keys, with the place of the object that has it."""
    waiting: list[tuple[str, Any]] = [("", row)]
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, _RepeatedKeys):
            hint = "keep one of the two: which one is meant cannot be known"
            reason = f"key {abbreviate(value.key)} twice in one object"
            name = row.get("id") if isinstance(row, dict) else None
            return InvalidRow(reason, field=place or "row", hint=hint, id=name)
        if isinstance(value, dict):
            children = [(f"{place}[{abbreviate(key)}]" if place else key[:40], child) for key, child in value.items()]
        else:
            children = [(f"{place}[{i}]", child) for i, child in enumerate(value)] if isinstance(value, list) else []
        waiting += [child for child in reversed(children) if isinstance(child[1], dict | list)]
    # An object can only be missing here if its own key was given twice too: then its parent is found first.
    raise AssertionError("no object has a key twice")
