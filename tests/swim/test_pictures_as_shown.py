"""0 wrong pictures: containers, display matrices, EXIF orientations and depths, against what `ffmpeg` shows.

FFmpeg's own decoders and filters are asked through PyAV, with the rule by which `ffmpeg` turns and mirrors; our
pictures come from another decoder (Pillow) and another rule. SWIMLAB_FFMPEG=/path/of/ffmpeg asks the program itself,
version 9 or later. The first cases run always, 500 of them in the slow tier.
"""

import math
import os
import struct
import subprocess
import zlib
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from swim.data.video import decode

CASES, FAST = 500, 20
HEIGHT, WIDTH = 48, 80
FFMPEG = os.environ.get("SWIMLAB_FFMPEG", "")
# 16.16 fixed point. The eight that turn and mirror, with the filters of `ffmpeg` for them, made from the angle below.
UNIT = 1 << 16
MATRICES = {
    "plain": (1, 0, 0, 1),
    "hflip": (-1, 0, 0, 1),
    "vflip": (1, 0, 0, -1),
    "half": (-1, 0, 0, -1),
    "clock": (0, 1, -1, 0),
    "cclock": (0, -1, 1, 0),
    "transpose": (0, 1, 1, 0),
    "transverse": (0, -1, -1, 0),
}
# codec, containers, pixel formats
VIDEOS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("libx264", ("mp4", "mov", "mkv", "ts", "flv"), ("yuv420p", "yuv444p", "yuv420p10le", "yuv422p10le", "gray")),
    ("libx265", ("mp4", "mov", "mkv"), ("yuv420p", "yuv420p10le", "yuv444p12le", "gray")),
    ("libvpx-vp9", ("webm", "mp4", "mkv"), ("yuv420p", "yuv444p", "yuv422p")),
    ("ffv1", ("mkv", "avi"), ("gray", "gray10le", "gray16le", "bgra", "gbrp16le", "yuv444p16le", "rgb48le", "yuv410p")),
    ("png", ("mov", "avi"), ("rgb24", "rgba", "rgb48be", "gray", "gray16be", "ya8", "ya16be", "monob")),
    ("qtrle", ("mov",), ("rgb24", "argb", "rgb555be", "gray")),
    ("rawvideo", ("mov", "avi"), ("rgb24", "gray")),
    ("mjpeg", ("mov", "avi", "mkv"), ("yuvj420p", "yuvj444p")),
    ("prores", ("mov",), ("yuv422p10le",)),
    ("mpeg4", ("mp4", "avi"), ("yuv420p",)),
)
STILLS = (
    "RGB",
    "L",
    "P",
    "1",
    "LA",
    "RGBA",
    "CMYK",
    "rgb48be",
    "rgba64be",
    "gray16be",
    "ya16be",
    "ya8",
    "pal8",
    "monob",
)


def scene(i: int) -> np.ndarray:
    """A picture that no turn or mirror maps to itself, in colours and in grey: four quadrants on a slope."""
    quadrants_RGB = np.array([[[230, 40, 40], [30, 200, 60]], [[40, 60, 210], [240, 240, 240]]], np.float64)
    picture_HWC = np.repeat(np.repeat(quadrants_RGB, HEIGHT // 2, 0), WIDTH // 2, 1)
    picture_HWC *= np.linspace(0.55, 1, WIDTH)[None, :, None] * np.linspace(1, 0.85, HEIGHT)[:, None, None]
    picture_HWC[4 : 4 + 4 * (i + 1), 4:12] = 255  # which frame it is
    return picture_HWC.astype(np.uint8)


def exif(orientation: int, order: str = ">") -> bytes:
    """EXIF data with nothing but an orientation."""
    head = b"MM\0*" if order == ">" else b"II*\0"
    return head + struct.pack(f"{order}IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)


@dataclass(frozen=True)
class Shown:
    """A video or a folder, and its pictures as `ffmpeg` shows them."""

    path: Path
    pictures: list[np.ndarray]


# --- what ffmpeg shows


def shown(path: Path) -> list[np.ndarray]:
    return by_binary(path) if FFMPEG else by_filters(path)


def by_binary(path: Path) -> list[np.ndarray]:
    command = [FFMPEG, "-v", "error", "-i", str(path), "-fps_mode", "passthrough", "-pix_fmt", "rgb24"]
    run = subprocess.run([*command, "-c:v", "ppm", "-f", "image2pipe", "-"], capture_output=True, check=True)
    pictures, content = [], run.stdout
    while content:
        magic, size, _, rest = content.split(b"\n", 3)
        assert magic == b"P6"
        width, height = map(int, size.split())
        pictures.append(np.frombuffer(rest[: width * height * 3], np.uint8).reshape(height, width, 3))
        content = rest[width * height * 3 :]
    return pictures


def by_filters(path: Path) -> list[np.ndarray]:
    pictures, matrix = [], None
    with av.open(str(path)) as container:
        for frame in container.decode(container.streams.video[0]):
            matrix = next((bytes(data) for data in frame.side_data if data.type.name == "DISPLAYMATRIX"), matrix)
            pictures.append(filtered(frame, None if matrix is None else np.frombuffer(matrix, np.int32)))
    return pictures


def filtered(frame: av.VideoFrame, matrix: np.ndarray | None) -> np.ndarray:
    """The frame through the filters that `ffmpeg` inserts (ffmpeg_filter.c, configure_input_video_filter)."""
    names: list[tuple[str, str]] = []
    if matrix is not None:
        scale = [math.hypot(matrix[0], matrix[3]), math.hypot(matrix[1], matrix[4])]
        theta = math.degrees(math.atan2(matrix[1] / scale[1], matrix[0] / scale[0])) % 360
        if abs(theta - 90) < 1:
            names = [("transpose", "cclock_flip" if matrix[3] > 0 else "clock")]
        elif abs(theta - 180) < 1:
            names = [("hflip", "")] * int(matrix[0] < 0) + [("vflip", "")] * int(matrix[4] < 0)
        elif abs(theta - 270) < 1:
            names = [("transpose", "clock_flip" if matrix[3] < 0 else "cclock")]
        elif matrix[4] < 0:
            names = [("vflip", "")]
    frame = frame.reformat(format="rgb24")
    graph = av.filter.Graph()
    nodes = [graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 25))]
    nodes += [graph.add(name, arguments) for name, arguments in names]
    graph.link_nodes(*nodes, graph.add("buffersink")).configure()
    graph.vpush(frame)
    return graph.vpull().to_ndarray()


# --- files of every kind


def video(rng: np.random.Generator, folder: Path) -> Shown:
    pick = lambda values: values[rng.integers(len(values))]  # noqa: E731
    codec, containers, formats = pick(VIDEOS)
    suffix, pix_fmt = pick(containers), pick(formats)
    if (suffix, codec) == ("avi", "ffv1") and pix_fmt == "rgb48le":
        pix_fmt = "bgra"
    path, matrix = folder / f"v.{suffix}", pick(list(MATRICES))
    frames = 9 if codec == "libx265" else int(rng.integers(1, 6))  # x265 needs some to begin with
    print(codec, suffix, pix_fmt, matrix, frames)
    options = {"preset": "ultrafast"} if codec.startswith("libx26") else {}
    if codec == "libx265":
        options["x265-params"] = "log-level=none"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(10), options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pix_fmt
        if codec.startswith("lib"):
            stream.bit_rate = 2_000_000
        for i in range(frames):
            frame = av.VideoFrame.from_ndarray(scene(i), format="rgb24").reformat(format=pix_fmt)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    if suffix in ("mp4", "mov"):
        write_matrix(path, [UNIT * n for n in MATRICES[matrix]])
    elif suffix in ("ts", "flv", "mkv") and codec == "libx264":
        path = with_sei(path, matrix)
    return Shown(path, shown(path))


def write_matrix(path: Path, abcd: list[int]) -> None:
    """Writes a, b, c and d of the track's display matrix."""
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 4
    at += 4 + (32 if content[at] else 20) + 16  # version and flags, times and ids, layer and volume
    a, b, c, d = abcd
    content[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)


def with_sei(path: Path, matrix: str) -> Path:
    """A copy with the orientation as an SEI message in its H.264, for containers without a matrix."""
    # Turns of SEI messages are anticlockwise, and their mirrors come first.
    settings = {
        "hflip": "flip=horizontal",
        "vflip": "flip=vertical",
        "half": "rotate=180",
        "clock": "rotate=270",
        "cclock": "rotate=90",
        "transpose": "rotate=90:flip=horizontal",
        "transverse": "rotate=270:flip=horizontal",
    }
    if matrix not in settings:
        return path
    copy = path.with_stem("turned")
    with av.open(str(path)) as old, av.open(str(copy), "w") as new:
        stream = old.streams.video[0]
        copied: Any = new.add_stream_from_template(stream, opaque=True)
        filters = av.BitStreamFilterContext(f"h264_metadata=display_orientation=insert:{settings[matrix]}", stream)
        for packet in [*old.demux(stream), None]:
            if packet is not None and not packet.size:
                continue
            for changed in filters.filter(packet):
                changed.stream = copied
                new.mux(changed)
    return copy


def still(rng: np.random.Generator, folder: Path) -> Shown:
    """A folder of pictures of one kind, each with its EXIF orientation."""
    kind = STILLS[rng.integers(len(STILLS))]
    suffix = {"CMYK": "jpg"}.get(
        kind, "png" if kind not in ("RGB", "L", "RGBA") else ("jpg", "png", "webp")[rng.integers(3)]
    )
    if (kind, suffix) == ("RGBA", "jpg") or (kind, suffix) == ("L", "webp"):
        kind = "RGB"
    first = int(rng.integers(1, 9))
    path = folder / "frames"
    path.mkdir()
    print(kind, suffix, first)
    for i in range(2):
        orientation = first if i == 0 else ((1, 2, 3, 4) if first < 5 else (5, 6, 7, 8))[rng.integers(4)]
        data = exif(orientation, "<>"[rng.integers(2)])
        file = path / f"{i}.{suffix}"
        if kind.islower():
            file.write_bytes(png_of(scene(i), kind))
        else:
            image = Image.fromarray(scene(i)).convert("L" if kind == "LA" else kind)
            if kind in ("LA", "RGBA"):
                image.putalpha(Image.fromarray(np.full((HEIGHT, WIDTH), 200, np.uint8)))
            save = {
                "png": {},
                "jpg": {"quality": 95, "exif": b"Exif\0\0" + data},
                "webp": {"quality": 95, "exif": data},
            }
            image.save(file, **save[suffix])
        if suffix == "png":
            add_exif(file, data, before_pixels=bool(rng.integers(2)))
    return Shown(path, [shown(file)[0] for file in sorted(path.iterdir())])


def png_of(picture_HWC: np.ndarray, pix_fmt: str) -> bytes:
    """A PNG of this kind, which Pillow does not write."""
    codec: Any = av.CodecContext.create("png", "w")
    codec.width, codec.height, codec.pix_fmt, codec.time_base = WIDTH, HEIGHT, pix_fmt, Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(picture_HWC, format="rgb24").reformat(
        format="rgb8" if pix_fmt == "pal8" else pix_fmt
    )
    if pix_fmt == "pal8":
        palette_RGBA = np.array([[i & 224, (i & 28) << 3, (i & 3) << 6, 255] for i in range(256)], np.uint8)
        indices_HW = (picture_HWC[..., 0] & 224) | (picture_HWC[..., 1] >> 3 & 28) | picture_HWC[..., 2] >> 6
        frame = av.VideoFrame.from_ndarray(
            (indices_HW, np.ascontiguousarray(palette_RGBA[:, [3, 0, 1, 2]])), format="pal8"
        )
    return b"".join(bytes(packet) for packet in [*codec.encode(frame), *codec.encode(None)])


def add_exif(file: Path, data: bytes, before_pixels: bool) -> None:
    content = file.read_bytes()
    chunk = struct.pack(">I", len(data)) + b"eXIf" + data + struct.pack(">I", zlib.crc32(b"eXIf" + data))
    at = content.index(b"IDAT" if before_pixels else b"IEND") - 4
    file.write_bytes(content[:at] + chunk + content[at:])


# --- the property


@pytest.mark.parametrize(
    "seed", [pytest.param(seed, marks=[pytest.mark.slow] if seed >= FAST else []) for seed in range(CASES)]
)
def test_pictures_are_those_that_ffmpeg_shows(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    case = (video, still)[seed % 2](rng, tmp_path)
    expected = case.pictures
    info = decode.probe(case.path)
    assert info.frames == len(expected)
    assert (info.height, info.width) == expected[0].shape[:2]
    order = rng.permutation(len(expected)).tolist()
    found_THWC, _ = decode.decode_frames(case.path, order, expected[0].shape[:2])
    for i, found_HWC in zip(order, found_THWC, strict=True):
        difference_HWC = np.abs(found_HWC.astype(int) - expected[i].astype(int))
        # Other conversions of chroma and JPEG differ by some levels; a wrong turn or mirror by more than 30.
        assert difference_HWC.mean() < 5
