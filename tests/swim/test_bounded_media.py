"""Files of absurd shape take little time and memory: they are read, or refused by their headers."""

import struct
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from swim.data.types import DataError, ReferSample, Turn
from swim.data.video.decoder import Decoder
from swim.recipe import FramePolicy

POLICY = FramePolicy(max_frames=4, min_pixels=32 * 32, max_pixels=64 * 128, cell_px=8)
MEMORY_BYTES = 2**30


def clip_size(folder: Path, video: str) -> tuple[int, ...]:
    """The shape of a clip that a child of little memory decodes."""
    turns = (Turn(human="What?", gpt="That."),)
    with Decoder(str(folder), POLICY, deadline_s=20, memory_bytes=MEMORY_BYTES) as decoder:
        return decoder.clip(ReferSample(key="k", file="f", row=0, video=video, turns=turns)).frames_THWC.shape


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_forty_streams(suffix: str, tmp_path: Path) -> None:
    with av.open(str(tmp_path / f"many.{suffix}"), "w") as container:
        streams = [container.add_stream("mpeg4", rate=Fraction(10)) for _ in range(40)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 128, 64, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((64, 128, 3), np.uint8), format="rgb24")
        for _ in range(4):
            for stream in streams:
                container.mux(stream.encode(frame.reformat(format="yuv420p")))
        for stream in streams:
            container.mux(stream.encode(None))
    assert clip_size(tmp_path, f"many.{suffix}") == (4, 64, 128, 3)


def png(width: int, height: int) -> bytes:
    """A whole grey PNG of one byte a pixel, all black: it packs a thousandfold."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(1)
    rows = b"".join(packer.compress(bytes(width + 1)) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("width", "height"), [(65_535, 2), (2, 65_535), (65_535, 65_535)])
def test_pictures_of_65535_pixels_are_refused_by_their_header(width: int, height: int, tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    content = png(width, min(height, 200)) if height != 2 else png(width, height)
    (tmp_path / "v" / "0.png").write_bytes(content[:16] + struct.pack(">II", width, height) + content[24:])
    with pytest.raises(DataError, match=f"a {height} × {width} picture|not a readable picture"):
        clip_size(tmp_path, "v")
