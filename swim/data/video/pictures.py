"""A folder of pictures as a video: the frames of VideoRefer-Bench-Q, one JPEG each.

A picture is read as a viewer shows it: turned as its EXIF data say, with 16 bits scaled to 8. Transparency is left out,
as `ffmpeg` does: the colours below it count.

Dimensions: H × W pixels, C = 3 (RGB).
"""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from swim.data.types import DataError
from swim.data.video.frame_choice import VideoInfo, check_size, video_error
from swim.data.video.frame_names import FrameNames, frame_names

FOLDER_FPS = 1.0  # pictures have no times: one a second, by convention
# Pillow chooses a decoder by the content, not the name: only these of some 40 may read a hostile file.
_DECODERS = ("JPEG", "PNG", "WEBP")
# Kinds of pixels that Pillow converts to RGB without clipping.
_EIGHT_BITS = frozenset(("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"))
_SIDEWAYS = range(5, 9)  # EXIF orientations that exchange height and width


def probe_folder(folder: Path) -> VideoInfo:
    """The number of pictures and the size of the first one. Raises DataError (field "video")."""
    frames = list_frames(folder)
    height, width = _size_of_first(folder, frames)
    return VideoInfo(len(frames.names), height, width, FOLDER_FPS, seekable=False, numbers=frames.numbers)


def decode_folder(folder: Path, indices: Sequence[int], size: tuple[int, int]) -> dict[int, NDArray[np.uint8]]:
    """The pictures at `indices`, resized to `size` = (H, W). Each must have the size of the first one."""
    frames = list_frames(folder)
    expected = _size_of_first(folder, frames)
    return {i: _read_picture(folder / frames.names[i], expected, size) for i in indices}


def list_frames(folder: Path) -> FrameNames:
    """The pictures of a folder, in order. Raises DataError (field "video") where their names give none."""
    return frame_names(path.name for path in folder.iterdir())


def _size_of_first(folder: Path, frames: FrameNames) -> tuple[int, int]:
    with _open_picture(folder / frames.names[0]) as first:
        return _shown_size(first, frames.names[0])


def _read_picture(path: Path, expected: tuple[int, int], size: tuple[int, int]) -> NDArray[np.uint8]:
    with _open_picture(path) as picture:
        if (shown := _shown_size(picture, path.name)) != expected:
            hint = f"{path.name} is {shown[0]} × {shown[1]}, the first one {expected[0]} × {expected[1]}"
            raise video_error("pictures of different sizes", hint)
        try:
            picture.load()
            rgb = _as_rgb(ImageOps.exif_transpose(picture), path.name)
        except (DataError, MemoryError):
            raise
        except Exception as error:  # Pillow's decoders raise exceptions of many kinds
            raise _unreadable(path, error) from error
    if expected != size:
        rgb = rgb.resize((size[1], size[0]), Image.Resampling.BICUBIC)
    return np.asarray(rgb)


def _as_rgb(picture: Image.Image, name: str) -> Image.Image:
    """The picture in 8 bits a colour. Raises DataError for pixels whose black and white are not known."""
    if picture.mode.startswith("I;16"):
        pixels_HW = np.asarray(picture).astype(np.uint16)
        # Rounded, and without a wider type: a picture may have 2²⁶ pixels.
        eight_bits_HW = (np.minimum(pixels_HW, 65_407) + np.uint16(128)) // np.uint16(257)
        return Image.fromarray(eight_bits_HW.astype(np.uint8)).convert("RGB")
    if picture.mode not in _EIGHT_BITS:
        raise video_error(f"a picture of {picture.mode!r} pixels", f"{name}: write it with 8 or 16 bits a colour")
    return picture.convert("RGB")


def _shown_size(picture: Image.Image, name: str) -> tuple[int, int]:
    """(height, width) after the turn that EXIF data ask for."""
    try:
        orientation = picture.getexif().get(ExifTags.Base.Orientation)
    except MemoryError:
        raise
    except Exception as error:  # as `_read_picture`
        hint = f"{name}: {error}: copy it again, or write it without EXIF data, the way up that it is shown"
        raise video_error("a picture whose orientation cannot be read", hint) from error
    sideways = orientation in _SIDEWAYS
    return (picture.width, picture.height) if sideways else (picture.height, picture.width)


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
    except UnidentifiedImageError as error:
        hint = f"{path.name} holds no JPEG, PNG or WebP: copy it again, or write it as .png"
        raise video_error("not a readable picture", hint) from error
    except Exception as error:
        raise _unreadable(path, error) from error
    try:
        check_size(picture.height, picture.width, path.name)
        if picture.format in ("PNG", "WEBP") and getattr(picture, "is_animated", False):
            raise video_error("an animated picture", f"{path.name}: one file is one frame")
    except BaseException:
        picture.close()
        raise
    return picture


def _unreadable(path: Path, error: Exception) -> DataError:
    return video_error("not a readable picture", f"{path.name}: {error}: copy it again or remove the row")
