"""Statistical power: the effect that a number of seeds can detect, and the chance that so many settle a claim."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from swimlab.stats.intervals import ALPHA, _critical

POWER = 0.8


def detectable_in_sds(seeds: int, alpha: float = ALPHA, claims: int = 1) -> float:
    """The smallest true difference, in SDs of the paired differences, that `seeds` seeds find with power 0.8 while
    `claims` claims share alpha; infinite for a single seed."""
    if seeds < 2:
        return math.inf
    critical = _critical(alpha / claims, seeds)
    return _least(lambda effect: _power(effect * math.sqrt(seeds), seeds, critical), 2.0 * critical)


def chance_to_settle(
    mean: ArrayLike, sd: ArrayLike, n: ArrayLike, margin: ArrayLike, non_inferiority: ArrayLike, alpha: float
) -> NDArray[np.float64]:
    """The chance that n replicates (at least 2) settle a claim, by its likeliest verdict, were `mean` and `sd` of the
    differences the true ones; 1 where all differences are equal. Arguments as in `hypothesis_tests.decide`."""
    mean, sd, n, margin = (np.asarray(values, float) for values in (mean, sd, n, margin))
    critical = special.stdtrit(n - 1, 1 - alpha / 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.where(sd > 0, np.sqrt(n) / sd, 0.0)

    def power(gap: NDArray[np.float64]) -> NDArray[np.float64]:
        # Of a gap in the other direction the chance is at most that of none.
        missed = special.nctdtr(n - 1, np.maximum(gap, 0.0) * scale, critical)
        # scipy gives nan for some chances below 1e-100, as for 7 degrees of freedom, shift 40, critical value 2.
        chance: NDArray[np.float64] = 1 - np.nan_to_num(missed, nan=0.0)
        return chance

    above, below = power(mean - np.where(non_inferiority, -margin, 0.0)), power(-margin - mean)
    # Both one-sided tests must reject; their miss rates add up at most.
    inside = ~np.asarray(non_inferiority, bool) & (np.abs(mean) < margin)
    same = np.where(inside, power(margin - mean) + power(margin + mean) - 1, 0.0)
    likeliest: NDArray[np.float64] = np.where(sd > 0, np.maximum(np.maximum(above, below), same), 1.0)
    return likeliest


def _least(power: Callable[[float], float], guess: float) -> float:
    """The smallest number above 0 at which a rising power is 0.8; `guess` > 0 says where to look first."""
    low, high = 0.0, guess
    while power(high) < POWER:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if power(middle) >= POWER else (middle, high)
    return high


def _power(shift: float, n: int, critical: float) -> float:
    """P(t > critical) under a noncentral t; `shift` is the true mean in standard errors from the null."""
    return float(1 - special.nctdtr(n - 1, shift, critical))
