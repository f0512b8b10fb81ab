"""Statistical power: the effect that a number of seeds can detect."""

from __future__ import annotations

import math

from scipy import special

from swimlab.stats.intervals import ALPHA, _critical

POWER = 0.8


def detectable_in_sds(seeds: int, alpha: float = ALPHA, claims: int = 1) -> float:
    """The smallest true difference, in SDs of the paired differences, that `seeds` seeds find with power 0.8 while
    `claims` claims share alpha; infinite for a single seed."""
    if seeds < 2:
        return math.inf
    critical = _critical(alpha / claims, seeds)
    low, high = 0.0, 2.0 * critical
    while _power(high * math.sqrt(seeds), seeds, critical) < POWER:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if _power(middle * math.sqrt(seeds), seeds, critical) >= POWER else (middle, high)
    return high


def _power(shift: float, n: int, critical: float) -> float:
    """P(t > critical) under a noncentral t; `shift` is the true mean in standard errors from the null."""
    return float(1 - special.nctdtr(n - 1, shift, critical))
