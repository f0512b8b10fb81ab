"""`Better`: one arm scores higher than another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from swimlab.experiment.arms import Arm
from swimlab.experiment.claim import Claim, check_margin, check_pair


@dataclass(frozen=True)
class Better(Claim):
    """`arm` scores higher than `than`. Raises ValueError for a negative margin or an arm against itself.

    Differences inside ±margin (units of the metric) do not matter to us: an interval within reads EQUIVALENT.
    """

    arm: str
    than: str
    margin: float = 0.0

    def __post_init__(self) -> None:
        check_margin(self.margin)
        check_pair(self.arm, self.than)

    @property
    def text(self) -> str:
        return f"{self.arm} > {self.than}"

    def weights(self, arms: Sequence[Arm]) -> dict[str, float]:
        return {self.arm: 1.0, self.than: -1.0}
