"""Masks that are listed by frame, one list an object, as tracks; and several objects of one noun as one track."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from pycocotools import mask as coco

from swim.data.annotations.tracks import read_tracks
from swim.data.limits import abbreviate
from swim.data.types import DataError, Rle
from swim.data.video.frame_names import frame_names, is_frame
from swim.data_config import Numbering

_ENTRY = re.compile(r"annotation\[([0-9]+)\]")


def frame_keys(names: Sequence[str], stated: Any) -> tuple[list[int], Numbering]:
    """The frame index of each listed picture, and what it is: the number in its name, where the names have one that
    changes and the row's `frames` does not say "position"; else its place among the sorted names. A folder may hold
    more pictures than are listed: then only numbers are right. Raises DataError for names that give no order."""
    files = [_file(name) for name in names]
    ordered = frame_names(files)
    if len(ordered.names) < len(files):
        raise DataError("a hidden file among the pictures", field="frames", hint="list the pictures alone")
    place = {file: i for i, file in enumerate(ordered.names)}
    if stated == "position" or (ordered.numbers is None and stated != "number"):
        return [place[file] for file in files], "position"
    if ordered.numbers is None:
        raise DataError("no number that changes in the names", field="frames", hint='say "position", or rename them')
    runs = ordered.numbers or ((0, 1, len(files)),)
    numbers = [first + step * i for first, step, count in runs for i in range(count)]
    return [numbers[place[file]] for file in files], "number"


def _file(name: str) -> str:
    """The name of a picture in its folder. MeViS and Ref-YouTube-VOS leave the ending out."""
    file = PurePosixPath(name).name
    return file if is_frame(file) else f"{file}.jpg"


def read_names(names: Any, field: str) -> list[str]:
    """The names of a video's pictures, in order. Raises DataError."""
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise DataError("not a list of names", field=field, hint="list the pictures of the video, in order")
    if len(set(names)) < len(names):
        raise DataError("a picture twice", field=field, hint="list each picture once")
    return names


def read_listed_masks(
    lists: Sequence[Any], frames: Sequence[int], fields: Sequence[str], size: tuple[Any, Any] = (None, None)
) -> tuple[dict[int, Rle], ...]:
    """One track an object. `lists[i]`, called `fields[i]` in errors, has a mask or null for each of the frames; `size`
    (height, width) is needed for polygons alone. Raises DataError."""
    for masks, field in zip(lists, fields, strict=True):
        if not isinstance(masks, list) or len(masks) != len(frames):
            count = len(masks) if isinstance(masks, list) else 0
            hint = "give a mask, or null, for each picture of the video"
            raise DataError(f"{count} masks for {len(frames)} pictures", field=field, hint=hint)
    annotation = [
        {str(frame): {"segmentation": mask} for frame, mask in zip(frames, masks, strict=True)} for masks in lists
    ]
    try:
        return read_tracks({"annotation": annotation, "height": size[0], "width": size[1]}, len(lists), "objects")
    except DataError as error:
        entry = _ENTRY.match(error.field)
        if entry is None:
            raise
        field = f"{fields[int(entry[1])]}{error.field[entry.end() :]}"
        raise DataError(error.reason, field=field, hint=error.hint) from error


def merge_tracks(tracks: Sequence[dict[int, Rle]], field: str) -> dict[int, Rle]:
    """What any of the objects covers, in the frames where one of them has a mask. Raises DataError for masks of two
    sizes in one frame."""
    if len(tracks) == 1:
        return tracks[0]
    merged: dict[int, Rle] = {}
    for frame in sorted({frame for track in tracks for frame in track}):
        masks = [track[frame] for track in tracks if frame in track]
        height, width = masks[0].height, masks[0].width
        if any((mask.height, mask.width) != (height, width) for mask in masks):
            hint = "masks of one frame have one size: correct them"
            raise DataError(f"masks of two sizes in frame {frame}", field=field, hint=hint)
        union = coco.merge([{"size": [height, width], "counts": mask.counts.encode()} for mask in masks])
        merged[frame] = Rle(height=height, width=width, counts=union["counts"].decode("ascii"))
    return merged


def single(values: Any, field: str, what: str) -> Any:
    """The one element of a list or object. Raises DataError."""
    if not isinstance(values, list | dict) or len(values) != 1:
        hint = f"a row is of one {what}; a whole file is read as it is, if its name ends in .json"
        raise DataError(f"{abbreviate(values)}, not one {what}", field=field, hint=hint)
    return values[0] if isinstance(values, list) else next(iter(values.items()))
