"""Clips to train on or to score, wherever they lie: their keys in order, and reading them in the order of a plan.

A fraction of the data is a set of keys, decided by a hash of each key alone: 25 % of a data set lies inside its 50 %,
on every machine, whatever else the data set holds.
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
        """The clips of these numbers, one after another; a number may come again."""


class HeldClips:
    """Clips in memory."""

    def __init__(self, clips: Sequence[Clip]) -> None:
        self._clips = clips
        self.keys = [clip.key for clip in clips]

    def read(self, order: Iterable[int]) -> Iterator[Clip]:
        """See `Clips`."""
        return (self._clips[i] for i in order)


def as_clips(clips: Clips | Sequence[Clip]) -> Clips:
    """Plain sequences are clips held in memory."""
    return HeldClips(clips) if isinstance(clips, Sequence) else clips


def is_kept(key: str, fraction: float) -> bool:
    """Whether a fraction (0 < fraction ≤ 1) of the data holds this key; what one holds, every larger one holds."""
    place = int.from_bytes(hashlib.sha256(key.encode("utf-8", "backslashreplace")).digest()[:8], "big")
    return place < fraction * 2**64


def subset(keys: Sequence[str], fraction: float) -> NDArray[np.int64]:
    """Numbers of the kept keys, ascending. About `fraction` of them, not exactly: each key is decided alone."""
    return np.asarray([i for i, key in enumerate(keys) if is_kept(key, fraction)], dtype=np.int64)
