"""Paths whose accents are written in another way than in the row.

macOS stores letters and their accents apart (Unicode's NFD) and most others together (NFC). Copied between them, a file
has another name than the one that its row spells, though both look the same.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path, PurePosixPath


def spellings(path: str) -> list[str]:
    """The path as written, then composed and decomposed; each once."""
    if path.isascii():
        return [path]
    return list(dict.fromkeys([path, *(unicodedata.normalize(form, path) for form in ("NFC", "NFD"))]))


def on_disk(base: Path, path: str) -> Path:
    """The path under `base` as its folders and file are spelt on disk; as written where there is none, or where both
    spellings of a name exist beside each other and neither is the one written. Raises OSError as `Path.exists` does."""
    place = base
    for part in PurePosixPath(path).parts:
        there = [name for name in spellings(part) if (place / name).exists()]
        if not there or (part not in there and len(there) > 1):
            return base / path
        place /= part if part in there else there[0]
    return place
