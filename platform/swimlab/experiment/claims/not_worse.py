"""`NotWorse`: one arm loses at most a margin to another."""

from __future__ import annotations

from dataclasses import dataclass

from swimlab.experiment.claim import ArmComparison


@dataclass(frozen=True)
class NotWorse(ArmComparison):
    """`arm` loses at most `margin` to `than` (non-inferiority). With margin 0 it asks as much as `Better`."""

    @property
    def name(self) -> str:
        return f"{self.arm} ≥ {self.than}"

    @property
    def text(self) -> str:
        return self.name + (f" − {self.margin:g}" if self.margin else "")

    @property
    def non_inferiority(self) -> bool:
        return True
