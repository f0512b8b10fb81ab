"""How much of a number's variance lies between bases, and how much between orders of batches on one base.

The model is one-way with random effects, y[base, order] = mean + b[base] + e[base, order], and balanced: every base has
the same number of orders. The estimates are those of the analysis of variance, the intervals those of Burdick and
Graybill, "Confidence Intervals on Variance Components" (1992), chapter 3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from swimlab.stats.intervals import ALPHA, _critical
from swimlab.stats.power import _least, _power


@dataclass(frozen=True)
class Component:
    """A variance with its interval. The estimate may be negative, where bases differ less than their orders would
    explain by chance: then 0 is the best guess that a variance can be. Bounds are at least 0."""

    variance: float
    low: float
    high: float

    @property
    def sd(self) -> float:
        """The square root; 0 for a negative estimate."""
        return math.sqrt(max(0.0, self.variance))

    @property
    def sd_bounds(self) -> tuple[float, float]:
        """The interval of the SD."""
        return math.sqrt(self.low), math.sqrt(self.high)


@dataclass(frozen=True)
class Components:
    """`between` bases and `within` a base (between orders). `ratio`: their SDs, between by within, with its interval;
    None where the orders do not differ at all."""

    bases: int
    orders: int
    mean: float
    between: Component
    within: Component
    ratio: tuple[float, float, float] | None

    @property
    def world_sd(self) -> float:
        """The SD over worlds, each a base with one order."""
        return math.sqrt(max(0.0, self.between.variance) + self.within.variance)


def components(values: Sequence[Sequence[float]], alpha: float = ALPHA) -> Components:
    """Estimates from base → order → value.

    The interval of `within` and that of the ratio are exact for normal effects; that of `between` (Williams, 1962) is
    conservative. Raises ValueError for fewer than two bases or orders, for bases with unequal numbers of orders and for
    values that are not finite.
    """
    if len(values) < 2 or len({len(orders) for orders in values}) != 1 or len(values[0]) < 2:
        counts = [len(orders) for orders in values]
        raise ValueError(f"at least two bases, each with the same two or more orders, are needed: orders are {counts}")
    y_BO = np.asarray(values, float)
    if not np.isfinite(y_BO).all():
        raise ValueError(f"variance components need finite values, got {y_BO.tolist()}")
    bases, orders = y_BO.shape
    means_B = y_BO.mean(1)
    df_between, df_within = bases - 1, bases * (orders - 1)
    between_ss = orders * float(np.square(means_B - y_BO.mean()).sum())
    within_ss = float(np.square(y_BO - means_B[:, None]).sum())
    between_ms, within_ms = between_ss / df_between, within_ss / df_within
    few, many = alpha / 2, 1 - alpha / 2
    within = Component(within_ms, within_ss / _chi2(df_within, many), within_ss / _chi2(df_within, few))
    # The F quantiles that the ratio of mean squares is compared with: bases differ by more (or less) than by chance.
    high_f, low_f = (float(special.fdtri(df_between, df_within, share)) for share in (many, few))
    between = Component(
        (between_ms - within_ms) / orders,
        max(0.0, between_ss - df_between * within_ms * high_f) / (orders * _chi2(df_between, many)),
        max(0.0, between_ss - df_between * within_ms * low_f) / (orders * _chi2(df_between, few)),
    )
    ratio = None
    if within_ms:
        f = between_ms / within_ms
        estimate, low, high = (math.sqrt(max(0.0, f / by - 1) / orders) for by in (1.0, high_f, low_f))
        ratio = estimate, low, high
    return Components(bases, orders, float(y_BO.mean()), between, within, ratio)


def margin_in_sds(seeds: int, alpha: float = ALPHA, claims: int = 1) -> float:
    """The smallest margin, in SDs of the paired differences, at which two arms that do not differ are EQUIVALENT with
    power 0.8 on so many seeds, at the first step of Holm's procedure over the claims. Raises ValueError for a single
    seed."""
    if seeds < 2:
        raise ValueError("one seed has no spread: at least 2 are needed for a margin")
    critical = _critical(alpha / claims, seeds)

    def power(margin: float) -> float:
        return 2 * _power(margin * math.sqrt(seeds), seeds, critical) - 1  # both one-sided tests must reject

    return _least(power, critical)


def _chi2(degrees: int, share: float) -> float:
    """The quantile below which this share of the distribution lies."""
    return float(special.chdtri(degrees, 1 - share))
