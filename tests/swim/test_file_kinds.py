"""Files that are no video are refused by their kind, with what to do."""

from pathlib import Path

import av
import pytest
from muxed import Make, number, picture, write
from PIL import Image

from swim.data.types import DataError
from swim.data.video import decode, media

TEXTS = {
    b"#EXTM3U\n#EXT-X-VERSION:3": "a playlist",
    b"\xef\xbb\xbf  <!DOCTYPE HTML><HTML>": "a web page",
    b"version https://git-lfs.github.com/spec/v1\noid": "a pointer of Git LFS",
    b"PK\x03\x04\x14\0\0\0": "an archive",
    b"\x1f\x8b\x08\0": "an archive",
    b"ID3\x04\0\0\0": "sound",
    b"\xff\xfb\x90\x64": "sound",
    b"RIFF\x24\x08\0\0WAVEfmt ": "sound",
}


def refused(folder: Path, name: str) -> DataError:
    with pytest.raises(DataError) as caught, media.local_video(str(folder), name) as path:
        decode.probe(path)
    assert caught.value.field == "video"
    return caught.value


@pytest.mark.parametrize("content", TEXTS)
def test_beginnings(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.mp4").write_bytes(content)
    assert refused(tmp_path, "x.mp4").reason == f"{TEXTS[content]}, not a video"


@pytest.mark.parametrize("kind", ["gif", "webp", "png", "avif"])
@pytest.mark.parametrize("frames", [1, 2])
def test_pictures(kind: str, frames: int, tmp_path: Path) -> None:
    images = [Image.new("RGB", (64, 48), (90 * i, 200, 40)) for i in range(frames)]
    images[0].save(tmp_path / f"x.{kind}", save_all=frames > 1, append_images=images[1:])
    (tmp_path / f"x.{kind}").rename(tmp_path / "clip.mp4")  # known by what they hold
    error = refused(tmp_path, "clip.mp4")
    assert error.reason.endswith("not a video")
    assert ("ffmpeg -i clip.mp4" if kind == "gif" or (kind, frames) == ("png", 2) else "into a folder") in error.hint


@pytest.mark.parametrize(
    ("codec", "suffix"), [("libx264", "ts"), ("mpeg2video", "mpg"), ("mpeg4", "avi"), ("ffv1", "mkv")]
)
def test_videos_pass(codec: str, suffix: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"v.{suffix}", Make(codec=codec, suffix=suffix, frames=9))
    with media.local_video(str(tmp_path), path.name) as local:
        assert decode.probe(local).frames == 9


def test_a_cover_does_not_hide_the_video(tmp_path: Path) -> None:
    path = tmp_path / "both.mp4"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream(codec, rate=10) for codec in ("mjpeg", "mpeg4")]
        for stream, (width, height), pix_fmt in zip(
            streams, ((320, 240), (128, 64)), ("yuvj420p", "yuv420p"), strict=True
        ):
            stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        streams[0].disposition = av.stream.Disposition.attached_pic
        for stream in streams:
            frame = av.VideoFrame.from_ndarray(picture(5, stream.height, stream.width), format="rgb24")
            container.mux([*stream.encode(frame.reformat(format=stream.pix_fmt)), *stream.encode(None)])
    info = decode.probe(path)
    assert (info.frames, info.height, info.width) == (1, 64, 128)
    frames_THWC, _ = decode.decode_frames(path, [0], (64, 128))
    assert number(frames_THWC[0]) == 5
