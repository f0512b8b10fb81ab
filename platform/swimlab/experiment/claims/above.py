"""`Above`: the metric of one arm lies above a number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from swimlab.experiment.arms import Arm
from swimlab.experiment.claim import Claim, check_margin


@dataclass(frozen=True)
class Above(Claim):
    """The metric of `arm` lies above `value`, a number fixed beforehand (of a difference of two readings: 0)."""

    arm: str
    value: float
    margin: float = 0.0
    metric: str | None = None
    margin_source: str = ""

    def __post_init__(self) -> None:
        check_margin(self.margin)

    @property
    def text(self) -> str:
        return f"{self.arm} > {self.value:g}"

    @property
    def threshold(self) -> float:
        return self.value

    def weights(self, arms: Sequence[Arm]) -> dict[str, float]:
        return {self.arm: 1.0}
