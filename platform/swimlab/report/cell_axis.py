"""A horizontal axis for the small drawings inside table cells: data values → pixels, and its ticks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator


@dataclass(frozen=True)
class CellAxis:
    """A linear axis from `low` to `high` over `width_px` pixels; `ticks` are data values."""

    low: float
    high: float
    width_px: int
    ticks: tuple[float, ...]

    def x(self, value: float) -> float:
        """Pixels from the left, to a tenth."""
        return round((value - self.low) / (self.high - self.low) * self.width_px, 1)


def axis(values: Sequence[float], width_px: int) -> CellAxis | None:
    """An axis over all values with a margin of 4 % at each end; None without values."""
    if not values:
        return None
    low, high = min(values), max(values)
    pad = 0.04 * (high - low) or 0.1 * abs(high) or 1.0
    low, high = low - pad, high + pad
    ticks = [float(t) for t in MaxNLocator(3, steps=[1, 2, 5, 10]).tick_values(low, high)]
    return CellAxis(low, high, width_px, tuple(t for t in ticks if low + pad / 2 <= t <= high - pad / 2))
