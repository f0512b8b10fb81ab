"""`NotWorse`: one arm loses at most a margin to another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from swimlab.experiment.arms import Arm
from swimlab.experiment.claim import Claim, check_margin, check_pair


@dataclass(frozen=True)
class NotWorse(Claim):
    """`arm` loses at most `margin` to `than` (non-inferiority). With margin 0 it asks as much as `Better`."""

    arm: str
    than: str
    margin: float = 0.0

    def __post_init__(self) -> None:
        check_margin(self.margin)
        check_pair(self.arm, self.than)

    @property
    def name(self) -> str:
        return f"{self.arm} ≥ {self.than}"

    @property
    def text(self) -> str:
        return self.name + (f" − {self.margin:g}" if self.margin else "")

    @property
    def non_inferiority(self) -> bool:
        return True

    def weights(self, arms: Sequence[Arm]) -> dict[str, float]:
        return {self.arm: 1.0, self.than: -1.0}
