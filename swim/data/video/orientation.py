"""How a decoded picture is turned and mirrored before it is shown.

A phone stores the pixels as its sensor gives them, and beside them the display matrix: for a pixel at column x and row
y the shown column is a·x + c·y and the shown row b·x + d·y. Its eight useful values are the turns by 0°, 90°, 180° and
270°, each plain or mirrored. The rule here is that of `ffmpeg`, which turns and mirrors by default.

Dimensions: H × W pixels, C = 3 (RGB).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import av
import numpy as np
from av.sidedata.sidedata import Type
from numpy.typing import NDArray

from swim.data.video.frame_choice import video_error

_QUARTER_TOLERANCE_DEG = 1.0


@dataclass(frozen=True)
class Orientation:
    """Rows become columns if `transposed`; then left and right are exchanged if `mirrored`, top and bottom if
    `flipped`."""

    transposed: bool = False
    mirrored: bool = False
    flipped: bool = False

    def size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) as shown, of a picture stored as (height, width); and the other way round."""
        return (width, height) if self.transposed else (height, width)

    def apply(self, picture_HWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The picture as it is shown."""
        turned = picture_HWC.transpose(1, 0, 2) if self.transposed else picture_HWC
        return np.ascontiguousarray(turned[:: -1 if self.flipped else 1, :: -1 if self.mirrored else 1])


UPRIGHT = Orientation()


def _newer_type(cls: type[Type], value: int) -> Type:
    """A type of side data that PyAV has no name for. Without it PyAV 18.1 reads no side data of a frame that has one of
    FFmpeg 8 (EXIF data, the views of spatial video), and its display matrix would be lost."""
    member = object.__new__(cls)
    vars(member).update(_name_=f"TYPE_{value}", _value_=value)
    return member


Type._missing_ = classmethod(_newer_type)  # type: ignore[assignment]


def orientation_of(frame: av.VideoFrame) -> Orientation | None:
    """The orientation that a frame's display matrix asks for; None without one. Raises DataError for a turn that is no
    multiple of 90°."""
    for data in frame.side_data:
        if data.type is Type.DISPLAYMATRIX:
            matrix = np.frombuffer(bytes(data), np.int32).astype(np.float64)
            return from_matrix(*matrix[[0, 1, 3, 4]].tolist())
    return None


def from_matrix(a: float, b: float, c: float, d: float) -> Orientation:
    """The orientation of a display matrix. One that maps the picture to a line or a point has none and is ignored, as
    `ffmpeg` does: some programs write zeros. Raises DataError for a turn that is no multiple of 90°."""
    if not (a or c) or not (b or d):
        return UPRIGHT
    turn_deg = math.degrees(math.atan2(b / math.hypot(b, d), a / math.hypot(a, c))) % 360
    quarter = round(turn_deg / 90)
    if abs(turn_deg - 90 * quarter) >= _QUARTER_TOLERANCE_DEG:
        hint = "write it again as it is shown: ffmpeg -i old.mp4 -c:a copy new.mp4"
        raise video_error(f"a picture turned by {turn_deg:.0f}°", hint)
    match quarter % 4:
        case 0:
            return Orientation(flipped=d < 0)
        case 1:
            return Orientation(transposed=True, mirrored=c <= 0)
        case 2:
            return Orientation(mirrored=a < 0, flipped=d < 0)
        case _:
            return Orientation(transposed=True, mirrored=c < 0, flipped=True)
