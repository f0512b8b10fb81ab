"""Masks: every encoding that occurs in annotation files → validated COCO run lengths → pixels → area fractions.

Dimensions: H × W pixels of the mask as annotated, h × w cells of the requested grid.
Run lengths are column-major (down the first column, then the next), starting with a run of zeros.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from swim.data.runs import FIELD, checked, pool, unpack
from swim.data.types import DataError, Rle

MAX_SIDE_PX = 16_384


def to_rle(segmentation: Any, height: int | None = None, width: int | None = None) -> Rle:
    """Compressed or uncompressed RLE, or polygons [[x1, y1, …], …], as compressed RLE of the size it was annotated at.

    `height` and `width` (pixels) are the row's, and only polygons need them. Run lengths are checked before anything is
    allocated from them. Raises DataError (field "segmentation") for whatever does not describe a mask exactly.
    """
    if isinstance(segmentation, dict):
        return _from_runs(segmentation)
    if isinstance(segmentation, list):
        return _from_polygons(segmentation, height, width)
    raise _error(
        f"a segmentation cannot be {type(segmentation).__name__}",
        "give an RLE {'size': [height, width], 'counts': …}, polygons [[x1, y1, …], …] or null",
    )


def area(rle: Rle) -> int:
    """Number of pixels inside the mask."""
    return int(coco.area(_as_coco(rle)))


def decode(rle: Rle) -> NDArray[np.uint8]:
    """The mask's pixels, 0 or 1, uint8 (H, W). Raises DataError when the run lengths do not fill the size."""
    # Checked first: of run lengths that stop short pycocotools returns whatever was in the memory.
    checked(unpack(rle.counts), rle.height, rle.width)
    mask_HW: NDArray[np.uint8] = coco.decode(_as_coco(rle))
    return mask_HW


def resize_to(mask_HW: NDArray[Any], height: int, width: int) -> NDArray[np.float32]:
    """Exact area averages on a height × width grid, float32; for a 0/1 mask the fraction of each cell it covers.

    Cells need not align with pixels and may be smaller than them (then a pixel's value is repeated, split by area).
    """
    H, W = mask_HW.shape
    if mask_HW.shape == (height, width):
        return mask_HW.astype(np.float32)
    rows_hH, columns_wW = _overlaps(H, height), _overlaps(W, width)
    # Overlaps are whole numbers, so for masks the sums are exact in float64 and only this one division rounds.
    total_hw = rows_hH @ mask_HW.astype(np.float64) @ columns_wW.T
    fractions_hw: NDArray[np.float32] = (total_hw / (H * W)).astype(np.float32)
    return fractions_hw


def to_grid(rle: Rle, height: int, width: int) -> NDArray[np.float32]:
    """The fraction of each cell that the mask covers, float32 (height, width): `resize_to(decode(rle), height, width)`,
    number for number, but straight from the run lengths. Raises DataError when they do not fill the mask's size."""
    if (height, width) == (rle.height, rle.width):
        return decode(rle).astype(np.float32)
    runs = checked(unpack(rle.counts), rle.height, rle.width)
    return pool(runs, (rle.height, rle.width), (height, width))


@lru_cache(maxsize=32)
def _overlaps(pixels: int, cells: int) -> NDArray[np.float64]:
    """(cells, pixels): length each cell shares with each pixel, in units of 1/cells pixel; rows sum to `pixels`."""
    cell = np.arange(cells)[:, None] * pixels
    pixel = np.arange(pixels)[None, :] * cells
    shared = np.minimum(cell + pixels, pixel + cells) - np.maximum(cell, pixel)
    overlaps: NDArray[np.float64] = np.maximum(shared, 0).astype(np.float64)
    return overlaps


def _from_runs(rle: dict[str, Any]) -> Rle:
    size, counts = rle.get("size"), rle.get("counts")
    if not (isinstance(size, list) and len(size) == 2):
        raise _error("RLE without size", "add 'size': [height, width]")
    height, width = _side(size[0], "size[0]"), _side(size[1], "size[1]")
    if isinstance(counts, str):
        runs = unpack(counts)
    elif isinstance(counts, list):
        if not all(type(run) is int and 0 <= run <= height * width for run in counts):
            raise _error("a run length is no whole number within the mask", "check the counts and the size")
        runs = np.asarray(counts, dtype=np.int64)
    else:
        raise _error("RLE without counts", "add 'counts': the compressed string or the list of run lengths")
    checked(runs, height, width)
    if isinstance(counts, str):
        return Rle(height=height, width=width, counts=counts)
    packed = coco.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    return Rle(height=height, width=width, counts=packed["counts"].decode("ascii"))


def _from_polygons(polygons: list[Any], height: int | None, width: int | None) -> Rle:
    if height is None or width is None:
        raise _error("polygons without a picture size", "add 'height' and 'width' in pixels to the row")
    height, width = _side(height, "height"), _side(width, "width")
    if not polygons:
        raise _error("no polygon in the list", "give [[x1, y1, …], …], or null when the frame is not annotated")
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise _error("a polygon needs three or more x, y pairs", "give [[x1, y1, x2, y2, x3, y3, …], …]")
        if not all(type(value) in (int, float) and math.isfinite(value) for value in polygon):
            raise _error("a polygon coordinate is no finite number", "give pixels")
        # Rasterising walks along every edge: a stray 1e12 would fill the memory, and lies outside anyway.
        if not all(
            -side <= v <= 2 * side for v, side in zip(polygon, (width, height) * (len(polygon) // 2), strict=True)
        ):
            raise _error(f"a polygon lies outside the {height} × {width} picture", "check height, width and the units")
    merged = coco.merge(coco.frPyObjects(polygons, height, width))
    return Rle(height=height, width=width, counts=merged["counts"].decode("ascii"))


def _side(value: Any, name: str) -> int:
    if type(value) is not int or not 1 <= value <= MAX_SIDE_PX:
        raise _error(f"{name} is {value!r:.40}", f"a side is a whole number of pixels from 1 to {MAX_SIDE_PX}")
    return value


def _as_coco(rle: Rle) -> dict[str, Any]:
    return {"size": [rle.height, rle.width], "counts": rle.counts.encode("ascii")}


def _error(reason: str, hint: str) -> DataError:
    return DataError(reason, field=FIELD, hint=hint)
