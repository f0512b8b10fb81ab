"""The mean of rows that come in clusters, with its interval: the questions about one video are not independent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special


@dataclass(frozen=True)
class ClusteredMean:
    """The mean over `rows` rows of `clusters` clusters, its standard error and two-sided interval. `low` and `high` are
    None, and the error 0, for a single cluster and where all clusters have the same mean: without spread there is no
    estimate of the error."""

    mean: float
    rows: int
    clusters: int
    error: float = 0.0
    low: float | None = None
    high: float | None = None


def clustered_mean(values: Sequence[float], clusters: Sequence[Hashable], alpha: float = 0.05) -> ClusteredMean:
    """The mean over rows, its error estimated from the sums of residuals of G clusters.

    The variance is G/(G−1) · Σ_g (Σ_{i in g} (x_i − x̄))² / N² (Liang and Zeger, 1986, with the usual correction for
    few clusters), the interval Student's t with G − 1 degrees of freedom. Raises ValueError for no rows, for lists of
    different lengths and for values that are not finite.
    """
    x_N = np.asarray(values, float)
    if len(x_N) == 0 or len(x_N) != len(clusters) or not np.isfinite(x_N).all():
        raise ValueError(
            f"a mean needs finite values with one cluster each: {len(x_N)} values, {len(clusters)} clusters"
        )
    mean = float(x_N.mean())
    residuals: dict[Hashable, float] = defaultdict(float)
    for residual, cluster in zip(x_N - mean, clusters, strict=True):
        residuals[cluster] += float(residual)
    return _interval(mean, [residual / len(x_N) for residual in residuals.values()], len(x_N), alpha)


def clustered_difference(
    first: Sequence[tuple[float, Hashable]], second: Sequence[tuple[float, Hashable]], alpha: float = 0.05
) -> ClusteredMean:
    """The mean of the first (value, cluster) pairs minus that of the second, which are other rows of the same clusters.
    The variance is that of `clustered_mean`, of residuals each divided by the number of rows of its side: a cluster
    with rows on both sides moves both means. `rows` and `clusters` are of both. Raises ValueError where a side is empty
    or a value is not finite."""
    sides = [np.asarray([value for value, _ in side], float) for side in (first, second)]
    if not all(len(side) and np.isfinite(side).all() for side in sides):
        raise ValueError(f"a difference needs finite values on both sides: {len(first)} and {len(second)} values")
    residuals: dict[Hashable, float] = defaultdict(float)
    for sign, side_N, pairs in zip((1, -1), sides, (first, second), strict=True):
        for residual, (_, cluster) in zip(side_N - side_N.mean(), pairs, strict=True):
            residuals[cluster] += sign * float(residual) / len(side_N)
    return _interval(
        float(sides[0].mean() - sides[1].mean()), list(residuals.values()), len(first) + len(second), alpha
    )


def _interval(mean: float, influences: Sequence[float], rows: int, alpha: float) -> ClusteredMean:
    """`influences`: by how much each cluster moves the mean."""
    G = len(influences)
    squares = float(np.square(influences).sum())
    if G < 2 or squares < 1e-18 / rows:  # what rounding leaves of equal values
        return ClusteredMean(mean, rows, G)
    error = float(np.sqrt(squares * G / (G - 1)))
    half = float(special.stdtrit(G - 1, 1 - alpha / 2) * error)
    return ClusteredMean(mean, rows, G, error, mean - half, mean + half)
