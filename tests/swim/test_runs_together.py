"""Masks that are check_runs together are check_runs as strictly as one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pycocotools import mask as coco

from swim.data.masks import run_lengths
from swim.data.masks.encodings import all_runs_valid, to_rle
from swim.data.masks.run_lengths import all_runs_fill, check_runs, unpack
from swim.data.types import DataError

DIGITS = "".join(map(chr, range(48, 48 + 64)))


@st.composite
def masks(draw: st.DrawFn) -> tuple[str, int, int]:
    """A mask in order, or with a character or its size changed, or any text."""
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    if draw(st.integers(0, 9)) == 0:
        return draw(st.text(DIGITS + "/pé\ud800", max_size=12)), height, width
    pixels = np.random.default_rng(draw(st.integers(0, 9999))).random((height, width)) < draw(st.floats(0, 1))
    counts = coco.encode(np.asfortranarray(pixels.astype(np.uint8)))["counts"].decode()
    if draw(st.integers(0, 5)) == 0:
        at = draw(st.integers(0, len(counts) - 1))
        counts = counts[:at] + draw(st.sampled_from(DIGITS)) + counts[at + 1 :]
    return counts, height, width + draw(st.sampled_from([0, 0, 0, 0, 0, 1]))


def alone(counts: str, height: int, width: int) -> bool:
    try:
        check_runs(unpack(counts), height, width)
    except DataError:
        return False
    return True


@given(st.lists(masks(), min_size=1, max_size=6))
@example([("1" + "o" * 8 + "0", 1, 1)])  # more than 32 bits
@example([("54", 3, 3), ("54", 3, 3)])
@example([("1P", 1, 1), ("0", 1, 1)])  # the first ends in the middle of a number, and the second would end it
def test_together_is_as_strict_as_one_by_one(found: list[tuple[str, int, int]]) -> None:
    assert all_runs_fill(found) is all(alone(*mask) for mask in found)


def test_more_than_one_mask_may_have_is_left_to_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert all_runs_fill([("54", 3, 3)] * 3)
    monkeypatch.setattr(run_lengths, "MAX_COUNTS", 5)
    assert not all_runs_fill([("54", 3, 3)] * 3)
    assert not all_runs_fill([])


@pytest.mark.parametrize("size", [None, [3], [3, "3"], [True, 9], [0, 9], [10**30, 1], {"3": 3}])
def test_a_size_that_is_none_proves_nothing(size: object) -> None:
    good = {"size": [3, 3], "counts": "54"}
    assert all_runs_valid([good, None, [[1, 2]], {"counts": [9]}])
    assert not all_runs_valid([good, {"size": size, "counts": "54"}])
    with pytest.raises(DataError):
        to_rle({"size": size, "counts": "54"})
