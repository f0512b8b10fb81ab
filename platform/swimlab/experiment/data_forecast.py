"""What it takes to draw and decode the embedded data sets that a plan needs and the store lacks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from swim.recipe import DataConfig, ShapesWorld

# Measured: a world's 2,250 hard-look clips took 30 CPU-seconds through Ray Data, workers started already: 5 ms to draw
# and encode a clip, 6 to decode and store it, the rest is Ray's.
CPU_S_A_CLIP = 0.013


@dataclass(frozen=True)
class DrawingForecast:
    """Data sets and clips to draw, in CPU-seconds; they are drawn on all CPUs before the first trial starts."""

    data_sets: int
    clips: int

    @property
    def cpu_s(self) -> float:
        return self.clips * CPU_S_A_CLIP


def drawing(unprepared: Iterable[DataConfig]) -> DrawingForecast:
    """Of these data sets the embedded ones: how long a user's files take to decode is not known before they are
    read."""
    drawn = [data for data in unprepared if isinstance(data, ShapesWorld)]
    return DrawingForecast(len(drawn), sum(data.clips + data.held_out for data in drawn))
