"""Masks that can be read and may still be wrong: what the doctor cautions about, and how bad each case is.

Nothing here refuses a row. A caution is counted by its label, and the worst rows of each label are drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from swim.data.annotations.markup import MarkupError, strip_tags
from swim.data.masks import polygon_units
from swim.data.types import DataError, ReferSample, Rle
from swim.recipe import FramePolicy

OUTSIDE = "an outline that leaves the picture (it is cut off at the border)"
TINY = "a mask smaller than one visual token"
JUMP = "a mask that jumps between frames"
GROWTH = "a mask whose size changes tenfold between frames"
STRETCHED = "masks of another shape than the video (they are stretched)"
WHOLE = "a mask over the whole picture"
SAME = "two objects with the same mask"
EMPTY = "an empty mask (the object is not visible there)"
SIZES = "masks of several sizes in one row"
SCALED = "masks of another size than the video (they are scaled)"
UNTAGGED = "a tagged noun stands earlier in the text, untagged"
TWICE = "the same noun is tagged twice"
SPECIAL = "special tokens in the text (they are encoded as plain text)"
# Where numbers have gaps or do not begin at 0, and nothing says what keys mean.
KEYS_UNCLEAR = "key 3 is the fourth picture, whatever number its name has (see --frames)"

WORST_FIRST = (
    OUTSIDE, KEYS_UNCLEAR, TINY, WHOLE, JUMP, STRETCHED, GROWTH, SAME, EMPTY, SIZES, UNTAGGED, TWICE, SPECIAL, SCALED,
)  # fmt: skip
"""Cautions in the order in which the report draws them."""

OUTSIDE_SHARE = 0.02  # of a side; annotation tools round, and draw over the border by a pixel or two
WHOLE_SHARE = 0.98
STRETCHED_SHARE = 0.02
JUMP_SHARE = 1 / 3  # of the picture's diagonal, without overlap of the boxes
GROWTH_FACTOR = 10
NEAR_FRAMES = 30  # about a second: farther apart an object may be anywhere

Note = Callable[[str, int, tuple[int, ...], str], None]
"""Called with a caution's label, how bad the case is (larger is worse), its frames, and the measured values."""


class RowNotes:
    """The cautions about one row: of each label the worst case."""

    def __init__(self) -> None:
        self.worst: dict[str, tuple[int, tuple[int, ...], str]] = {}

    def __call__(self, label: str, severity: int, frames: tuple[int, ...], text: str) -> None:
        """See `Note`."""
        if label not in self.worst or severity > self.worst[label][0]:
            self.worst[label] = (severity, frames, text)


def nouns_of(sample: ReferSample) -> tuple[str, ...]:
    """A name for each object of a row: the tagged nouns in reading order, else `object 1` and so on."""
    nouns = tagged_nouns([text for turn in sample.turns for text in (turn.human, turn.gpt)])
    if sample.marks == "ins" and len(nouns) == len(sample.tracks):
        return nouns
    return tuple(f"object {i}" for i in range(1, len(sample.tracks) + 1))


def tagged_nouns(texts: list[str]) -> tuple[str, ...]:
    """The tagged nouns of texts, in reading order; none of a text whose tags cannot be read."""
    nouns: list[str] = []
    for text in texts:
        try:
            nouns += [span.text for span in strip_tags(text)[1]]
        except MarkupError:
            continue
    return tuple(nouns)


def note_masks(sample: ReferSample, raw: Any, policy: FramePolicy, note: Note) -> None:
    """Notes what is suspicious about the masks of a row, each object and frame by itself."""

    @cache
    def noun(number: int) -> str:  # read from the texts only where there is something to note
        nouns = nouns_of(sample)
        return nouns[number] if number < len(nouns) else f"object {number + 1}"

    for number, track in enumerate(sample.tracks):
        _note_track(track, partial(noun, number), policy, note)
    owners: dict[tuple[int, int, int, str], int] = {}
    for number, track in enumerate(sample.tracks):
        for frame, rle in track.items():
            other = owners.setdefault((frame, rle.height, rle.width, rle.counts), number)
            if other != number and coco.area(_as_coco(rle)):
                note(SAME, 1, (frame,), f"{noun(other)!r} and {noun(number)!r} have one mask in frame {frame}")
    frame_of_size = {(rle.height, rle.width): frame for track in sample.tracks for frame, rle in track.items()}
    if len(frame_of_size) > 1:
        text = "masks of " + " and ".join(f"{height} × {width}" for height, width in sorted(frame_of_size)[:3])
        note(SIZES, len(frame_of_size), tuple(sorted(set(frame_of_size.values()))), text)
    for number, frame, share in outlines_outside(raw):
        if share > OUTSIDE_SHARE:
            text = f"{noun(number)!r}, frame {frame}: the outline leaves the picture by {100 * share:.0f} % of its side"
            note(OUTSIDE, round(1000 * share), (frame,), text)


def note_sizes(sizes: set[tuple[int, int]], video: tuple[int, int], frames: tuple[int, ...], note: Note) -> None:
    """Notes masks of another size than the video's (height, width), those of another shape apart."""
    for height, width in sorted(sizes):
        if (height, width) == video:
            continue
        text = f"masks of {height} × {width}, video of {video[0]} × {video[1]}"
        off = stretch((height, width), video)
        note(STRETCHED if off > STRETCHED_SHARE else SCALED, round(1000 * off), frames, text)


def stretch(size: tuple[int, int], video: tuple[int, int]) -> float:
    """How far a mask of that (height, width) is stretched to cover the video: 0 for the same shape, 1 for twice."""
    ratio = (size[1] / size[0]) / (video[1] / video[0])
    return max(ratio, 1 / ratio) - 1


def outlines_outside(raw: Any) -> Iterator[tuple[int, int, float]]:
    """(object, frame, how far beyond the picture) of every polygon of a row, as a share of the picture's side."""
    for number, frame, points_N2, (height, width) in outlines(raw):
        beyond = np.maximum(-points_N2, points_N2 - (width, height)).max(axis=0) / (width, height)
        yield number, frame, float(max(beyond.max(), 0.0))


def outlines(raw: Any) -> Iterator[tuple[int, int, NDArray[np.float64], tuple[int, int]]]:
    """(object, frame, points x y in pixels, (height, width) of the picture) of every polygon that has such a size,
    also of rows that are refused."""
    annotation = raw.get("annotation") if isinstance(raw, dict) else None
    units = polygon_units_of(raw)
    for number, entry in enumerate(annotation if isinstance(annotation, list) else ()):
        for frame, value in entry.items() if isinstance(entry, dict) else ():
            segmentation = value.get("segmentation") if isinstance(value, dict) else None
            if not isinstance(segmentation, list) or not (isinstance(frame, str) and frame.isdecimal()):
                continue
            size = picture_size(value, raw)
            for polygon in segmentation if size else ():
                if (points_N2 := _points(polygon)) is not None and size:
                    if units != "pixels":
                        points_N2 = points_N2 * size[::-1] / polygon_units.LARGEST[units]
                    yield number, int(frame[:9]), points_N2, size


def polygon_units_of(raw: Any) -> polygon_units.Units:
    """The units of a row's polygons; pixels where it does not say them, or wrongly."""
    try:
        return (polygon_units.read_units(raw) if isinstance(raw, dict) else None) or "pixels"
    except DataError:
        return "pixels"


def _note_track(track: dict[int, Rle], noun: Callable[[], str], policy: FramePolicy, note: Note) -> None:
    frames = sorted(track)
    if not frames:
        return
    packed = [_as_coco(track[frame]) for frame in frames]
    areas = [int(n) for n in coco.area(packed)]
    boxes = coco.toBbox(packed).tolist()  # x, y, width, height; a few numbers, for which arrays are slower
    for frame, area in zip(frames, areas, strict=True):
        rle = track[frame]
        picture = rle.height * rle.width
        of = f"{area:,} of {rle.height} × {rle.width} pixels"
        if not area:
            note(EMPTY, 0, (frame,), f"{noun()!r}, frame {frame}: no pixel of {rle.height} × {rle.width}")
        elif area * policy.max_pixels < picture * policy.cell_px**2:
            text = f"{noun()!r}, frame {frame}: {of}"
            note(TINY, -(area * 10**9 // picture), (frame,), text)
        elif area >= WHOLE_SHARE * picture:
            note(WHOLE, area * 1000 // picture, (frame,), f"{noun()!r}, frame {frame}: {of}")
    for i, j in pairwise(i for i, area in enumerate(areas) if area):
        first, second = track[frames[i]], track[frames[j]]
        near = frames[j] - frames[i] <= NEAR_FRAMES
        if not near or (first.height, first.width) != (second.height, second.width):
            continue
        both = frames[i], frames[j]
        larger, smaller = max(areas[i], areas[j]), min(areas[i], areas[j])
        if larger >= GROWTH_FACTOR * smaller:
            text = f"{noun()!r}, frames {both[0]} and {both[1]}: {areas[i]:,} and {areas[j]:,} pixels"
            note(GROWTH, larger // smaller, both, text)
        if (share := _distance(boxes[i], boxes[j], first)) > JUMP_SHARE:
            text = f"{noun()!r}, frames {both[0]} and {both[1]}: moved by {100 * share:.0f} % of the picture's diagonal"
            note(JUMP, round(1000 * share), both, text)


def _distance(first: list[float], second: list[float], rle: Rle) -> float:
    """Distance of the centres of two boxes as a share of the picture's diagonal; 0 where the boxes overlap."""
    (x1, y1, wide1, high1), (x2, y2, wide2, high2) = first, second
    if x1 < x2 + wide2 and x2 < x1 + wide1 and y1 < y2 + high2 and y2 < y1 + high1:
        return 0.0
    apart = math.hypot(x1 + wide1 / 2 - x2 - wide2 / 2, y1 + high1 / 2 - y2 - high2 / 2)
    return apart / math.hypot(rle.height, rle.width)


def picture_size(value: dict[str, Any], raw: dict[str, Any]) -> tuple[int, int] | None:
    """(height, width) for the polygons of a frame, in the order of `swim.data.annotations.tracks`."""
    size = value.get("size", [value.get("height"), value.get("width")])
    height, width = size if isinstance(size, list) and len(size) == 2 else (None, None)
    if height is None:
        height, width = raw.get("height"), raw.get("width")
    if type(height) is int and type(width) is int and height > 0 and width > 0:
        return height, width
    return None


def _points(polygon: Any) -> NDArray[np.float64] | None:
    if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
        return None
    if not all(type(value) in (int, float) and abs(value) < 1e9 for value in polygon):
        return None
    return np.asarray(polygon, np.float64).reshape(-1, 2)


def _as_coco(rle: Rle) -> dict[str, Any]:
    return {"size": [rle.height, rle.width], "counts": rle.counts.encode("ascii")}
