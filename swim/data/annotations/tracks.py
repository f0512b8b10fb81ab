"""`annotation` → tracks: per object, frame index → mask. Each mask is checked before memory is allocated for it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from swim.data.limits import MAX_ROW_COUNTS, MAX_ROW_OUTLINE_PX, abbreviate
from swim.data.masks import encodings, polygon_units
from swim.data.types import DataError, Rle

_FRAME = re.compile(r"[0-9]{1,9}")
_MASK_NAME = re.compile("mask|seg|poly|rle|counts|box|points", re.IGNORECASE)


def read_tracks(raw: dict[str, Any], mark_count: int, mark_name: str) -> tuple[dict[int, Rle], ...]:
    """One track for each of the row's marks. Errors call them `mark_name` ("<ins> tags").

    `frame_idx` of benchmark rows only selects one of these frames and is not read. Raises DataError.
    """
    annotation = raw["annotation"]
    if not isinstance(annotation, list):
        raise DataError("not a list", field="annotation", hint="give one entry per object, in the order of the marks")
    if len(annotation) != mark_count:
        hint = "each mark of the conversation belongs to one annotation entry, in reading order"
        raise DataError(
            f"{mark_count} {mark_name}, {len(annotation)} annotation entries", field="annotation", hint=hint
        )
    runs_valid = encodings.all_runs_valid(_segmentations(annotation))
    masks = (value for entry in annotation if isinstance(entry, dict) for value in entry.values())
    units = polygon_units.read_units(raw)
    if units is None:
        polygon_units.refuse_other_units(masks, raw.get("height"), raw.get("width"))
    reader = _MaskReader(raw.get("height"), raw.get("width"), runs_valid, units or "pixels")
    return tuple(reader.track(entry, f"annotation[{i}]") for i, entry in enumerate(annotation))


def _is_annotated(value: Any, field: str) -> bool:
    """Whether a frame has a mask. The published VideoRefer-700K has frames without `segmentation`, and with null: both
    mean that the object is not annotated there. Raises DataError for what may be a mask under another name."""
    if value is None:
        return False
    if not isinstance(value, dict):
        raise DataError("no segmentation", field=field, hint="give {'segmentation': RLE, polygons or null}")
    segmentation = value.get("segmentation")
    if isinstance(segmentation, dict) and segmentation.get("counts") is None:
        other = next((key for key, part in segmentation.items() if key not in ("size", "counts") and part), None)
    else:
        if segmentation is not None:
            return True
        other = next((key for key, part in value.items() if _may_be_a_mask(key, part)), None)
    if other is not None:
        hint = "give {'segmentation': RLE, polygons or null}, or take the frame out"
        raise DataError(f"no segmentation, but {abbreviate(other)}", field=field, hint=hint)
    return False


def _may_be_a_mask(key: str, part: Any) -> bool:
    if key in ("segmentation", "size", "height", "width") or part is None:
        return False
    return isinstance(part, list | dict) or _MASK_NAME.search(key) is not None


def _segmentations(annotation: list[Any]) -> Iterator[Any]:
    for entry in annotation:
        for value in entry.values() if isinstance(entry, dict) else ():
            yield value.get("segmentation") if isinstance(value, dict) else None


@dataclass
class _MaskReader:
    """The masks of one row; `height` and `width` are the row's; `counts` and `outline_px` are its totals so far, which
    are limited. `runs_valid` as in `encodings.to_rle`; `units` are those of its polygons."""

    height: Any
    width: Any
    runs_valid: bool
    units: polygon_units.Units
    counts: int = 0
    outline_px: float = 0.0

    def track(self, entry: Any, field: str) -> dict[int, Rle]:
        """Frame → mask. A null segmentation means "not annotated here"; an empty mask means "not visible here"."""
        if not isinstance(entry, dict):
            hint = "give {frame index: {'segmentation': …}}, each frame once (a map of Parquet may have one twice)"
            raise DataError("not an object", field=field, hint=hint)
        track: dict[int, Rle] = {}
        frames: set[int] = set()
        for frame, value in entry.items():
            frame_field = f"{field}[{abbreviate(frame)}]"
            if not _FRAME.fullmatch(frame):
                raise DataError("not a frame index", field=frame_field, hint="keys count shown frames from 0")
            if int(frame) in frames:
                raise DataError("the same frame twice", field=frame_field, hint="keep one mask per object and frame")
            frames.add(int(frame))
            if not _is_annotated(value, frame_field):
                continue
            try:
                track[int(frame)] = self._mask(value)
            except DataError as error:
                raise DataError(error.reason, field=f"{frame_field}.{error.field}", hint=error.hint) from error
        if not track:
            raise DataError(
                "no frame is annotated", field=field, hint="an object needs one mask: remove it and its tag"
            )
        if not any(encodings.area(rle) for rle in track.values()):
            raise DataError(
                "every mask is empty", field=field, hint="an object must be visible once: remove it and its tag"
            )
        return track

    def _mask(self, value: dict[str, Any]) -> Rle:
        size = self._size(value)
        segmentation = polygon_units.in_pixels(value["segmentation"], self.units, *size)
        rle = encodings.to_rle(segmentation, *size, runs_valid=self.runs_valid)
        self.counts += len(rle.counts)
        if isinstance(segmentation, list):
            self.outline_px += encodings.outline_px(segmentation)
        if self.counts > MAX_ROW_COUNTS or self.outline_px > MAX_ROW_OUTLINE_PX:
            hint = f"at most {MAX_ROW_COUNTS} characters of RLE and outlines of {MAX_ROW_OUTLINE_PX} px: split the row"
            raise DataError("too many masks in one row", field="segmentation", hint=hint)
        return rle

    def _size(self, value: dict[str, Any]) -> tuple[Any, Any]:
        """(height, width) for polygons: the frame's own where it has one, else the row's. Not checked here."""
        sizes = []
        if (size := value.get("size")) is not None:
            if not isinstance(size, list) or len(size) != 2:
                raise DataError("not [height, width]", field="size", hint="give two whole numbers of pixels")
            sizes.append(tuple(size))
        if value.get("height") is not None or value.get("width") is not None:
            sizes.append((value.get("height"), value.get("width")))
        # Only numbers are compared: comparing lists would recurse into them, however deep they are.
        if len(sizes) == 2 and not (all(type(n) is int for pair in sizes for n in pair) and sizes[0] == sizes[1]):
            raise DataError("not the frame's height and width", field="size", hint="size is [height, width]: keep one")
        return sizes[0] if sizes else (self.height, self.width)
