"""`Better`: one arm scores higher than another."""

from __future__ import annotations

from dataclasses import dataclass

from swimlab.experiment.claim import ArmComparison


@dataclass(frozen=True)
class Better(ArmComparison):
    """`arm` scores higher than `than`. Raises ValueError for a negative margin or an arm against itself.

    Differences inside ±margin (units of the metric) do not matter to us: an interval within reads EQUIVALENT.
    """

    @property
    def text(self) -> str:
        return f"{self.arm} > {self.than}"
