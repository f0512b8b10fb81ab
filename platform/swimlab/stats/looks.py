"""Declared looks: claims are judged at n₁ < n₂ < … replicates, and what is decided at a look is decided for good.

Why at most a share α of the families has a wrong finding, of directions and of sameness each:

1. Look k tests at α ÷ looks. By Bonferroni it suffices that the chance of a wrong finding *at look k* is at most that,
   however the looks depend on each other.
2. A claim that left with a direction is a rejection of Holm's procedure: at later looks it stands first in his order
   (p = 0), and the others share what it leaves. Before the first wrong finding all that left were right to leave, so
   every claim that can still err is among those that stay, and a wrong finding at look k needs one of *their* p values
   at look k to be at most α ÷ looks ÷ their number. That is a statement about look k alone; its chance is at most
   α ÷ looks (Ye et al., Statistics in Medicine 2013, and Maurer and Bretz 2013, for such procedures).
3. A claim that left as EQUIVALENT has not rejected "no difference", which may well be true. It counts on with p = 1.
   Were it dropped, the claims that stay, which are those that happen to look large, would be tested as if they had been
   fewer. In the family of sameness the same holds of claims that left with a direction.
4. A claim without data at a look counts with p = 1. When its data come, its p falls, and Holm's adjusted p of another
   claim never rises with that: no verdict is taken back.
5. The two directions of a claim share its part of α (2 · min). That a claim with a true effect does not err in the
   other direction is proven for independent claims (Shaffer, Annals of Statistics 1980) and simulated here.
6. Futility ends tests and concludes nothing. A claim that it ended counts with p = 1.
7. Families, that is metrics and tables, are not corrected for each other: over F families at most F · α, which the
   index of the book prints.

The replicates of a look must be independent draws of what the claim is about. Orders of batches on one base are not,
for a claim about other bases: no look mends that (`experiments/systems/verdict_calibration.py` shows by how much).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from swimlab.stats.hypothesis_tests import Finding, Floats, decide
from swimlab.stats.power import chance_to_settle


@dataclass(frozen=True)
class LookData:
    """What the claims have at a look, arrays over claims (the last axis): mean and SD of n differences. With n < 2 a
    claim is not tested at this look. `planned`: replicates that the look has by declaration."""

    mean: ArrayLike
    sd: ArrayLike
    n: ArrayLike
    planned: int


@dataclass(frozen=True)
class DecidedAtLooks:
    """Arrays over claims. `look`: from 1, of the finding, 0 where it is open; `p`: Holm's p of the direction times the
    number of looks, so that α is what it is compared with, at the look that decided, else at the last one with data;
    `futile`: the look after which an open claim was tested no more, 0 for none."""

    finding: NDArray[np.int8]
    look: NDArray[np.int8]
    p: Floats
    futile: NDArray[np.int8]


def decide_at_looks(
    looks: Sequence[LookData],
    margin: ArrayLike,
    non_inferiority: ArrayLike,
    alpha: float,
    futility: float = 0.0,
) -> DecidedAtLooks:
    """Judges one family, or many at once, at each look in turn. `futility`: a claim ends whose chance to be settled at
    the last look, were the observed mean and SD the true ones, is below it."""
    shape, each = np.shape(looks[0].mean), alpha / len(looks)
    finding, look, futile = (np.zeros(shape, np.int8) for _ in range(3))
    p = np.ones(shape)
    for number, data in enumerate(looks, start=1):
        decided = decide(data.mean, data.sd, data.n, margin, non_inferiority, each, earlier=finding, ended=futile > 0)
        tested = (finding == Finding.OPEN) & (futile == 0) & (np.asarray(data.n) >= 2)
        p = np.where(tested, np.minimum(1.0, decided.p_holm * len(looks)), p)
        look = np.where(tested & (decided.finding != Finding.OPEN), number, look).astype(np.int8)
        finding = decided.finding
        if futility and number < len(looks):
            chance = chance_to_settle(data.mean, data.sd, looks[-1].planned, margin, non_inferiority, each / shape[-1])
            hopeless = tested & (finding == Finding.OPEN) & (chance < futility)
            futile = np.where(hopeless, number, futile).astype(np.int8)
    return DecidedAtLooks(finding, look, p, futile)
