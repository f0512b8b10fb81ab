"""Student-t intervals of paired differences over seeds, and the A/A differences of one arm."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy import special

from swimlab.stats.pairing import Origin, comparable
from swimlab.stats.schedule import ALPHA as ALPHA


@dataclass(frozen=True)
class Interval:
    """Mean of n values and its t interval; `low`, `high` and `sd` are None for a single value."""

    n: int
    mean: float
    sd: float | None = None
    low: float | None = None
    high: float | None = None


def _critical(alpha: float, n: int) -> float:
    """Two-sided critical value of Student's t over n values."""
    return float(special.stdtrit(n - 1, 1 - alpha / 2))


def critical(n: int) -> float:
    """Two-sided 95 % critical value of Student's t over n values."""
    return _critical(ALPHA, n)


def interval(values: Sequence[float], alpha: float = ALPHA) -> Interval:
    """Two-sided t interval of the mean. Raises ValueError when empty or not finite."""
    if not values or not all(map(math.isfinite, values)):
        raise ValueError(f"an interval needs finite values, got {list(values)}")
    n, mean = len(values), math.fsum(values) / len(values)
    if n == 1:
        return Interval(1, mean)
    sd = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1))
    half = _critical(alpha, n) * sd / math.sqrt(n)
    return Interval(n, mean, sd, mean - half, mean + half)


def paired_differences(
    weights: Mapping[str, float],
    values: Mapping[str, Mapping[int, float]],
    trials: Mapping[str, Mapping[int, str]] | None = None,
    above: float = 0.0,
    origins: Mapping[str, Mapping[int, Origin]] | None = None,
) -> dict[int, float]:
    """Seed → weighted sum over arms minus `above`, for the seeds that every arm of `weights` has (arm → seed → value).

    Seeds with the same `trials` (arm → seed → trial id; untrained weights do not depend on the seed) count as one
    replicate. Where `origins` (arm → seed) are given, a seed whose trials may not be
    compared (`swimlab.stats.pairing`) is left out.
    """
    seeds = sorted(set.intersection(*(set(values.get(arm, {})) for arm in weights)))
    if origins is not None:
        seeds = [seed for seed in seeds if comparable(origins[arm][seed] for arm in weights)]
    if trials is not None:
        first = {tuple(trials[arm][seed] for arm in weights): seed for seed in reversed(seeds)}
        seeds = sorted(first.values())
    return {seed: math.fsum(w * values[arm][seed] for arm, w in weights.items()) - above for seed in seeds}


def a_a_differences(values: Sequence[float]) -> list[float]:
    """One arm against itself on other seeds, for the control row whose true difference is 0.

    With n ≥ 4 seeds, the first n//2 seeds are paired with the same list rotated by n//2: disjoint pairs, an exact test
    (with odd n the last seed is not used). Three seeds give (s0, s1) and (s1, s2): they share a seed, which overstates
    the error of the mean (1.5 σ² for 0.5 σ²), so it errs towards "no difference". Two seeds give one difference and no
    interval; one seed gives none. A full rotation would always average to exactly 0.
    """
    return [values[i] - values[j] for i, j in a_a_pairs(len(values))]


def a_a_pairs(n: int) -> list[tuple[int, int]]:
    """The pairs of indices of n seeds whose difference `a_a_differences` takes."""
    pairs = n // 2 if n >= 4 else max(0, n - 1)
    return [(i, (i + n // 2) % n) for i in range(pairs)]
