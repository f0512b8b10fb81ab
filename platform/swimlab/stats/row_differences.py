"""Two trained models on one benchmark: paired row by row, the rows of a video not independent.

The test over seeds asks whether a way of training is better, and needs several trained models of each arm. This one
asks whether these models are, on videos like those of the benchmark: one model an arm is enough, and says nothing about
training another one. A table shows both, and says which one its verdicts use.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from swim.evaluation.clustered import clustered_mean
from swimlab.stats.intervals import Interval

Row = TypeVar("Row", bound=Hashable)


@dataclass(frozen=True)
class RowDifference:
    """The weighted difference of arms over `rows` rows, with its interval over videos (`estimate.n`); `unpaired` rows
    that not every arm has are left out."""

    estimate: Interval
    rows: int
    unpaired: int


def row_difference(
    weights: Mapping[str, float], values: Mapping[str, Sequence[Mapping[Row, float]]], videos: Mapping[Row, Hashable]
) -> RowDifference | None:
    """`values`: arm → the rows of each of its trained models, which are averaged; `weights` as of a claim. None where
    the arms have no row in common."""
    means = {arm: _mean(values[arm]) for arm in weights}
    every = set[Row]().union(*means.values())
    common = sorted(every.intersection(*means.values()), key=str)
    if not common:
        return None
    differences = [sum(weight * means[arm][row] for arm, weight in weights.items()) for row in common]
    mean = clustered_mean(differences, [videos[row] for row in common])
    if mean.clusters == 1:
        return RowDifference(Interval(1, mean.mean), len(common), len(every) - len(common))
    if mean.low is None or mean.high is None:  # equal in every video
        estimate = Interval(mean.clusters, mean.mean, 0.0, mean.mean, mean.mean)
    else:
        sd = mean.error * float(np.sqrt(mean.clusters))
        estimate = Interval(mean.clusters, mean.mean, sd, mean.low, mean.high)
    return RowDifference(estimate, len(common), len(every) - len(common))


def _mean(models: Sequence[Mapping[Row, float]]) -> dict[Row, float]:
    """Row → mean over models, of the rows that all of them have."""
    if not models:
        return {}
    common = set(models[0]).intersection(*models[1:])
    return {row: float(np.mean([of_model[row] for of_model in models])) for row in common}
