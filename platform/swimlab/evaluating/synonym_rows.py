"""Benchmark rows and the same rows with synonyms: which row is which, and that nothing else differs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from swim.data.annotations.samples import sample_key
from swim.data.rows.read import read_rows

_TAGGED = re.compile(r"<ins>(.*?)</ins>", re.DOTALL)


def pair_keys(synonyms: str, published: str) -> dict[str, str]:
    """Key of a row of the file `synonyms` → key of the same row of the file `published`, in which only words between
    `<ins>` and `</ins>` may differ: then a difference of the scores is due to these words.

    Raises ValueError, with file, row and field, where something else differs, where a file has more rows, and where all
    words are the same.
    """
    keys: dict[str, str] = {}
    changed = False
    ours, theirs = _rows(published), _rows(synonyms)
    for number, (key, raw) in enumerate(ours):
        try:
            other_key, other = next(theirs)
        except StopIteration:
            raise ValueError(
                f"{synonyms} ends before row {number} of {published}: it must have the same rows"
            ) from None
        changed |= _compare(raw, other, synonyms, number)
        keys[other_key] = key
    if next(theirs, None) is not None:
        raise ValueError(f"{synonyms} has more rows than {published}: it must have the same")
    if not changed:
        raise ValueError(f"{synonyms} has the tagged words of {published}: nothing was replaced")
    return keys


def _rows(file: str) -> Iterator[tuple[str, Any]]:
    return ((sample_key(raw, file=file, row=row), raw) for row, raw in read_rows(file))


def _compare(published: Any, synonym: Any, file: str, row: int) -> bool:
    """Whether tagged words differ. Raises ValueError where anything else does."""
    if not (isinstance(published, dict) and isinstance(synonym, dict)):
        return False  # no row can be read there, which is counted where the clips are prepared
    for name in published.keys() | synonym.keys():
        texts = [json.dumps(raw.get(name), sort_keys=True, ensure_ascii=False) for raw in (published, synonym)]
        plain = [_TAGGED.sub("<ins></ins>", text) for text in texts]
        if plain[0] != plain[1]:
            raise ValueError(
                f"{file} row {row} field {name!r} differs from the published row outside <ins>…</ins>: give a file in "
                "which only tagged words are replaced, its rows in the same order"
            )
    return published != synonym
