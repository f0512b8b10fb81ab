"""What a table of the paper asserts: a contrast between arms on a metric, declared before the run.

Every claim becomes weights over arms; positive means "as claimed". One seed's contrast is the weighted sum of its arms'
values, the paper's gap is the same sum over the paper's rows. The kinds of claim are in `swimlab.experiment.claims`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from swimlab.experiment.arms import Arm


class Claim(ABC):
    """A kind of claim: a frozen dataclass in a file of its own, which every other module uses through this interface.

    The name of the class, the `name`, the margin, the weights and the `threshold` are part of an ablation's protocol.
    """

    @property
    @abstractmethod
    def margin(self) -> float:
        """Differences of at most this size, in units of the metric, do not matter."""

    @property
    @abstractmethod
    def text(self) -> str:
        """The claim as tables print it."""

    @abstractmethod
    def weights(self, arms: Sequence[Arm]) -> dict[str, float]:
        """The weight of each arm that the claim is about, given the arms of the ablation. Positive is as claimed, for a
        metric of which more is better. Raises ValueError where the arms do not fit the claim."""

    @property
    def name(self) -> str:
        """The claim without its margin, so that a protocol with another margin changes this claim and adds none."""
        return self.text

    @property
    def metric(self) -> str | None:
        """The metric of the table that the claim is about; None: the primary one. Claims about one metric are a family:
        Holm's correction is over them."""
        return None

    @property
    def margin_source(self) -> str:
        """A sentence: where the margin is from, such as a measured spread; "" where nothing is said."""
        return ""

    @property
    def threshold(self) -> float | None:
        """The number that the weighted sum is compared with. None where arms are compared with each other."""
        return None

    @property
    def non_inferiority(self) -> bool:
        """Whether the claim holds as soon as the loss is at most the margin."""
        return False

    @property
    def trend_axis(self) -> str | None:
        """The axis of numbers along which the report fits the metric, a recipe path or its last word; None: no fit."""
        return None

    def oriented_weights(self, arms: Sequence[Arm], higher_is_better: bool) -> dict[str, float]:
        """The weights, positive as claimed whatever the metric's direction. A claim with a threshold is about the size
        of the metric, not about which arm is better, so the direction does not turn it round."""
        weights = self.weights(arms)
        if higher_is_better or self.threshold is not None:
            return weights
        return {arm: -weight for arm, weight in weights.items()}


def check_margin(margin: float) -> None:
    """Raises ValueError for a margin that is negative or not finite."""
    if not 0 <= margin < float("inf"):
        raise ValueError(f"margin must be a finite number ≥ 0, in units of the metric; got {margin!r}")


@dataclass(frozen=True)
class ArmComparison(Claim):
    """A claim about `arm` against `than`. Raises ValueError for a negative margin or an arm against itself."""

    arm: str
    than: str
    margin: float = 0.0
    metric: str | None = None
    margin_source: str = ""

    def __post_init__(self) -> None:
        check_margin(self.margin)
        if self.arm == self.than:
            raise ValueError(f"a claim compares two arms; {self.arm!r} stands on both sides")

    def weights(self, arms: Sequence[Arm]) -> dict[str, float]:
        return {self.arm: 1.0, self.than: -1.0}


def cancels(weights: Mapping[str, float], shared: Mapping[str, str]) -> bool:
    """Does a contrast cancel once arms with the same trials (`shared`: arm → the first of them) count as one?"""
    sums: dict[str, float] = {}
    for arm, weight in weights.items():
        sums[shared[arm]] = sums.get(shared[arm], 0.0) + weight
    return all(abs(weight) < 1e-12 for weight in sums.values())
