"""Garbage collection beside two drivers: 2,000 random interleavings."""

import os
from pathlib import Path

import interleaved
import pytest

INTERLEAVINGS, SLICES = 2_000, 4


@pytest.mark.slow
@pytest.mark.parametrize("part", range(SLICES))
@pytest.mark.fault(
    injection="two drivers, gc and a compaction in 2,000 random interleavings: pauses of any length, kills, living "
    "attempts that seem silent or gone (a clock step), listings that fail or are short",
    symptom="a committed file is lost, or a record has no files",
    expected="right: 0 of either",
    reference="b",
)
def test_gc_beside_drivers_loses_nothing(
    part: int, fault_seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    each = INTERLEAVINGS // SLICES
    first = fault_seed * INTERLEAVINGS + part * each
    interleaved.check_many(tmp_path, range(first, first + each))
