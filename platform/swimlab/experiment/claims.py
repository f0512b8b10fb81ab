"""What a table of the paper asserts, typed: a contrast between arms on the primary metric, declared before the run.

Every claim becomes weights over arms; positive means "as claimed". One seed's contrast is the weighted sum of its arms'
values, the paper's gap is the same sum over the paper's rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


def _check_margin(margin: float) -> None:
    if not 0 <= margin < float("inf"):
        raise ValueError(f"margin must be a finite number ≥ 0, in units of the primary metric; got {margin!r}")


def _check_pair(arm: str, than: str, margin: float) -> None:
    _check_margin(margin)
    if arm == than:
        raise ValueError(f"a claim compares two arms; {arm!r} stands on both sides")


@dataclass(frozen=True)
class Better:
    """`arm` scores higher than `than`. Raises ValueError for a negative margin or an arm against itself.

    Differences inside ±margin (units of the metric) do not matter to us: an interval within reads EQUIVALENT.
    """

    arm: str
    than: str
    margin: float = 0.0

    def __post_init__(self) -> None:
        _check_pair(self.arm, self.than, self.margin)

    @property
    def text(self) -> str:
        return f"{self.arm} > {self.than}"


@dataclass(frozen=True)
class NotWorse:
    """`arm` loses at most `margin` to `than` (non-inferiority). With margin 0 it asks as much as `Better`."""

    arm: str
    than: str
    margin: float = 0.0

    def __post_init__(self) -> None:
        _check_pair(self.arm, self.than, self.margin)

    @property
    def text(self) -> str:
        return f"{self.arm} ≥ {self.than}" + (f" − {self.margin:g}" if self.margin else "")


@dataclass(frozen=True)
class Trend:
    """The metric rises along an axis: the arms that override `axis` (a path or its last word), by increasing value.

    The contrast is the fitted rise from the first arm to the last: the least-squares slope over the order of the arms,
    times the number of steps; equal spacing, because the paper's axes are neither linear nor logarithmic (Fig. 4).
    `arms` names them explicitly, in order. `rising=False` claims a fall.
    """

    axis: str
    margin: float = 0.0
    arms: tuple[str, ...] = ()
    rising: bool = True

    def __post_init__(self) -> None:
        _check_margin(self.margin)

    @property
    def text(self) -> str:
        return f"{'rises' if self.rising else 'falls'} along {self.axis}"


@dataclass(frozen=True)
class Above:
    """The metric of `arm` lies above `value`, a number fixed beforehand (of a difference of two readings: 0)."""

    arm: str
    value: float
    margin: float = 0.0

    def __post_init__(self) -> None:
        _check_margin(self.margin)

    @property
    def text(self) -> str:
        return f"{self.arm} > {self.value:g}"


Claim = Better | NotWorse | Trend | Above


def contrast(claim: Claim, trend_arms: Sequence[str] = ()) -> dict[str, float]:
    """Weights over arms, positive as claimed. `trend_arms`: a Trend's arms in order. ValueError for fewer than 3."""
    if isinstance(claim, Above):
        return {claim.arm: 1.0}
    if not isinstance(claim, Trend):
        return {claim.arm: 1.0, claim.than: -1.0}
    if len(trend_arms) < 3 or len(set(trend_arms)) != len(trend_arms):
        raise ValueError(f"Trend({claim.axis!r}) needs at least three different arms, found {list(trend_arms)}")
    sign, centre = (1.0 if claim.rising else -1.0), (len(trend_arms) - 1) / 2
    spread = sum((step - centre) ** 2 for step in range(len(trend_arms)))
    return {arm: sign * (step - centre) / spread * 2 * centre for step, arm in enumerate(trend_arms)}


def nothing_left(weights: Mapping[str, float], shared: Mapping[str, str]) -> bool:
    """Does a contrast cancel once arms with the same trials (`shared`: arm → the first of them) count as one?"""
    left: dict[str, float] = {}
    for arm, weight in weights.items():
        left[shared[arm]] = left.get(shared[arm], 0.0) + weight
    return all(abs(weight) < 1e-12 for weight in left.values())
