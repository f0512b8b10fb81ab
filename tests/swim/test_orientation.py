"""Turns and mirrors of video frames. What each is, `test_pictures_as_shown.py` compares with FFmpeg."""

import struct
from pathlib import Path

import av
import numpy as np
import pytest
from muxed import Make, number, write
from test_pictures_as_shown import UNIT, exif, scene, write_matrix

from swim.data.types import DataError
from swim.data.video import decode
from swim.data.video.orientation import UPRIGHT, Orientation, from_matrix


def test_what_is_close_to_a_quarter_is_one() -> None:
    assert from_matrix(65536, 300, -300, 65536) == UPRIGHT
    assert from_matrix(0, 32768, 32768, 0) == Orientation(transposed=True)  # scaled, which changes no pixel


@pytest.mark.parametrize("matrix", [(0, 0, 0, 0), (1, 0, 0, 0), (0, 0, 0, 1)])
def test_a_matrix_without_a_picture_is_ignored(matrix: tuple[int, ...], tmp_path: Path) -> None:
    path = write(tmp_path / "v.mp4", Make(frames=9))
    write_matrix(path, [UNIT * n for n in matrix])
    frames_THWC, _ = decode.decode_frames(path, [5], (64, 128))
    assert number(frames_THWC[0]) == 5


def test_a_turn_by_another_angle_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "v.mp4", Make(frames=3))
    write_matrix(path, [UNIT * 3 // 4, UNIT // 2, -UNIT // 2, UNIT * 3 // 4])
    with pytest.raises(DataError, match="turned by 34°"):
        decode.probe(path)


def motion_jpeg(path: Path, orientations: list[int | None]) -> Path:
    """A video whose frames are JPEGs with these EXIF orientations."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.height, stream.width, stream.pix_fmt = *scene(0).shape[:2], "yuvj420p"
        for i, orientation in enumerate(orientations):
            frame = av.VideoFrame.from_ndarray(scene(i), format="rgb24").reformat(format="yuvj420p")
            (packet,) = stream.encode(frame)
            data = b"Exif\0\0" + exif(orientation) if orientation else b""
            segment = b"\xff\xe1" + struct.pack(">H", len(data) + 2) + data if data else b""
            copy = av.Packet(bytes(packet)[:2] + segment + bytes(packet)[2:])
            copy.stream, copy.time_base, copy.pts, copy.dts = stream, packet.time_base, packet.pts, packet.dts
            copy.is_keyframe = True
            container.mux(copy)
    return path


def test_a_frame_with_exif_data_is_turned(tmp_path: Path) -> None:
    """PyAV has no name for this side data, and gave none of such a frame."""
    path = motion_jpeg(tmp_path / "v.mov", [3, 3])
    frames_THWC, _ = decode.decode_frames(path, [0, 1], scene(0).shape[:2])
    for i, frame_HWC in enumerate(frames_THWC):
        assert np.abs(frame_HWC.astype(int) - np.rot90(scene(i), 2).astype(int)).mean() < 5


def test_an_orientation_that_changes_is_refused(tmp_path: Path) -> None:
    path = motion_jpeg(tmp_path / "v.mov", [3, 3, 6])
    size = scene(0).shape[:2]
    assert len(decode.decode_frames(path, [0, 1], size)[0]) == 2
    with pytest.raises(DataError, match="changes its orientation"):
        decode.decode_frames(path, [2], size)
