"""Ablations with planted effects, judged by the rule that judges ours: how often is a verdict wrong, and found?

Effects and margins are in SDs of a claim's paired differences, so that nothing depends on a metric's units.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from swimlab.stats.hypothesis_tests import Finding, Floats, decide
from swimlab.stats.intervals import ALPHA

WIDE = 10.0  # a margin at which the tests at its edge have their full size
CERTAIN = 20.0  # an effect that is always found

Shape = tuple[int, int, int]


def _normal(rng: np.random.Generator, shape: Shape) -> Floats:
    return rng.normal(size=shape)


def _shared(rng: np.random.Generator, shape: Shape) -> Floats:
    drawn: Floats = (rng.normal(size=(shape[0], 1, shape[2])) - rng.normal(size=shape)) / np.sqrt(2)
    return drawn


def _heavy(rng: np.random.Generator, shape: Shape) -> Floats:
    drawn: Floats = (rng.standard_t(3, size=(shape[0], 1, shape[2])) - rng.standard_t(3, size=shape)) / np.sqrt(6)
    return drawn


def _skewed(rng: np.random.Generator, shape: Shape) -> Floats:
    return 1 - rng.exponential(size=shape)


# (generator, shape (tables, claims, seeds)) → paired differences of mean 0 and SD 1.
NOISES: dict[str, Callable[[np.random.Generator, Shape], Floats]] = {
    "normal": _normal,  # what the t test assumes, claims independent
    "shared": _shared,  # every claim compares the same arm with another: correlation 0.5
    "heavy": _heavy,  # the same with arms of Student's t, 3 degrees of freedom: now and then a seed far out
    "skewed": _skewed,  # the claimed arm alone collapses for some seeds: an exponential tail
}


@dataclass(frozen=True)
class Case:
    """A family of ablations. `effects[i]`: the true difference of claim i, positive as claimed."""

    seeds: int
    effects: tuple[float, ...]
    margin: float = 0.0
    non_inferiority: bool = False
    noise: str = "normal"


def differences(case: Case, tables: int, seed: int) -> Floats:
    """Paired differences (tables, claims, seeds). The same arguments give the same numbers."""
    noise = NOISES[case.noise](np.random.default_rng(seed), (tables, len(case.effects), case.seeds))
    planted: Floats = noise + np.asarray(case.effects)[:, None]
    return planted


def findings(case: Case, tables: int, seed: int, alpha: float = ALPHA) -> NDArray[np.int8]:
    """A `Finding` for every claim of every table (tables, claims)."""
    drawn = differences(case, tables, seed)
    mean, sd = drawn.mean(-1), drawn.std(-1, ddof=1)
    return decide(mean, sd, case.seeds, case.margin, case.non_inferiority, alpha).finding


@dataclass(frozen=True)
class Rate:
    """How often something happened in `of` tables, with the exact 95 % binomial interval."""

    count: int
    of: int

    @property
    def value(self) -> float:
        return self.count / self.of

    @property
    def low(self) -> float:
        return float(stats.beta.ppf(0.025, self.count, self.of - self.count + 1)) if self.count else 0.0

    @property
    def high(self) -> float:
        return float(stats.beta.ppf(0.975, self.count + 1, self.of - self.count)) if self.count < self.of else 1.0


def tables_with(results: NDArray[np.int8], finding: Finding, claims: NDArray[np.bool_] | None = None) -> Rate:
    """Tables in which any claim (any of those marked) has this finding."""
    selected = results if claims is None else results[:, claims]
    return Rate(int((selected == finding).any(1).sum()), len(results))
