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
    G = len(residuals)
    squares = float(np.square(list(residuals.values())).sum())
    if G < 2 or squares < 1e-18 * len(x_N):  # what rounding leaves of equal values
        return ClusteredMean(mean, len(x_N), G)
    error = float(np.sqrt(squares * G / (G - 1))) / len(x_N)
    half = float(special.stdtrit(G - 1, 1 - alpha / 2) * error)
    return ClusteredMean(mean, len(x_N), G, error, mean - half, mean + half)
