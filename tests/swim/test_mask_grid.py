"""Area fractions straight from run lengths: the numbers of decoding and pooling, without the pixels."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
from area_oracle import resize_to
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco
from torch.nn import functional as F

from swim.data.limits import MAX_SIDE_PX
from swim.data.masks import encodings, run_lengths
from swim.data.types import DataError, Rle


def encode(mask_HW: np.ndarray) -> Rle:
    packed = coco.encode(np.asfortranarray(mask_HW))
    return Rle(height=mask_HW.shape[0], width=mask_HW.shape[1], counts=packed["counts"].decode("ascii"))


def rectangle(size: tuple[int, int], rows: tuple[int, int], columns: tuple[int, int]) -> Rle:
    """Run lengths only: a mask of any size costs nothing."""
    (H, W), (top, bottom), (left, right) = size, rows, columns
    counts = [left * H + top]
    for _ in range(right - left):
        counts += [bottom - top, H - (bottom - top)]
    counts[-1] = (W - right) * H + H - bottom
    packed = coco.frPyObjects({"size": [H, W], "counts": counts}, H, W)
    return Rle(height=H, width=W, counts=packed["counts"].decode("ascii"))


def draw(rng: np.random.Generator, H: int, W: int) -> np.ndarray:
    """Noise of some density, blobs, whole columns, rows, one pixel, none or all of them; half of them inverted."""
    y, x = np.mgrid[:H, :W]
    kind = rng.integers(6)
    if kind == 0:
        mask_HW = rng.random((H, W)) < rng.choice([0.01, 0.3, 0.5])
    elif kind == 1:
        mask_HW = np.hypot((y - rng.integers(H)) / H, (x - rng.integers(W)) / W) < rng.random()
    elif kind == 2:
        mask_HW = (x >= rng.integers(W)) & (x <= rng.integers(W) + W // 2)
    elif kind == 3:
        mask_HW = (y >= rng.integers(H)) & (y <= rng.integers(H))
    elif kind == 4:
        mask_HW = (y == rng.integers(H)) & (x == rng.integers(W))
    else:
        mask_HW = np.zeros((H, W), dtype=bool)
    return (mask_HW ^ bool(rng.integers(2))).astype(np.uint8)


SIDES = [1, 2, 3, 5, 7, 8, 13, 16, 24, 31, 37, 48, 61]


@pytest.mark.parametrize("seed", range(8))
def test_the_grid_is_that_of_the_decoded_mask_number_for_number(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(750):
        (H, W), (h, w) = rng.choice(SIDES, 2), rng.choice(SIDES, 2)
        mask_HW = draw(rng, int(H), int(W))
        grid_hw = encodings.to_grid(encode(mask_HW), int(h), int(w))
        assert grid_hw.dtype == np.float32
        np.testing.assert_array_equal(grid_hw, resize_to(mask_HW, int(h), int(w)), err_msg=f"{H}×{W}→{h}×{w}")


@pytest.mark.parametrize("seed", range(4))
def test_aligned_grids_are_torch_s_area_pooling(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(250):
        h, w = (int(n) for n in rng.integers(1, 12, 2))
        mask_HW = draw(rng, h * int(rng.integers(1, 9)), w * int(rng.integers(1, 9)))
        mask_11HW = torch.from_numpy(mask_HW)[None, None].double()
        grid_hw = encodings.to_grid(encode(mask_HW), h, w)
        for pooled_11hw in (F.adaptive_avg_pool2d(mask_11HW, (h, w)), F.interpolate(mask_11HW, (h, w), mode="area")):
            np.testing.assert_allclose(grid_hw, pooled_11hw[0, 0].numpy(), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "grid", [(38, 68), (12, 22), (77, 137), (480, 854), (1080, 1920), (1, 1), (1081, 5), (3, 2003)]
)
def test_frames_of_1080p(grid: tuple[int, int]) -> None:
    y, x = np.mgrid[:1080, :1920]
    angle = np.arctan2(y - 500, x - 950)
    mask_HW = (np.hypot(y - 500, x - 950) < 300 + 40 * np.sin(5 * angle)).astype(np.uint8)
    np.testing.assert_array_equal(encodings.to_grid(encode(mask_HW), *grid), resize_to(mask_HW, *grid))


def test_more_runs_than_are_added_up_at_once() -> None:
    mask_HW = np.random.default_rng(0).integers(0, 2, (601, 499), dtype=np.uint8)
    rle = encode(mask_HW)
    assert run_lengths.unpack(rle.counts).size > 4 * run_lengths._CHUNK
    for grid in ((9, 13), (200, 90), (601, 499), (620, 777)):
        np.testing.assert_array_equal(encodings.to_grid(rle, *grid), resize_to(mask_HW, *grid))


def overlap(pixels: int, cells: int, first: int, last: int) -> np.ndarray:
    """Per cell, the share of its length that lies in pixels [first, last)."""
    edges = np.arange(cells + 1) * pixels / cells
    return np.maximum(np.minimum(edges[1:], last) - np.maximum(edges[:-1], first), 0) * cells / pixels


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_rectangles_of_the_largest_masks(data: st.DataObject) -> None:
    size = data.draw(st.tuples(*[st.sampled_from([4099, 8192, 16_381, MAX_SIDE_PX])] * 2))
    top, left = (data.draw(st.integers(0, side - 1)) for side in size)
    bottom = data.draw(st.integers(top + 1, size[0]))
    right = data.draw(st.integers(left + 1, min(size[1], left + 300)))
    grid = data.draw(st.tuples(st.integers(1, 90), st.integers(1, 90)))
    expected_hw = np.outer(overlap(size[0], grid[0], top, bottom), overlap(size[1], grid[1], left, right))
    grid_hw = encodings.to_grid(rectangle(size, (top, bottom), (left, right)), *grid)
    np.testing.assert_allclose(grid_hw, expected_hw, rtol=0, atol=1e-6)


def test_the_pixels_are_never_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    side = MAX_SIDE_PX
    rle = rectangle((side, side), (3000, 9001), (5000, 9000))
    # pycocotools allocates in C, where tracemalloc does not look.
    monkeypatch.setattr(encodings, "decode", lambda _: pytest.fail("the mask was decoded"))
    tracemalloc.start()
    try:
        grid_hw = encodings.to_grid(rle, 38, 68)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_allclose(grid_hw.mean(), 6001 * 4000 / side**2, rtol=1e-6)
    assert peak_bytes < 4e6  # the pixels are 268e6


@given(st.lists(st.integers(0, 2**24), min_size=1, max_size=40))
def test_numbers_of_any_length_are_unpacked(lengths: list[int]) -> None:
    packed = coco.frPyObjects({"size": [1, sum(lengths)], "counts": lengths}, 1, sum(lengths))
    assert run_lengths.unpack(packed["counts"].decode("ascii")).tolist() == lengths


@pytest.mark.parametrize(
    ("size", "counts", "reason"),
    [
        ((5, 4), [16], "add up to 16, a 5 × 4 mask has 20"),
        ((5, 4), [4, 17], "add up to 21, a 5 × 4 mask has 20"),
        ((4, 4), [12, 8, -4], "add up to 16, a 4 × 4 mask has 16 pixels, and one is negative"),
        # In 64 bits this sum is 16.
        ((4, 4), [2**62, 2**62, 2**62, 2**62, 16], "add up to 18446744073709551632, a 4 × 4"),
    ],
)
def test_runs_that_do_not_fill_the_mask_are_refused(size: Any, counts: list[int], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        run_lengths.check_runs(np.array(counts, dtype=np.int64), *size)


@pytest.mark.parametrize("grid", [(5, 4), (2, 2), (7, 9)])
def test_a_damaged_rle_has_no_grid(grid: tuple[int, int]) -> None:
    counts = encode(np.eye(4, dtype=np.uint8)).counts
    with pytest.raises(DataError, match="add up to 16, a 5 × 4 mask"):
        encodings.to_grid(Rle(height=5, width=4, counts=counts), *grid)
