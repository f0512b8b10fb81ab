"""Which files of a folder are the frames of a video, in which order, and the numbers in their names.

Names are the only order that a folder has. So they must give one: where two pictures have the same number, belong to
two series (`rgb_0`, `depth_0`) or are of a kind that is not read, every later mask could lie on another picture.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath

from swim.data.video.frame_choice import check_frames, video_error
from swim.data.video.numbering import MAX_RUNS, NumberRun, number_runs

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp")
# Pictures that are not read: left out, they would move the frames behind them.
_OTHER_PICTURES = re.compile(
    r"[^.].*\.(apng|arw|avif|bmp|cr2|dng|exr|gif|hdr|hei[cf]|ico|j2k|jp2|jxl|nef|p[bgnp]m|psd|svg|tga|tiff?)",
    re.IGNORECASE,
)
_DIGITS = re.compile(r"([0-9]+)")
_MAX_NUMBER = 10**9 - 1  # the largest key of an annotation


@dataclass(frozen=True)
class FrameNames:
    """The names of a video's frames in order, and as runs the numbers in them; None if they have none, or several that
    change."""

    names: tuple[str, ...]
    numbers: tuple[NumberRun, ...] | None


@dataclass(frozen=True)
class _Name:
    """A name in parts: the digits in its stem, as numbers too, and the text around them."""

    name: str
    digits: tuple[str, ...]
    numbers: tuple[int, ...]
    text: tuple[str, ...]


def is_frame(name: str) -> bool:
    """Whether a file of a folder is one of its frames. Hidden files are not: `._0.jpg` is what macOS keeps beside 0.jpg
    on disks of other systems."""
    return not name.startswith(".") and PurePosixPath(name).suffix.lower() in SUFFIXES


def frame_names(files: Iterable[str]) -> FrameNames:
    """The frames among the files of a folder, by name. Numbers in names are compared as numbers.

    Raises DataError (field "video") when there is none, or the names do not give one order.
    """
    files = list(files)
    if others := sorted(name for name in files if _OTHER_PICTURES.fullmatch(name)):
        hint = f"{others[0]!r:.100}: write all frames as .png, .jpg or .webp, or move it out of the folder"
        raise video_error("a folder with pictures that are not read", hint)
    frames = sorted(map(_parts, filter(is_frame, files)), key=lambda frame: (frame.numbers, frame.text, frame.name))
    if not frames:
        raise video_error("a folder without pictures", "put .jpg, .png or .webp files in it, named in order")
    check_frames(len(frames))
    _check_order(frames)
    return FrameNames(tuple(frame.name for frame in frames), _numbers(frames))


def _parts(name: str) -> _Name:
    parts = _DIGITS.split(PurePosixPath(name).stem)
    digits = tuple(parts[1::2])
    return _Name(name, digits, tuple(map(int, digits)), tuple(part.casefold() for part in parts[::2]))


def _check_order(frames: list[_Name]) -> None:
    """Raises DataError for names that do not give one order. `frames` are sorted."""
    numbered = [frame for frame in frames if frame.digits]
    if numbered and (odd := next((frame for frame in frames if frame.text != numbered[0].text), None)):
        hint = f"{numbered[0].name!r:.100} and {odd.name!r:.100}: keep the frames of one video, named alike"
        raise video_error("pictures of more than one series in a folder", hint)
    for before, after in pairwise(frames):
        if (before.numbers, before.text) == (after.numbers, after.text):
            hint = f"{before.name!r:.100} and {after.name!r:.100}: keep one file for each frame"
            raise video_error("two pictures of one frame", hint)
    for i, between in enumerate(frames[0].text[1:-1], start=1):
        if between == "." and len({len(frame.digits[i]) for frame in frames}) > 1:
            hint = f"{frames[0].name!r:.100}: 0.5 would come before 0.25; write both with two digits, 0.50"
            raise video_error("numbers with a point, of different length", hint)


def _numbers(frames: list[_Name]) -> tuple[NumberRun, ...] | None:
    """The runs of the one number that changes from name to name."""
    columns = list(zip(*(frame.numbers for frame in frames), strict=True))
    changing = [column for column in columns if len(set(column)) > 1] if len(frames) > 1 else columns[-1:]
    if len(changing) != 1 or changing[0][-1] > _MAX_NUMBER:
        return None
    runs = number_runs(changing[0])
    return runs if len(runs) <= MAX_RUNS else None
