"""`Trend`: the metric rises, or falls, along an axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from swimlab.experiment.arms import Arm
from swimlab.experiment.claim import Claim, check_margin


@dataclass(frozen=True)
class Trend(Claim):
    """The metric rises along an axis: the arms that override `axis` (a path or its last word), by increasing value.

    The contrast is the fitted rise from the first arm to the last: the least-squares slope over the order of the arms,
    times the number of steps; equal spacing, because the paper's axes are neither linear nor logarithmic (Fig. 4).
    `arms` names them explicitly, in order. `rising=False` claims a fall.
    """

    axis: str
    margin: float = 0.0
    arms: tuple[str, ...] = ()
    rising: bool = True
    metric: str | None = None
    margin_source: str = ""

    def __post_init__(self) -> None:
        check_margin(self.margin)

    @property
    def text(self) -> str:
        return f"{'rises' if self.rising else 'falls'} along {self.axis}"

    @property
    def trend_axis(self) -> str:
        return self.axis

    def weights(self, arms: Sequence[Arm]) -> dict[str, float]:
        names = list(self.arms) or self._by_value(arms)
        if len(names) < 3 or len(set(names)) != len(names):
            raise ValueError(f"Trend({self.axis!r}) needs at least three different arms, found {names}")
        sign, centre = (1.0 if self.rising else -1.0), (len(names) - 1) / 2
        spread = sum((step - centre) ** 2 for step in range(len(names)))
        return {arm: sign * (step - centre) / spread * 2 * centre for step, arm in enumerate(names)}

    def _by_value(self, arms: Sequence[Arm]) -> list[str]:
        values: dict[str, float] = {}
        for arm in arms:
            for path, value in arm.overrides.items():
                if path == self.axis or path.rpartition(".")[2] == self.axis:
                    if isinstance(value, bool) or not isinstance(value, int | float):
                        raise ValueError(f"Trend({self.axis!r}): arm {arm.name!r} has {value!r}, which has no order")
                    values[arm.name] = value
        if len(set(values.values())) != len(values):
            raise ValueError(f"Trend({self.axis!r}): several arms share a value {values}; name them with arms=(…)")
        return sorted(values, key=values.__getitem__)
