"""COCO run lengths: their string → numbers, and numbers → area fractions on a grid, without decoding to pixels.

Dimensions: H × W pixels of the mask, h × w cells of the grid, N runs. Run lengths are column-major (down the first
column, then the next), starting with a run of zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from swim.data.limits import MAX_COUNTS
from swim.data.types import DataError

FIELD = "segmentation"
_DIGITS = 7  # of 5 bits each: the most that a 32-bit number needs
_CHUNK = 1 << 14  # runs of ones at once: keeps the scratch arrays (2 MB) in the cache
_SIGNED = (np.arange(32, dtype=np.int64) ^ 16) - 16  # five bits read as two's complement


def unpack(counts: str) -> NDArray[np.int64]:
    """Run lengths (N,) of COCO's string: little-endian groups of 5 bits plus a continuation bit, sign-extended, offset
    by 48; from the fourth number on, differences to the run two before. Raises DataError for any other string."""
    if len(counts) > MAX_COUNTS:
        hint = f"at most {MAX_COUNTS} are read: the mask is noise, or damaged"
        raise DataError(f"counts of {len(counts)} characters", field=FIELD, hint=hint)
    # Characters below "0" wrap around in uint8, so one comparison rejects both sides of the range.
    codes = np.frombuffer(counts.encode("utf-8", "surrogatepass"), dtype=np.uint8) - np.uint8(48)
    if codes.size == 0 or codes.max() > 63 or codes[-1] > 31:
        hint = "write it with pycocotools, and keep the backslashes of the JSON"
        raise DataError("counts is no COCO RLE string", field=FIELD, hint=hint)
    last_digit = np.flatnonzero(codes < 32)  # a number's last and highest digit
    runs: NDArray[np.int64] = _SIGNED.take(codes[last_digit])
    number = np.arange(last_digit.size)
    for _ in range(_DIGITS):
        # One digit to the left: of the same number while its continuation bit is set. Index -1 is the last code, which
        # never has it. Most numbers have one digit, so each round reads few.
        last_digit = last_digit - 1
        longer = np.flatnonzero(codes[last_digit] > 31)
        if longer.size == 0:
            break
        last_digit, number = last_digit[longer], number[longer]
        runs[number] = (runs[number] << 5) | (codes[last_digit] & 31)
    else:
        raise DataError("counts holds a number of more than 32 bits", field=FIELD, hint="write it with pycocotools")
    runs[1::2] = runs[1::2].cumsum()
    runs[2::2] = runs[2::2].cumsum()
    return runs


def all_runs_fill(masks: Sequence[tuple[str, int, int]]) -> bool:
    """Whether every (counts, height, width) is a COCO string whose runs fill its size: `check_runs(unpack(…))` would
    pass.

    For all masks of a row at once, since most of the time of `unpack` is the overhead of NumPy's calls: a third of the
    time for five masks. False also for more characters than one mask may have, which bounds memory.
    """
    lengths = [len(counts) for counts, _, _ in masks]
    try:
        text = "".join(counts for counts, _, _ in masks).encode("ascii")
    except UnicodeEncodeError:
        return False
    if not lengths or min(lengths) == 0 or len(text) > MAX_COUNTS:
        return False
    codes = np.frombuffer(text, dtype=np.uint8) - np.uint8(48)
    ends = np.asarray(list(accumulate(lengths)))
    if codes.max() > 63 or codes.take(ends - 1).max() > 31:
        return False
    (last,) = (codes < 32).nonzero()  # a number's last and highest digit
    runs: NDArray[np.int64] = _SIGNED.take(codes.take(last))
    (lower,) = (codes > 31).nonzero()
    if lower.size:
        number = lower - np.arange(lower.size)  # before a digit, as many numbers end as there are last digits
        digits_below = last.take(number) - lower  # 1: the digit next to the highest
        if (digits_below_top := int(digits_below.max())) >= _DIGITS:
            return False
        for place in range(1, digits_below_top + 1):
            (digits,) = (digits_below == place).nonzero()
            at = number.take(digits)
            runs[at] = (runs.take(at) << 5) | (codes.take(lower.take(digits)) & 31)
    firsts = [0, *np.searchsorted(last, ends[:-1]).tolist()]
    for first, end in zip(firsts, [*firsts[1:], runs.size], strict=True):
        odd, even = runs[first + 1 : end : 2], runs[first + 2 : end : 2]
        odd.cumsum(out=odd)
        even.cumsum(out=even)
    pixels = np.asarray([height * width for _, height, width in masks])
    # A negative run is huge as unsigned.
    largest = np.maximum.reduceat(runs.view(np.uint64), firsts)
    return bool((largest <= pixels.astype(np.uint64)).all() and (np.add.reduceat(runs, firsts) == pixels).all())


def check_runs(runs: NDArray[np.int64], height: int, width: int) -> NDArray[np.int64]:
    """The runs (N,) themselves when they fill height × width pixels exactly; raises DataError when they do not."""
    pixels = height * width
    # A negative run is huge as unsigned: one pass finds it, and also runs whose sum would wrap around.
    if runs.size == 0 or int(runs.view(np.uint64).max()) > pixels or int(runs.sum()) != pixels:
        total = sum(runs.tolist())
        raise DataError(
            f"run lengths add up to {total}, a {height} × {width} mask has {pixels} pixels"
            + (", and one is negative" if runs.size and runs.min() < 0 else ""),
            field=FIELD,
            hint="size is [height, width]; check that it is not swapped or cut off",
        )
    return runs


def pool(runs_N: NDArray[np.int64], size: tuple[int, int], grid: tuple[int, int]) -> NDArray[np.float32]:
    """The fraction of each cell that the runs of ones cover, float32 (h, w), in O(N + h·w) time and memory.

    `size` is (H, W), which the runs fill (`check_runs`); `grid` is (h, w). Cells need not align with pixels and may be
    smaller than them. A run of ones [s, e) is the pixels before e less the pixels before s. Those before the end of a
    run are whole columns and the upper part of one more, and both are added up in whole units of 1/(h·w) pixel, about
    H·W a cell: float64 is exact, and only the last division rounds.
    """
    (H, W), (h, w) = size, grid
    c = min(w, W)  # then a pixel column overlaps no more than two columns of cells
    ends_N = runs_N[: runs_N.size & ~1].cumsum()  # alternately where a run of ones starts and where it ends
    upper_hc, whole_c = np.zeros((h + 1, c + 2)), np.zeros(c + 2)
    step = 2 * max(_CHUNK, h * c)  # even, so that each chunk begins with a start
    for first in range(0, ends_N.size, step):
        _scatter(ends_N[first : first + step], size, upper_hc, whole_c)
    # `_scatter`'s pairs, summed from the end, become a full share for each earlier cell and the rest for the last.
    total_hc = upper_hc[:0:-1, :c].cumsum(axis=0)[::-1]
    total_hc += whole_c[:0:-1].cumsum()[:0:-1] * H
    if w > c:
        total_hc = _split_columns(total_hc / W, w)
    fraction_hw: NDArray[np.float32] = (total_hc / (H * W)).astype(np.float32)
    return fraction_hw


def _scatter(
    ends_N: NDArray[np.int64], size: tuple[int, int], upper_hc: NDArray[np.float64], whole_c: NDArray[np.float64]
) -> None:
    """Adds the area that the pixels before each end cover, negative for starts: the part in the end's own pixel column
    to `upper_hc` (h + 1, c + 2), the whole columns before it to `whole_c` (c + 2,). A length that reaches r of a cell's
    H units into cell i is written as the pair H - r at i, r at i + 1."""
    H, W = size
    h, c = upper_hc.shape[0] - 1, upper_hc.shape[1] - 2
    column_N = ends_N // H
    row_N = (ends_N - column_N * H) * h
    above_N = row_N // H
    row_N -= above_N * H
    column_N *= c
    left_N = column_N // W
    column_N -= left_N * W
    sign_N = np.ones_like(ends_N)
    sign_N[::2] = -1

    near_N = np.minimum(c, W - column_N) * sign_N  # the column's width in the cell it starts in, and in the next one
    far_N = c * sign_N - near_N
    index_4N = np.empty((4, ends_N.size), dtype=np.int64)
    np.add(above_N * (c + 2), left_N, out=index_4N[0])
    np.add(index_4N[0], 1, out=index_4N[1])
    np.add(index_4N[:2], c + 2, out=index_4N[2:])
    weight_4N = np.empty(index_4N.shape)
    np.multiply(near_N, H - row_N, out=weight_4N[0])
    np.multiply(far_N, H - row_N, out=weight_4N[1])
    np.multiply(near_N, row_N, out=weight_4N[2])
    np.multiply(far_N, row_N, out=weight_4N[3])
    upper_hc += np.bincount(index_4N.ravel(), weight_4N.ravel(), minlength=upper_hc.size).reshape(upper_hc.shape)
    whole_c += np.bincount(left_N, (W - column_N) * sign_N, minlength=whole_c.size)
    whole_c += np.bincount(left_N + 1, column_N * sign_N, minlength=whole_c.size)


def _split_columns(total_hW: NDArray[np.float64], cells: int) -> NDArray[np.float64]:
    """Sums per pixel column (h, W) → sums per cell column (h, cells), in units of 1/cells pixel, for cells > W."""
    h, W = total_hW.shape
    before_hX = np.zeros((h, W + 2))
    np.cumsum(total_hW, axis=1, out=before_hX[:, 1:-1])
    before_hX[:, -1] = before_hX[:, -2]
    pixel, part = np.divmod(np.arange(cells + 1) * W, cells)
    at_edge = before_hX[:, pixel] * (cells - part) + before_hX[:, pixel + 1] * part
    return np.diff(at_edge, axis=1)
