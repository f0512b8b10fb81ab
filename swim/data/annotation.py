"""`annotation` → tracks: per object, frame index → mask. Each mask is checked before anything is allocated for it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from swim.data import masks
from swim.data.limits import MAX_ROW_COUNTS, MAX_ROW_OUTLINE_PX, shown
from swim.data.types import DataError, Rle

_FRAME = re.compile(r"[0-9]{1,9}")


def read_tracks(raw: dict[str, Any], marks: int, name: str) -> tuple[dict[int, Rle], ...]:
    """One track for each of the row's `marks`, whose `name` errors use ("<ins> tags").

    `frame_idx`, which benchmarks give beside it, only picks one of these frames; it is not read. Raises DataError.
    """
    annotation = raw["annotation"]
    if not isinstance(annotation, list):
        raise DataError("not a list", field="annotation", hint="give one entry per object, in the order of the marks")
    if len(annotation) != marks:
        hint = "each mark of the conversation belongs to one annotation entry, in reading order"
        raise DataError(f"{marks} {name}, {len(annotation)} annotation entries", field="annotation", hint=hint)
    proven = masks.proven_together(_segmentations(annotation))
    reader = _Reader(raw.get("height"), raw.get("width"), proven)
    return tuple(reader.track(entry, f"annotation[{i}]") for i, entry in enumerate(annotation))


def _segmentations(annotation: list[Any]) -> Iterator[Any]:
    for entry in annotation:
        for value in entry.values() if isinstance(entry, dict) else ():
            yield value.get("segmentation") if isinstance(value, dict) else None


@dataclass
class _Reader:
    """The masks of one row; `height` and `width` are the row's, `counts` and `outline_px` what it has used so far.
    `proven` as in `masks.to_rle`."""

    height: Any
    width: Any
    proven: bool
    counts: int = 0
    outline_px: float = 0.0

    def track(self, entry: Any, field: str) -> dict[int, Rle]:
        """Frame → mask. A null segmentation means "not annotated here"; an empty mask means "not visible here"."""
        if not isinstance(entry, dict):
            raise DataError("not an object", field=field, hint="give {frame index: {'segmentation': …}}")
        track: dict[int, Rle] = {}
        seen: set[int] = set()
        for frame, value in entry.items():
            where = f"{field}[{shown(frame)}]"
            if not _FRAME.fullmatch(frame):
                raise DataError("not a frame index", field=where, hint="keys count shown frames from 0")
            if int(frame) in seen:
                raise DataError("the same frame twice", field=where, hint="keep one mask per object and frame")
            seen.add(int(frame))
            if value is not None and not (isinstance(value, dict) and "segmentation" in value):
                raise DataError("no segmentation", field=where, hint="give {'segmentation': RLE, polygons or null}")
            if value is None or value["segmentation"] is None:
                continue
            try:
                track[int(frame)] = self._mask(value)
            except DataError as error:
                raise DataError(error.reason, field=f"{where}.{error.field}", hint=error.hint) from error
        if not track:
            raise DataError(
                "no frame is annotated", field=field, hint="an object needs one mask: remove it and its tag"
            )
        if not any(masks.area(rle) for rle in track.values()):
            raise DataError(
                "every mask is empty", field=field, hint="an object must be visible once: remove it and its tag"
            )
        return track

    def _mask(self, value: dict[str, Any]) -> Rle:
        segmentation = value["segmentation"]
        rle = masks.to_rle(segmentation, *self._size(value), proven=self.proven)
        self.counts += len(rle.counts)
        if isinstance(segmentation, list):
            self.outline_px += masks.outline_px(segmentation)
        if self.counts > MAX_ROW_COUNTS or self.outline_px > MAX_ROW_OUTLINE_PX:
            hint = f"at most {MAX_ROW_COUNTS} characters of RLE and outlines of {MAX_ROW_OUTLINE_PX} px: split the row"
            raise DataError("too many masks in one row", field="segmentation", hint=hint)
        return rle

    def _size(self, value: dict[str, Any]) -> tuple[Any, Any]:
        """(height, width) for polygons: the frame's own where it has one, else the row's. Whoever uses it checks it."""
        sizes = []
        if (size := value.get("size")) is not None:
            if not isinstance(size, list) or len(size) != 2:
                raise DataError("not [height, width]", field="size", hint="give two whole numbers of pixels")
            sizes.append(tuple(size))
        if value.get("height") is not None or value.get("width") is not None:
            sizes.append((value.get("height"), value.get("width")))
        # Only numbers are compared: to compare lists is to walk into them, however deep they are.
        if len(sizes) == 2 and not (all(type(n) is int for pair in sizes for n in pair) and sizes[0] == sizes[1]):
            raise DataError("not the frame's height and width", field="size", hint="size is [height, width]: keep one")
        return sizes[0] if sizes else (self.height, self.width)
