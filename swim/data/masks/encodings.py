"""Masks: every encoding that occurs in annotation files → validated COCO run lengths → pixels → area fractions.

Dimensions: H × W pixels of the mask as annotated, h × w cells of the requested grid.
Run lengths are column-major (down the first column, then the next), starting with a run of zeros.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from swim.data.limits import MAX_COUNTS, MAX_MASK_PX, MAX_OUTLINE_PX, MAX_POLYGONS, MAX_SIDE_PX, abbreviate
from swim.data.masks.run_lengths import FIELD, all_runs_fill, check_runs, pool, unpack
from swim.data.types import DataError, Rle


def to_rle(segmentation: Any, height: Any = None, width: Any = None, *, runs_valid: bool = False) -> Rle:
    """Compressed or uncompressed RLE, or polygons [[x1, y1, …], …], as compressed RLE of the size it was annotated at.

    `height` and `width` (pixels) are the picture's, and only polygons need them. All numbers are checked against each
    other and `swim.data.limits` before memory is allocated. Raises DataError (field "segmentation") for anything that
    does not describe a mask exactly. `runs_valid` skips the check of compressed RLEs that `all_runs_valid` has checked.
    """
    if isinstance(segmentation, dict):
        return _from_runs(segmentation, runs_valid)
    if isinstance(segmentation, list):
        return _from_polygons(segmentation, height, width)
    raise _error(
        f"a segmentation cannot be {type(segmentation).__name__}",
        "give an RLE {'size': [height, width], 'counts': …}, polygons [[x1, y1, …], …] or null",
    )


def all_runs_valid(segmentations: Iterable[Any]) -> bool:
    """Whether all compressed RLEs among these are valid. Checking all masks of a row at once takes a third of the time
    of checking each. Where it is false, `to_rle` names the invalid one and the reason."""
    compressed = []
    for segmentation in segmentations:
        if isinstance(segmentation, dict) and isinstance(counts := segmentation.get("counts"), str):
            size = segmentation.get("size")
            if not (isinstance(size, list) and len(size) == 2 and all(type(side) is int for side in size)):
                return False
            if not all(1 <= side <= MAX_SIDE_PX for side in size):
                return False
            compressed.append((counts, size[0], size[1]))
    return all_runs_fill(compressed)


def area(rle: Rle) -> int:
    """Number of pixels inside the mask."""
    return int(coco.area(_as_coco(rle)))


def decode(rle: Rle) -> NDArray[np.uint8]:
    """The mask's pixels, 0 or 1, uint8 (H, W). Raises DataError when the run lengths do not fill the size."""
    # Checked first: for too few run lengths pycocotools returns uninitialised memory.
    check_runs(unpack(rle.counts), rle.height, rle.width)
    mask_HW: NDArray[np.uint8] = coco.decode(_as_coco(rle))
    return mask_HW


def to_grid(rle: Rle, height: int, width: int) -> NDArray[np.float32]:
    """The fraction of each cell that the mask covers, float32 (height, width): exact averages of its pixels, computed
    from the run lengths. Cells need not align with pixels and may be smaller than them. Raises DataError when the run
    lengths do not fill the mask's size."""
    if (height, width) == (rle.height, rle.width):
        return decode(rle).astype(np.float32)
    runs = check_runs(unpack(rle.counts), rle.height, rle.width)
    return pool(runs, (rle.height, rle.width), (height, width))


def _from_runs(rle: dict[str, Any], runs_valid: bool) -> Rle:
    size, counts = rle.get("size"), rle.get("counts")
    if not (isinstance(size, list) and len(size) == 2):
        raise _error("RLE without size", "add 'size': [height, width]")
    height, width = _size(size[0], size[1], ("size[0]", "size[1]"))
    if isinstance(counts, str):
        if runs_valid:
            return Rle(height=height, width=width, counts=counts)
        runs = unpack(counts)
    elif isinstance(counts, list):
        if len(counts) > MAX_COUNTS:
            raise _error(f"{len(counts)} run lengths", f"at most {MAX_COUNTS} are read: the mask is noise")
        if not all(type(run) is int and 0 <= run <= height * width for run in counts):
            raise _error("a run length is no whole number within the mask", "check the counts and the size")
        runs = np.asarray(counts, dtype=np.int64)
    else:
        raise _error("RLE without counts", "add 'counts': the compressed string or the list of run lengths")
    check_runs(runs, height, width)
    if isinstance(counts, str):
        return Rle(height=height, width=width, counts=counts)
    packed = coco.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    return Rle(height=height, width=width, counts=packed["counts"].decode("ascii"))


def outline_px(polygons: list[list[float]]) -> float:
    """The length of all edges along their longer axes, at least 1 each: the steps that rasterising takes."""
    total = 0.0
    for polygon in polygons:
        corners = list(zip(polygon[::2], polygon[1::2], strict=True))
        for (x1, y1), (x2, y2) in pairwise([*corners, corners[0]]):
            total += max(1.0, abs(x2 - x1), abs(y2 - y1))
    return total


def _from_polygons(polygons: list[Any], height: Any, width: Any) -> Rle:
    if height is None or width is None:
        raise _error("polygons without a picture size", "add 'height' and 'width' in pixels to the row")
    height, width = _size(height, width, ("height", "width"))
    if not polygons:
        raise _error("no polygon in the list", "give [[x1, y1, …], …], or null when the frame is not annotated")
    if len(polygons) > MAX_POLYGONS:
        raise _error(f"{len(polygons)} polygons", f"at most {MAX_POLYGONS} are read: give the mask as RLE")
    for polygon in polygons:
        _check_polygon(polygon, height, width)
    if (length := outline_px(polygons)) > MAX_OUTLINE_PX:
        raise _error(f"outlines of {length:.0f} pixels", f"at most {MAX_OUTLINE_PX} are drawn: give the mask as RLE")
    merged = coco.merge(coco.frPyObjects(polygons, height, width))
    return Rle(height=height, width=width, counts=merged["counts"].decode("ascii"))


def _check_polygon(polygon: Any, height: int, width: int) -> None:
    if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
        raise _error("a polygon needs three or more x, y pairs", "give [[x1, y1, x2, y2, x3, y3, …], …]")
    if (corners := len(polygon) // 2) > MAX_OUTLINE_PX:
        raise _error(f"a polygon of {corners} corners", f"at most {MAX_OUTLINE_PX} are read: give the mask as RLE")
    # `math.isfinite` raises for very large integers, which are finite.
    if not all(type(value) is int or (type(value) is float and math.isfinite(value)) for value in polygon):
        raise _error("a polygon coordinate is no finite number", "give pixels")
    # Rasterising takes a step per pixel of an edge: a coordinate of 1e12 would exhaust memory.
    if not all(-side <= value <= 2 * side for value, side in zip(polygon, (width, height) * corners, strict=True)):
        raise _error(f"a polygon lies outside the {height} × {width} picture", "check height, width and the units")


def _size(height: Any, width: Any, names: tuple[str, str]) -> tuple[int, int]:
    for name, value in zip(names, (height, width), strict=True):
        if type(value) is not int or not 1 <= value <= MAX_SIDE_PX:
            raise _error(
                f"{name} is {abbreviate(value)}", f"a side is a whole number of pixels from 1 to {MAX_SIDE_PX}"
            )
    if height * width > MAX_MASK_PX:
        raise _error(f"a mask of {height} × {width} pixels", f"at most {MAX_MASK_PX} are read: scale it down")
    return height, width


def _as_coco(rle: Rle) -> dict[str, Any]:
    return {"size": [rle.height, rle.width], "counts": rle.counts.encode("ascii")}


def _error(reason: str, hint: str) -> DataError:
    return DataError(reason, field=FIELD, hint=hint)
