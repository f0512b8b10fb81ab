"""Clips to train on or to score, in memory or in files: their keys, and reading them in a given order.

A fraction of a data set is a set of keys, chosen by a hash of each key alone. So 25 % of a data set is a subset of its
50 %, on every machine and whatever other keys the data set has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from swim.data.types import Clip


class Clips(Protocol):
    """Clips of one split, numbered from 0 in the order of their keys."""

    @property
    def keys(self) -> Sequence[str]: ...

    def read(self, order: Iterable[int]) -> Iterator[Clip]:
        """The clips with these numbers, one after another; numbers may repeat."""


class InMemoryClips:
    """Clips in memory."""

    def __init__(self, clips: Sequence[Clip]) -> None:
        self._clips = clips
        self.keys = [clip.key for clip in clips]

    def read(self, order: Iterable[int]) -> Iterator[Clip]:
        """See `Clips`."""
        return (self._clips[i] for i in order)


def as_clips(clips: Clips | Sequence[Clip]) -> Clips:
    """A plain sequence as clips in memory; anything else unchanged."""
    return InMemoryClips(clips) if isinstance(clips, Sequence) else clips


def in_fraction(key: str, fraction: float) -> bool:
    """Whether this key belongs to a fraction (0 < fraction ≤ 1) of the data. Larger fractions contain smaller ones."""
    return int.from_bytes(key_digest(key)[:8], "big") < fraction * 2**64


def key_digest(key: str) -> bytes:
    """The hash of a key, by which fractions and turns are decided: the same on every machine."""
    return hashlib.sha256(key.encode("utf-8", "backslashreplace")).digest()


def subset(keys: Sequence[str], fraction: float) -> NDArray[np.int64]:
    """Numbers of the keys in the fraction, ascending. About `fraction` of them: each key is decided by its own hash."""
    return np.asarray([i for i, key in enumerate(keys) if in_fraction(key, fraction)], dtype=np.int64)
