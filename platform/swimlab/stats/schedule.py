"""What an experiment file declares of its tests: α and the looks. Without scipy, which an import of such a file does
without."""

from __future__ import annotations

from dataclasses import dataclass

ALPHA = 0.05


@dataclass(frozen=True)
class Schedule:
    """Claims are judged at `at` so many replicates, each time at α ÷ the number of looks. `futility`: a claim ends
    whose chance to be settled at the last look is below it (`swimlab.stats.looks`)."""

    at: tuple[int, ...]
    futility: float = 0.0
