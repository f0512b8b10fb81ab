"""Suggests the nearest valid name, for error messages."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, choices: Iterable[str]) -> str:
    """ "; the nearest is '…'", to append to a message; empty without choices."""
    near = get_close_matches(name, list(choices), n=1, cutoff=0.0)
    return f"; the nearest is {near[0]!r}" if near else ""
