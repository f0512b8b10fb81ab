"""Where decoding may begin, read from coded pictures."""

import os
from pathlib import Path

import av
import pytest
from muxed import Make, write

from swim.data.video.keyframes import decodes_alone, one_picture_per_packet


def alone(path: Path) -> tuple[list[int], list[int]]:
    """Numbers of the packets that decode alone, and of those that the container marks as key frames."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        packets = [packet for packet in container.demux(stream) if packet.size]
        codec, extradata = context.codec.canonical_name, context.extradata or b""
        found = [i for i, packet in enumerate(packets) if decodes_alone(codec, extradata, bytes(packet))]
        return found, [i for i, packet in enumerate(packets) if packet.is_keyframe]


@pytest.mark.parametrize(
    ("codec", "suffix", "options"),
    [
        ("libx264", "mp4", {"x264-params": "scenecut=0"}),
        ("libx264", "ts", {"x264-params": "scenecut=0"}),
        ("libx265", "mp4", {"x265-params": "log-level=none:scenecut=0:open-gop=1", "preset": "ultrafast"}),
        ("libx265", "ts", {"x265-params": "log-level=none:scenecut=0:open-gop=0", "preset": "ultrafast"}),
        ("libvpx-vp9", "webm", {"deadline": "realtime", "cpu-used": "8"}),
        ("libsvtav1", "mp4", {"preset": "12"}),
        ("libsvtav1", "webm", {"preset": "12"}),
        ("mpeg2video", "ts", {"bf": "2", "sc_threshold": "1000000000"}),
        ("mpeg4", "mp4", {"sc_threshold": "1000000000"}),
    ],
)
def test_each_codec_says_what_decodes_alone(codec: str, suffix: str, options: dict[str, str], tmp_path: Path) -> None:
    make = Make(codec, suffix, frames=36, options=options | {"g": "12"})
    found, marked = alone(write(tmp_path / f"a.{suffix}", make))
    assert found == marked
    assert len(found) in (3, 4)


@pytest.mark.parametrize("options", ["intra-refresh=1:bframes=0", "open-gop=1:bframes=3:scenecut=0"])
def test_marked_pictures_that_recover_over_time_do_not_count(options: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.mkv", Make(suffix="mkv", frames=60, options={"g": "10", "x264-params": options}))
    found, marked = alone(path)
    assert found == [0]
    assert len(marked) > 3


def test_every_picture_of_an_intra_codec_counts(tmp_path: Path) -> None:
    found, _ = alone(write(tmp_path / "a.avi", Make("mjpeg", "avi", frames=5, pix_fmt="yuvj420p")))
    assert found == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp9", "av1", "mpeg1video", "mpeg2video", "mpeg4"])
def test_any_bytes_have_an_answer(codec: str) -> None:
    for extradata in (b"", b"\1", bytes(range(1, 60)), b"\1" * 30):
        for packet in (b"\0", b"\0\0\1", b"\0\0\1\0", b"\0\0\1\xb6", b"\xff" * 9, b"\x0a\xff\xff", bytes(range(256))):
            assert decodes_alone(codec, extradata, packet) in (False, True)


def test_unknown_codecs_are_never_trusted() -> None:
    assert not decodes_alone("vp8", b"", bytes(50))
    assert not one_picture_per_packet("vp8", 50)
    assert not one_picture_per_packet("mpeg4", 7)
    assert one_picture_per_packet("mpeg4", 50)
    assert one_picture_per_packet("h264", 7)


def test_encoding_leaves_this_process_an_ordinary_one(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", Make("libsvtav1", "mp4", frames=3, options={"preset": "12"}))
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
