"""JSON files in a cache folder, for results that are slow to compute. They can be deleted at any time."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4


def load(path: Path) -> dict[str, Any]:
    """The entries of a file; empty when it is missing or unreadable."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def add(path: Path, entries: Mapping[str, Any], most: int | None = None) -> None:
    """Add entries to a file, which keeps the latest `most`. An error on writing is ignored: the next process computes
    the entries again."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Read again: another process may have added entries.
        stored = load(path)
        merged = {name: value for name, value in stored.items() if name not in entries} | dict(entries)
        if most is not None:
            merged = dict(list(merged.items())[-most:])
        temporary = path.with_name(f".{path.name}-{uuid4().hex}")
        temporary.write_text(json.dumps(merged, indent=0))
        os.replace(temporary, path)
