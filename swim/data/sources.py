"""Sources of training rows: how often an epoch reads each row, and whose masks are left out (`swim.recipe.Source`).

A clip's key begins with the name of its annotation file (`sample_key`), so keys are enough to tell sources apart.

Dimensions: N rows to train on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from swim.data.annotations.samples import key_prefix
from swim.data.clips import Clips, key_digest, subset
from swim.data.types import Clip
from swim.recipe import DataConfig, NLReferFiles, Recipe, Source


@dataclass(frozen=True)
class Mixture:
    """How often an epoch reads each of N rows: `weight_N` times in the mean. `phase_N`, each in [0, 1), spreads a row
    that is not read in every epoch: the rows of a source take turns."""

    weight_N: NDArray[np.float64]
    phase_N: NDArray[np.float64]

    @classmethod
    def even(cls, rows: int) -> Mixture:
        """Every row once."""
        return cls(np.ones(rows), np.zeros(rows))

    @property
    def rows(self) -> float:
        """Rows of an epoch, in the mean over epochs."""
        return float(self.weight_N.sum())

    def epoch(self, number: int) -> NDArray[np.int64]:
        """Numbers of the rows that epoch `number` (from 0) reads, ascending; a row may be there more than once."""
        before_N, after_N = (np.floor(self.weight_N * epochs + self.phase_N) for epochs in (number, number + 1))
        return np.repeat(np.arange(len(self.weight_N)), (after_N - before_N).astype(np.int64))


def mixture(keys: Sequence[str], data: DataConfig) -> Mixture:
    """The mixture of the rows with these keys. Whose turn it is is decided by a hash of the key, not by the seed."""
    by_source: dict[Source, list[int]] = {}
    if isinstance(data, NLReferFiles) and data.sources:
        for number, source in enumerate(sources_of(keys, data)):
            by_source.setdefault(source, []).append(number)
    mixed = Mixture.even(len(keys))
    for source, numbers in by_source.items():
        ranked = sorted(numbers, key=lambda number: key_digest(keys[number]))
        mixed.weight_N[ranked] = source.weight
        mixed.phase_N[ranked] = np.arange(len(ranked)) / len(ranked)
    return mixed


def sources_of(keys: Iterable[str], data: NLReferFiles) -> Iterator[Source]:
    """The source of each key; the default for rows of files that `data.sources` does not name. Raises ValueError for a
    key of no row of the annotations."""
    named = {source.file: source for source in data.sources}
    files = {key_prefix(file): PurePosixPath(file).name for file in data.annotations}
    longest_first = sorted(files, key=len, reverse=True)  # a file's name may begin with another's
    for key in keys:
        prefix = next((prefix for prefix in longest_first if key.startswith(prefix)), None)
        if prefix is None:
            raise ValueError(
                f"clip {key!r} is of none of data.annotations, {', '.join(files.values())}: see `sample_key`"
            )
        yield named.get(files[prefix]) or Source(file=files[prefix])


def with_steps(recipe: Recipe, keys: Sequence[str]) -> Recipe:
    """The recipe with its epochs as steps, for the clips with these keys, of which its fraction is trained on."""
    if recipe.optim.epochs is None:
        return recipe
    chosen = [keys[i] for i in subset(keys, recipe.data.fraction)]
    return recipe.model_copy(update={"optim": recipe.optim.resolved(mixture(chosen, recipe.data).rows)})


def without_text_masks(clips: Clips, data: DataConfig) -> Clips:
    """The clips as they are trained on: those of sources with text loss alone have no masks."""
    if not isinstance(data, NLReferFiles) or all(source.loss == "mask" for source in data.sources):
        return clips
    return _TextLoss(clips, data)


class _TextLoss:
    def __init__(self, clips: Clips, data: NLReferFiles) -> None:
        self.keys, self._clips, self._data = clips.keys, clips, data

    def read(self, order: Iterable[int]) -> Iterator[Clip]:
        """See `Clips`."""
        for clip in self._clips.read(order):
            (source,) = sources_of([clip.key], self._data)
            yield replace(clip, masks=()) if source.loss == "text" else clip
