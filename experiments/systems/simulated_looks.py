"""Ablations with declared looks, whose replicates are worlds or orders of batches on one base.

Effects differ between bases. A world draws the base anew, so that its differences are independent draws of the effect
that is claimed; orders share one base, and their mean is the effect on that base. Effects and margins are in SDs of a
world's difference, of which the part between bases is `between` times the part between orders.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from swim.worlds import Replicate
from swimlab.stats.hypothesis_tests import Floats
from swimlab.stats.intervals import ALPHA
from swimlab.stats.looks import DecidedAtLooks, LookData, decide_at_looks


@dataclass(frozen=True)
class LooksCase:
    """A family of ablations. `effects[i]`: the true difference of claim i over bases, positive as claimed. Claims
    compare one arm with as many others."""

    looks: tuple[int, ...]
    effects: tuple[float, ...]
    replicate: Replicate = "world"
    between: float = 1.0
    margin: float = 0.0
    futility: float = 0.0


def differences(case: LooksCase, tables: int, seed: int) -> Floats:
    """Paired differences (tables, claims, replicates). The same arguments give the same numbers."""
    rng, claims, n = np.random.default_rng(seed), len(case.effects), case.looks[-1]
    bases = 1 if case.replicate == "order" else n
    of_base, of_order = (
        (rng.normal(size=(tables, 1, drawn)) - rng.normal(size=(tables, claims, drawn))) / np.sqrt(2)
        for drawn in (bases, n)
    )
    drawn: Floats = (case.between * of_base + of_order) / np.hypot(1.0, case.between)
    return drawn + np.asarray(case.effects)[:, None]


def judged(case: LooksCase, tables: int, seed: int, alpha: float = ALPHA) -> DecidedAtLooks:
    """The findings of every claim of every table, each array (tables, claims)."""
    drawn = differences(case, tables, seed)
    looks = [
        LookData(drawn[..., :n].mean(-1), drawn[..., :n].std(-1, ddof=1), np.full(drawn.shape[:-1], n), n)
        for n in case.looks
    ]
    return decide_at_looks(looks, case.margin, False, alpha, case.futility)


def replicates_used(case: LooksCase, outcome: DecidedAtLooks) -> NDArray[np.int64]:
    """Replicates of each claim until it left, or to the last look."""
    last = np.where(outcome.look > 0, outcome.look, len(case.looks))
    last = np.where(outcome.futile > 0, outcome.futile, last)
    return np.asarray(case.looks)[last - 1]
