"""Two judges of the same answers: do they agree on each answer, and on the order of the arms?

Raw agreement flatters judges who give everybody the same grade, so kappa and the systematic offset are shown.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy import stats

from swim.evaluation.clustered import ClusteredMean, clustered_mean

Row = TypeVar("Row", bound=Hashable)


@dataclass(frozen=True)
class Agreement:
    """On one axis, over the answers that both judges graded: Cohen's kappa with quadratic weights (1: equal grades; 0:
    as by chance; None where both give one and the same grade to all, and there is nothing to agree on), and by how much
    the second grades higher, with an interval clustered by video."""

    answers: int
    kappa: float | None
    offset: ClusteredMean


def agreement(first: Mapping[Row, float], second: Mapping[Row, float], videos: Mapping[Row, Hashable]) -> Agreement:
    """Grades by answer (its key and turn) of two judges. Raises ValueError where they graded no answer in common."""
    common = [answer for answer in first if answer in second]
    if not common:
        raise ValueError("the two judges graded no answer in common: compare evaluations of one generation")
    a_N, b_N = (np.asarray([grades[answer] for answer in common]) for grades in (first, second))
    return Agreement(len(common), quadratic_kappa(a_N, b_N), clustered_mean(b_N - a_N, [videos[i] for i in common]))


def quadratic_kappa(a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray) -> float | None:
    """1 − mean (a_i − b_i)² ÷ mean over all pairs (a_i − b_j)² (Cohen, 1968); None where the latter is 0."""
    a_N, b_N = np.asarray(a, float), np.asarray(b, float)
    by_chance = np.mean((a_N[:, None] - b_N) ** 2)
    return float(1 - np.mean((a_N - b_N) ** 2) / by_chance) if by_chance > 0 else None


def same_order(first: Mapping[str, float], second: Mapping[str, float]) -> float | None:
    """Kendall's tau-b between the orders in which two judges put the arms (arm → mean): 1 the same, −1 reversed; None
    for fewer than two arms in common, and where a judge puts all of them level."""
    arms = [arm for arm in first if arm in second]
    if len(arms) < 2:
        return None
    tau = float(stats.kendalltau([first[arm] for arm in arms], [second[arm] for arm in arms]).statistic)
    return None if np.isnan(tau) else tau
