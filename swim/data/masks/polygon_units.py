"""The units of polygon coordinates: pixels, unless `polygon_units` of the row says that they are shares of the picture.

Coordinates of 0 to 1 (YOLO labels) or 0 to 100 (percent, as labelling tools export) are also valid pixels: of a mask in
the first corner of the picture. Such rows are refused unless they say what is meant, since one reading is wrong and
nothing would show it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from swim.data.limits import abbreviate
from swim.data.types import DataError

Units = Literal["pixels", "normalised", "percent"]
FIELD = "polygon_units"
_UNITS: dict[str, Units] = {
    "pixels": "pixels",
    "normalised": "normalised",
    "normalized": "normalised",
    "percent": "percent",
}
LARGEST: dict[Units, int] = {"normalised": 1, "percent": 100}  # what the picture's side is in these units
# Drawn outlines go a little past the picture's edge: 2 % of its side.
_OVERSHOOT = 0.02
# A smaller picture often has all its objects within 100 × 100 pixels: coordinates up to 100 say nothing there.
_TELLING_PX = 40_000


def read_units(raw: dict[str, Any]) -> Units | None:
    """The units that a row states for its polygons, or None. Raises DataError for others."""
    stated = raw.get(FIELD)
    if stated is None:
        return None
    if isinstance(stated, str) and stated in _UNITS:
        return _UNITS[stated]
    hint = 'give "pixels", "normalised" (0 to 1) or "percent" (0 to 100)'
    raise DataError(f"{abbreviate(stated)} is no unit of coordinates", field=FIELD, hint=hint)


def refuse_other_units(frames: Iterable[Any], height: Any, width: Any) -> None:
    """Raises DataError when coordinates of a row's frames look like shares of the picture: those of one mask are all
    within 0 to 1, or those of the whole row within 0 to 100 in a picture that is larger.

    `height` and `width` are the row's, in pixels; a frame may have its own. What is no polygon, or has no known size,
    is left to `encodings.to_rle`.
    """
    ranges = [found for frame in frames if (found := _range(frame, height, width))]
    for low, high, sides in ranges:
        if low >= -_OVERSHOOT and high <= 1 + _OVERSHOOT and min(sides) > 2:
            raise _error("normalised", "all at most 1", "multiply x by the width and y by the height")
    if not ranges:
        return
    low, high = min(low for low, _, _ in ranges), max(high for _, high, _ in ranges)
    heights, widths = zip(*(sides for _, _, sides in ranges), strict=True)
    larger = min(*heights, *widths) > 100 and min(heights) * min(widths) > _TELLING_PX
    if larger and low >= -100 * _OVERSHOOT and high <= 100 * (1 + _OVERSHOOT):
        how = "multiply x by width / 100 and y by height / 100"
        raise _error("like percent", f"all at most 100 in a picture of {min(heights)} × {min(widths)}", how)


def in_pixels(segmentation: Any, units: Units, height: Any, width: Any) -> Any:
    """Polygons in pixels. What has no coordinates or no size is returned unchanged: `encodings.to_rle` refuses it."""
    if units == "pixels" or not isinstance(segmentation, list) or not (_is_side(height) and _is_side(width)):
        return segmentation
    share = LARGEST[units]
    limit = share * (1 + _OVERSHOOT)
    scaled = []
    for polygon in segmentation:
        if not _is_polygon(polygon):
            return segmentation
        if not all(-share * _OVERSHOOT <= value <= limit for value in polygon):
            hint = f'correct {FIELD}: "{units}" coordinates are 0 to {share}'
            raise DataError(f"a coordinate is outside 0 to {share}", field="segmentation", hint=hint)
        sides = (width, height) * (len(polygon) // 2)
        scaled.append([value * side / share for value, side in zip(polygon, sides, strict=True)])
    return scaled


def _range(frame: Any, height: Any, width: Any) -> tuple[float, float, tuple[int, int]] | None:
    """(smallest, largest coordinate, (height, width)) of a frame's polygons; None for anything else."""
    segmentation = frame.get("segmentation") if isinstance(frame, dict) else None
    if not isinstance(segmentation, list) or not segmentation or not all(map(_is_polygon, segmentation)):
        return None
    size = frame.get("size")
    if isinstance(size, list) and len(size) == 2:
        height, width = size
    elif frame.get("height") is not None or frame.get("width") is not None:
        height, width = frame.get("height"), frame.get("width")
    if not (_is_side(height) and _is_side(width)):
        return None
    return min(map(min, segmentation)), max(map(max, segmentation)), (height, width)


def _is_side(side: Any) -> bool:
    return type(side) is int and side > 0


def _is_polygon(polygon: Any) -> bool:
    return (
        isinstance(polygon, list)
        and len(polygon) > 0
        and len(polygon) % 2 == 0
        and all(type(value) in (int, float) for value in polygon)
    )


def _error(what: str, why: str, how: str) -> DataError:
    units = "percent" if "percent" in what else "normalised"
    hint = f'{how}, or add "{FIELD}": "{units}" to the row ("pixels" if they are pixels)'
    return DataError(f"coordinates look {what} ({why})", field="annotation", hint=hint)
