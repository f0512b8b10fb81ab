"""What the tests of faults share beside their fixtures."""

from collections.abc import Callable
from pathlib import Path

import pytest

FILES = {"film.bin": b"frames", "checkpoint/model.bin": b"weights"}  # of every committed trial
Command = Callable[..., tuple[int, str]]


def fault(injection: str, symptom: str, expected: str, reference: str) -> pytest.MarkDecorator:
    """See `fault_table`."""
    return pytest.mark.fault(injection=injection, symptom=symptom, expected=expected, reference=reference)


def content(root: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
