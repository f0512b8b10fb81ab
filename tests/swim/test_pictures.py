"""Folders of pictures, those with absurd or disguised files among them."""

import contextlib
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from muxed import number, picture
from PIL import Image

from swim.data.types import DataError
from swim.data.video import decode, pictures

SIZE = (64, 128)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "clip"
    found.mkdir()
    for i in range(12):
        Image.fromarray(picture(i)).save(found / f"{i}.jpg", quality=95)
    (found / "notes.txt").write_text("no picture")
    return found


def refused(folder: Path, content: bytes) -> str:
    """Why a picture with this content is not used. The others of its folder are."""
    (folder / "5.jpg").write_bytes(content)
    assert len(pictures.decode_folder(folder, [0, 4, 6], SIZE)) == 3
    with pytest.raises(DataError) as caught:
        pictures.decode_folder(folder, [5], SIZE)
    assert caught.value.field == "video"
    assert "5.jpg" in caught.value.hint
    return caught.value.reason


def test_pictures_are_in_the_order_of_their_numbers(folder: Path) -> None:
    info = decode.probe(folder)
    assert (info.frames, info.height, info.width, info.fps, info.seekable) == (12, 64, 128, 1.0, False)
    frames_THWC, fps = decode.decode_frames(folder, [0, 2, 11, 2], (32, 128))
    assert frames_THWC.shape == (4, 32, 128, 3)
    assert [number(frame) for frame in frames_THWC] == [0, 2, 11, 2]
    assert fps == 1.0


def test_all_kinds_of_pixels_become_rgb(tmp_path: Path) -> None:
    original = Image.fromarray(picture(5))
    for i, mode in enumerate(("RGB", "L", "P", "RGBA", "CMYK")):
        suffix = "jpg" if mode == "CMYK" else "png"
        original.convert(mode).save(tmp_path / f"{i}.{suffix}")
    frames_THWC, _ = decode.decode_frames(tmp_path, range(5), SIZE)
    assert [number(frame) for frame in frames_THWC] == [5] * 5


def test_folders_that_are_no_video(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="without pictures"):
        decode.probe(tmp_path)


def test_broken_pictures_are_refused(folder: Path) -> None:
    good = (folder / "5.jpg").read_bytes()
    assert refused(folder, b"") == "not a readable picture"
    assert refused(folder, good[: len(good) // 2]) == "not a readable picture"
    Image.fromarray(picture(0)[:32]).save(folder / "small", format="JPEG")
    assert refused(folder, (folder / "small").read_bytes()) == "pictures of different sizes"


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "PPM", "ICO", "BMP", "TGA"])
def test_other_formats_by_the_name_of_a_jpeg_are_refused(folder: Path, kind: str) -> None:
    Image.fromarray(picture(5)).save(folder / "disguised", format=kind)
    assert refused(folder, (folder / "disguised").read_bytes()) == "not a readable picture"


def test_moving_pictures_are_refused(folder: Path) -> None:
    frames = [Image.fromarray(picture(i)) for i in range(3)]
    frames[0].save(folder / "moving", format="PNG", save_all=True, append_images=frames[1:])
    assert refused(folder, (folder / "moving").read_bytes()) == "an animated picture"


@pytest.mark.parametrize("side", [100_000, 2**31 - 1])
def test_absurd_sizes_are_refused_before_anything_is_decoded(folder: Path, side: int) -> None:
    Image.fromarray(picture(5)).save(folder / "absurd", format="PNG")
    png = bytearray((folder / "absurd").read_bytes())
    png[16:24] = struct.pack(">II", side, side)
    png[29:33] = struct.pack(">I", zlib.crc32(png[12:29]))
    assert refused(folder, bytes(png)) in (f"a {side} × {side} picture", "not a readable picture")
    jpeg = bytearray((folder / "4.jpg").read_bytes())
    start = jpeg.index(b"\xff\xc0") + 5
    jpeg[start : start + 4] = struct.pack(">HH", 65_500, 65_500)
    assert refused(folder, bytes(jpeg)) in ("a 65500 × 65500 picture", "not a readable picture")


def test_only_regular_files_inside_the_folder_are_pictures(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.jpg"
    Image.fromarray(picture(5)).save(outside)
    (folder / "5.jpg").unlink()
    (folder / "5.jpg").symlink_to(outside)
    with pytest.raises(DataError, match="outside its folder"):
        pictures.decode_folder(folder, [5], SIZE)
    (folder / "5.jpg").unlink()
    os.mkfifo(folder / "5.jpg")
    with pytest.raises(DataError, match="not a picture"):
        pictures.decode_folder(folder, [5], SIZE)


def test_damaged_pictures_give_pixels_or_a_reason(folder: Path) -> None:
    """Whatever Pillow raises about a file is a DataError."""
    rng = np.random.default_rng(0)
    for kind in ("JPEG", "PNG"):
        Image.fromarray(picture(5)).save(folder / "whole", format=kind)
        whole = (folder / "whole").read_bytes()
        for _ in range(150):
            content = bytearray(whole)
            for at in rng.integers(0, min(len(content), int(rng.choice([60, 400, 10**9]))), rng.integers(1, 8)):
                content[at] = rng.integers(256)
            (folder / "5.jpg").write_bytes(content)
            with contextlib.suppress(DataError):
                assert pictures.decode_folder(folder, [5], SIZE)[5].shape == (*SIZE, 3)


def test_sixteen_bits_are_scaled(tmp_path: Path) -> None:
    ramp_HW = np.arange(2**16, dtype=np.uint16).reshape(256, 256)
    Image.fromarray(ramp_HW).save(tmp_path / "0.png")
    frames_THWC, _ = decode.decode_frames(tmp_path, [0], (256, 256))
    assert np.array_equal(frames_THWC[0, ..., 0], np.floor(ramp_HW / 257 + 0.5))
    assert np.array_equal(frames_THWC[0, ..., 0], frames_THWC[0, ..., 2])


def test_pictures_of_one_shown_size_may_be_stored_in_two(folder: Path) -> None:
    sideways = Image.fromarray(np.rot90(picture(5)))
    sideways.save(
        folder / "5.jpg", quality=95, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    )
    frames_THWC, _ = decode.decode_frames(folder, [4, 5], SIZE)
    assert [number(frame) for frame in frames_THWC] == [4, 5]


def test_a_moving_webp_is_refused(folder: Path) -> None:
    frames = [Image.fromarray(picture(i)) for i in range(3)]
    frames[0].save(folder / "moving", format="WEBP", save_all=True, append_images=frames[1:])
    assert refused(folder, (folder / "moving").read_bytes()) == "an animated picture"


def test_pixels_that_cannot_be_scaled_are_refused(folder: Path) -> None:
    with pytest.raises(DataError, match="a picture of 'F' pixels"):
        pictures._as_rgb(Image.new("F", (8, 8)), "5.jpg")
