"""A folder of pictures as a video: the frames of VideoRefer-Bench-Q, one JPEG each.

Dimensions: H × W pixels, C = 3 (RGB).
"""

from __future__ import annotations

import re
import stat
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from swim.data.types import DataError
from swim.data.video.frame_choice import VideoInfo, check_frames, check_size, video_error

FOLDER_FPS = 1.0  # pictures have no times: one a second, by convention
SUFFIXES = (".jpg", ".jpeg", ".png")
# Pillow chooses a decoder by the content, not the name: only these two of some 40 may read a hostile file.
_DECODERS = ("JPEG", "PNG")


def probe_folder(folder: Path) -> VideoInfo:
    """The number of pictures and the size of the first one. Raises DataError (field "video")."""
    names = pictures(folder)
    with _open_picture(names[0]) as first:
        return VideoInfo(len(names), first.height, first.width, FOLDER_FPS, seekable=False)


def decode_folder(folder: Path, indices: Sequence[int], size: tuple[int, int]) -> dict[int, NDArray[np.uint8]]:
    """The pictures at `indices`, resized to `size` = (H, W). Each must have the size of the first one."""
    names = pictures(folder)
    expected = probe_folder(folder)
    return {i: _read_picture(names[i], (expected.height, expected.width), size) for i in indices}


def pictures(folder: Path) -> list[Path]:
    """The pictures of a folder, numbers in their names compared as numbers (frame 2 before frame 10)."""
    paths = sorted((path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES), key=_natural_order)
    if not paths:
        raise video_error("a folder without pictures", "put .jpg or .png files in it, named in order")
    check_frames(len(paths))
    return paths


def _natural_order(path: Path) -> tuple[list[tuple[int, str]], str]:
    parts = re.findall(r"([0-9]+)|([^0-9]+)", path.stem)
    return [(int(digits), "") if digits else (-1, other) for digits, other in parts], path.name


def _read_picture(path: Path, expected: tuple[int, int], size: tuple[int, int]) -> NDArray[np.uint8]:
    with _open_picture(path) as picture:
        if (picture.height, picture.width) != expected:
            hint = f"{path.name} is {picture.height} × {picture.width}, the first one {expected[0]} × {expected[1]}"
            raise video_error("pictures of different sizes", hint)
        try:
            rgb = picture.convert("RGB")
        except MemoryError:
            raise
        except Exception as error:  # Pillow's decoders raise exceptions of many kinds
            raise _unreadable(path, error) from error
    if expected != size:
        rgb = rgb.resize((size[1], size[0]), Image.Resampling.BICUBIC)
    return np.asarray(rgb)


def _open_picture(path: Path) -> Image.Image:
    """The picture, its header read and nothing decoded yet."""
    if path.resolve().parent != path.parent.resolve():
        raise video_error("a picture outside its folder", f"{path.name} is a symlink: copy the file")
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise video_error("not a picture", f"{path.name} is no regular file: copy the picture itself")
        picture = Image.open(path, formats=_DECODERS)
    except (DataError, MemoryError):
        raise
    except Exception as error:
        raise _unreadable(path, error) from error
    try:
        check_size(picture.height, picture.width, path.name)
        if picture.format == "PNG" and getattr(picture, "is_animated", False):
            raise video_error("an animated picture", f"{path.name}: one file is one frame")
    except BaseException:
        picture.close()
        raise
    return picture


def _unreadable(path: Path, error: Exception) -> DataError:
    return video_error("not a readable picture", f"{path.name}: {error}: copy it again or remove the row")
