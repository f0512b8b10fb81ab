"""JSON files in a machine's cache folder: what was worked out once. Losing one costs time and nothing else."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4


def load(path: Path) -> dict[str, Any]:
    """What a file remembers; nothing where there is none, or where it cannot be read."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def add(path: Path, entries: Mapping[str, Any], most: int | None = None) -> None:
    """Adds to what a file remembers, of which it keeps the latest `most`. A folder that cannot be written stays as it
    is: the next process works it out again."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Another process may have added to it meanwhile.
        stored = load(path)
        merged = {name: value for name, value in stored.items() if name not in entries} | dict(entries)
        if most is not None:
            merged = dict(list(merged.items())[-most:])
        temporary = path.with_name(f".{path.name}-{uuid4().hex}")
        temporary.write_text(json.dumps(merged, indent=0))
        os.replace(temporary, path)
