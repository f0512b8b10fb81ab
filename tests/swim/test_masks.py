"""Every mask encoding, checked before it is decoded; area fractions against brute force."""

import json
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco

from swim.data.masks import encodings
from swim.data.types import DataError, Rle

MASKS = st.tuples(st.integers(1, 40), st.integers(1, 40)).flatmap(
    lambda size: arrays(np.uint8, size, elements=st.integers(0, 1))
)


def compressed(mask_HW: np.ndarray) -> dict[str, Any]:
    rle = coco.encode(np.asfortranarray(mask_HW))
    return {"size": list(mask_HW.shape), "counts": rle["counts"].decode("ascii")}


def uncompressed(mask_HW: np.ndarray) -> dict[str, Any]:
    counts, value = [0], 0
    for pixel in mask_HW.T.reshape(-1).tolist():
        if pixel != value:
            counts.append(0)
            value = pixel
        counts[-1] += 1
    return {"size": list(mask_HW.shape), "counts": counts}


@given(MASKS)
def test_both_run_length_encodings_come_back(mask_HW: np.ndarray) -> None:
    for segmentation in (compressed(mask_HW), uncompressed(mask_HW)):
        rle = encodings.to_rle(json.loads(json.dumps(segmentation)))
        np.testing.assert_array_equal(encodings.decode(rle), mask_HW)
        assert encodings.area(rle) == mask_HW.sum()


def test_large_masks_exercise_long_and_negative_differences() -> None:
    mask_HW = np.zeros((1080, 1920), np.uint8)
    mask_HW[3, 5] = mask_HW[1000:, 1900:] = 1
    mask_HW[:, 700:1300] = 1
    np.testing.assert_array_equal(encodings.decode(encodings.to_rle(compressed(mask_HW))), mask_HW)


def test_polygons_are_merged_at_the_size_of_the_row() -> None:
    squares = [[1, 1, 4, 1, 4, 5, 1, 5], [6.0, 0.0, 8.0, 0.0, 8.0, 3.0, 6.0, 3.0]]
    expected_HW = np.zeros((6, 9), np.uint8)
    expected_HW[1:5, 1:4] = expected_HW[0:3, 6:8] = 1
    np.testing.assert_array_equal(encodings.decode(encodings.to_rle(squares, 6, 9)), expected_HW)


GOOD = compressed(np.eye(4, dtype=np.uint8))


@pytest.mark.fault(
    injection="masks with wrong sizes, counts, corners or types",
    symptom="a shifted or empty mask supervises",
    expected="error names field and reason",
)
@pytest.mark.parametrize(
    ("segmentation", "reason"),
    [
        ("text", "cannot be str"),
        (7, "cannot be int"),
        ({"counts": "0"}, "without size"),
        ({"size": [4, 4]}, "without counts"),
        ({"size": [4, 4, 3], "counts": [16]}, "without size"),
        ({"size": [0, 4], "counts": [0]}, r"size\[0\] is 0"),
        ({"size": [4, 20_000], "counts": [80_000]}, r"size\[1\] is 20000"),
        ({"size": [4, 4.0], "counts": [16]}, r"size\[1\] is 4.0"),
        ({"size": [4, 10**5000], "counts": [16]}, r"size\[1\] is a number of more than 20 digits"),
        ({"size": [[[]], 4], "counts": [16]}, r"size\[0\] is a list of 1"),
        ({"size": [4, 4], "counts": []}, "add up to 0"),
        ({"size": [4, 4], "counts": [10, 5]}, "add up to 15, a 4 × 4 mask has 16"),
        ({"size": [4, 4], "counts": [20, -4]}, "no whole number"),
        ({"size": [4, 4], "counts": [15.0, 1]}, "no whole number"),
        ({"size": [4, 4], "counts": [10**30]}, "no whole number"),
        ({"size": [5, 4], "counts": GOOD["counts"]}, "add up to 16, a 5 × 4 mask has 20"),
        ({"size": [4, 4], "counts": GOOD["counts"][:-1]}, "add up to|no COCO RLE"),
        ({"size": [4, 4], "counts": ""}, "no COCO RLE"),
        ({"size": [4, 4], "counts": "é~ "}, "no COCO RLE"),
        ({"size": [4, 4], "counts": "\ud800"}, "no COCO RLE"),
        ({"size": [4, 4], "counts": "oooooooooo0"}, "more than 32 bits"),
        ([], "no polygon"),
        ([1, 1, 2, 2, 3, 3], "three or more x, y pairs"),
        ([[1, 1, 2, 2]], "three or more x, y pairs"),
        ([[1, 1, 2, 2, 3]], "three or more x, y pairs"),
        ([[1, 1, 2, 2, 3, float("nan")]], "no finite number"),
        ([[1, 1, 2, 2, 3, True]], "no finite number"),
        ([[1, 1, 2, 2, 3, 1e12]], "lies outside the 4 × 6"),
        ([[1, 1, 2, 2, 3, 10**400]], "lies outside the 4 × 6"),
    ],
)
def test_what_is_no_mask_is_refused_with_a_reason(segmentation: Any, reason: str) -> None:
    with pytest.raises(DataError, match=reason) as caught:
        encodings.to_rle(segmentation, 4, 6)
    assert caught.value.field == "segmentation"


ZIGZAG = [coordinate for corner in range(40) for coordinate in (8000 * (corner % 2), corner)]


@pytest.mark.fault(
    injection="masks of a few bytes that draw for hours (bombs)",
    symptom="memory or hours are used up",
    expected="error before anything is drawn",
)
@pytest.mark.parametrize(
    ("segmentation", "reason"),
    [
        ({"size": [16_384, 4097], "counts": [16_384 * 4097]}, "a mask of 16384 × 4097 pixels"),
        ({"size": [4, 4], "counts": [0] * 2**20 + [16]}, "1048577 run lengths"),
        ({"size": [4, 4], "counts": "0" * (2**20 + 1)}, "counts of 1048577 characters"),
        ([[1, 1, 3, 1, 3, 3]] * 513, "513 polygons"),
        ([ZIGZAG], "outlines of 3"),
        ([ZIGZAG[:40]] * 2, "outlines of 3"),
        ([[1, 1] * 2**18 + [2, 2]], "a polygon of 262145 corners"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_would_cost_too_much_is_refused_before_it_is_drawn(segmentation: Any, reason: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=reason):
            encodings.to_rle(segmentation, 8000, 8000)
        assert tracemalloc.get_traced_memory()[1] < 64e6
    finally:
        tracemalloc.stop()


def test_masks_at_the_limits_are_read() -> None:
    full = encodings.to_rle({"size": [8192, 8192], "counts": [0, 2**26]})
    assert encodings.area(full) == 2**26
    comb = encodings.to_rle({"size": [1024, 1024], "counts": [1] * 2**20})
    assert encodings.area(comb) == 2**19
    assert encodings.area(encodings.to_rle([ZIGZAG[:32]], 8000, 8000)) > 0


def test_polygons_need_the_size_of_the_picture() -> None:
    for size in ((None, 6), (4, None), (0, 6), (True, 6), ("4", 6)):
        with pytest.raises(DataError):
            encodings.to_rle([[1, 1, 3, 1, 3, 3]], *size)


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=30))
def test_any_string_is_refused_or_fills_the_mask(counts: str) -> None:
    try:
        rle = encodings.to_rle({"size": [5, 7], "counts": counts})
    except DataError:
        return
    assert encodings.decode(rle).shape == (5, 7)


def brute_force(mask_HW: np.ndarray, height: int, width: int) -> np.ndarray:
    H, W = mask_HW.shape
    repeated = mask_HW.repeat(height, axis=0).repeat(width, axis=1).astype(np.float64)
    return repeated.reshape(height, H, width, W).mean(axis=(1, 3))


@settings(deadline=None)
@given(MASKS, st.integers(1, 12), st.integers(1, 12))
def test_cells_hold_the_exact_fraction_covered(mask_HW: np.ndarray, height: int, width: int) -> None:
    grid_hw = encodings.to_grid(encodings.to_rle(compressed(mask_HW)), height, width)
    assert grid_hw.dtype == np.float32
    np.testing.assert_allclose(grid_hw, brute_force(mask_HW, height, width), rtol=0, atol=1e-6)
    assert grid_hw.min() >= 0
    assert grid_hw.max() <= 1
    np.testing.assert_allclose(grid_hw.mean(), mask_HW.mean(), atol=1e-5)


def test_full_and_same_size_masks_are_exact() -> None:
    full = encodings.to_rle({"size": [13, 29], "counts": [0, 13 * 29]})
    assert (encodings.to_grid(full, 4, 9) == 1).all()
    mask_HW = np.random.default_rng(0).integers(0, 2, (13, 29), dtype=np.uint8)
    assert (encodings.to_grid(encodings.to_rle(compressed(mask_HW)), 13, 29) == mask_HW).all()


@pytest.mark.fault(
    injection="a run-length mask that was altered in memory",
    symptom="pixels of other frames are read",
    expected="error",
)
@pytest.mark.parametrize("height", [3, 5])
def test_a_damaged_rle_does_not_decode(height: int) -> None:
    with pytest.raises(DataError, match=f"add up to 16, a {height} × 4 mask"):
        encodings.decode(Rle(height=height, width=4, counts=GOOD["counts"]))
