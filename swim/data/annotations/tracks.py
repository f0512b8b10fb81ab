"""`annotation` → tracks: per object, frame index → mask. Each mask is checked before memory is allocated for it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from swim.data.limits import MAX_ROW_COUNTS, MAX_ROW_OUTLINE_PX, abbreviate
from swim.data.masks import encodings
from swim.data.types import DataError, Rle

_FRAME = re.compile(r"[0-9]{1,9}")


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
    reader = _MaskReader(raw.get("height"), raw.get("width"), runs_valid)
    return tuple(reader.track(entry, f"annotation[{i}]") for i, entry in enumerate(annotation))


def _segmentations(annotation: list[Any]) -> Iterator[Any]:
    for entry in annotation:
        for value in entry.values() if isinstance(entry, dict) else ():
            yield value.get("segmentation") if isinstance(value, dict) else None


@dataclass
class _MaskReader:
    """The masks of one row; `height` and `width` are the row's; `counts` and `outline_px` are its totals so far, which
    are limited. `runs_valid` as in `encodings.to_rle`."""

    height: Any
    width: Any
    runs_valid: bool
    counts: int = 0
    outline_px: float = 0.0

    def track(self, entry: Any, field: str) -> dict[int, Rle]:
        """Frame → mask. A null segmentation means "not annotated here"; an empty mask means "not visible here"."""
        if not isinstance(entry, dict):
            raise DataError("not an object", field=field, hint="give {frame index: {'segmentation': …}}")
        track: dict[int, Rle] = {}
        frames: set[int] = set()
        for frame, value in entry.items():
            frame_field = f"{field}[{abbreviate(frame)}]"
            if not _FRAME.fullmatch(frame):
                raise DataError("not a frame index", field=frame_field, hint="keys count shown frames from 0")
            if int(frame) in frames:
                raise DataError("the same frame twice", field=frame_field, hint="keep one mask per object and frame")
            frames.add(int(frame))
            if value is not None and not (isinstance(value, dict) and "segmentation" in value):
                raise DataError(
                    "no segmentation", field=frame_field, hint="give {'segmentation': RLE, polygons or null}"
                )
            if value is None or value["segmentation"] is None:
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
        segmentation = value["segmentation"]
        rle = encodings.to_rle(segmentation, *self._size(value), runs_valid=self.runs_valid)
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
