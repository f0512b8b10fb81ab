"""Where videos lie, and that nothing a row says leads anywhere else."""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from muxed import Make, picture, write
from PIL import Image

from swim.data.types import DataError, ReferSample, Turn
from swim.data.video import media
from swim.data.video.decode import decode_sample
from swim.data.video.decoder import Decoder
from swim.recipe import FramePolicy

POLICY = FramePolicy(max_frames=8, min_pixels=32 * 32, max_pixels=64 * 128, cell_px=8)
Put = Callable[[str, bytes], None]


def reason(root: str | Path, video: str) -> str:
    with pytest.raises(DataError) as caught, media.local_video(str(root), video):
        pass
    assert caught.value.field == "video"
    return caught.value.reason


def sample(video: str) -> ReferSample:
    return ReferSample(key="k", file="f.json", row=1, video=video, turns=(Turn(human="What?", gpt="That."),))


@pytest.mark.fault(
    injection="annotations name ../, absolute paths, links and URLs",
    symptom="files outside the videos folder are read",
    expected="error names the path",
)
def test_paths_stay_under_the_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "in").mkdir(parents=True)
    (tmp_path / "secret.mp4").write_bytes(b"x")
    (root / "in" / "a.mp4").write_bytes(b"x")
    (root / "leak.mp4").symlink_to(tmp_path / "secret.mp4")
    (root / "way").symlink_to(tmp_path)
    (root / "alias").symlink_to(root / "in")
    (tmp_path / "door").symlink_to(root)
    for base, name in ((root, "in/a.mp4"), (tmp_path / "door", "alias/a.mp4"), (root, "./in//a.mp4")):
        with media.local_video(str(base), name) as path:
            assert path == (root / "in" / "a.mp4").resolve()
    outside = ("../secret.mp4", "in/../../secret.mp4", "in/..", "/etc/passwd", str(root / "in/a.mp4"), "", ".", "./")
    for bad in (*outside, "file:///etc/passwd", "s3://b/a.mp4", "http://x/a.mp4"):
        assert reason(root, bad) == "not a relative path"
    for bad in ("leak.mp4", "way/secret.mp4"):
        assert reason(root, bad) == "outside the videos folder"
    assert reason(root, "none.mp4") == "no such file"
    for bad in ("a\0b", "n" * 300, "in/a.mp4/b.mp4"):
        assert reason(root, bad) == "not a usable path"
    for base in ("http://server/videos", "gs://bucket", "file:///etc"):
        assert reason(base, "passwd").startswith("a videos folder")


@pytest.mark.fault(
    injection="annotations name a pipe, a socket or /dev/zero",
    symptom="preparation waits for ever",
    expected="error says what it is",
)
def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    """A pipe nobody writes to would be waited for, for ever."""
    os.mkfifo(tmp_path / "pipe.mp4")
    here = os.getcwd()
    os.chdir(tmp_path)  # names of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as found:
            found.bind("socket.mp4")
    finally:
        os.chdir(here)
    (tmp_path / "zero.mp4").symlink_to("/dev/zero")
    assert reason(tmp_path, "pipe.mp4") == "neither a file nor a folder"
    assert reason(tmp_path, "socket.mp4") == "neither a file nor a folder"
    assert reason(tmp_path, "zero.mp4") == "outside the videos folder"
    assert reason("/dev", "zero") == "neither a file nor a folder"


def test_playlists_are_named_as_such(tmp_path: Path) -> None:
    write(tmp_path / "a.ts", Make(suffix="ts", frames=2))
    for name in ("a.m3u8", "a.MPD", "a.concat", "a.ffconcat", "a.sdp"):
        (tmp_path / name).write_bytes((tmp_path / "a.ts").read_bytes())
        assert reason(tmp_path, name) == "a playlist, not a video"


def test_local_files_are_identified_by_reading_them(tmp_path: Path) -> None:
    assert media.s3_version(str(tmp_path), "a.mp4") is None


def test_errors_of_a_file_that_cannot_be_read_are_the_rows(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    with (
        pytest.raises(DataError, match="cannot be read: Input/output error"),
        media.local_video(str(tmp_path), "a.mp4"),
    ):
        raise OSError(5, "Input/output error")


@pytest.fixture
def bucket(s3_store_uri: str) -> tuple[str, Put]:
    import boto3

    root = s3_store_uri.removesuffix("/store") + "/videos"
    name = root.removeprefix("s3://").split("/")[0]
    client: Any = boto3.client("s3")
    return root, lambda key, content: client.put_object(Bucket=name, Key=key, Body=content)


def test_videos_on_s3_decode_as_local_ones(bucket: tuple[str, Put], tmp_path: Path) -> None:
    root, put = bucket
    scratch, local = tmp_path / "scratch", tmp_path / "local"
    scratch.mkdir()
    (local / "clip [1]").mkdir(parents=True)
    write(local / "a*.mp4")
    for i in range(11):
        Image.fromarray(picture(i)).save(local / "clip [1]" / f"{i}.jpg")
    for path in (path for path in local.rglob("*") if path.is_file()):
        put(f"videos/{path.relative_to(local)}", path.read_bytes())
    put("videos/clip [1]/notes.txt", b"no picture")
    put("videos/clip [1]/below/0.jpg", b"another folder's")
    put("videos/a.mp4", b"what a pattern would match")
    write(local / "\u00e9.mp4")  # one letter; its row takes the accent apart
    put("videos/\u00e9.mp4", (local / "\u00e9.mp4").read_bytes())
    with Decoder(root, POLICY, scratch=scratch) as decoder:
        for name in ("a*.mp4", "clip [1]", "./clip [1]/", "e\u0301.mp4"):
            expected = decode_sample(sample(name), local, POLICY).frames_THWC
            with media.local_video(root, name, scratch) as path:
                assert scratch in path.parents
            assert np.array_equal(decode_sample(sample(name), root, POLICY).frames_THWC, expected)
            for _ in range(2):
                assert np.array_equal(decoder.clip(sample(name)).frames_THWC, expected)
        with pytest.raises(DataError, match="no such object"):
            decoder.clip(sample("none.mp4"))
        assert len(list(scratch.iterdir())) == 1  # what the child holds
    assert list(scratch.iterdir()) == []


@pytest.mark.fault(
    injection="annotations name keys outside the prefix on S3",
    symptom="objects outside the prefix are read",
    expected="error names the key",
)
def test_keys_stay_under_the_prefix(bucket: tuple[str, Put]) -> None:
    root, put = bucket
    put("secret.mp4", b"x")
    put("videos/a.mp4", b"x")
    put("videos/../secret.mp4", b"a key with dots in it")
    put("videosecret/a.mp4", b"x")
    for bad in ("../secret.mp4", "b/../../secret.mp4", "/secret.mp4", "..", "", ".", "s3://other/a.mp4"):
        assert reason(root, bad) == "not a relative path"
    assert reason(root, "none.mp4") == "no such object"
    assert reason(root, "secret/a.mp4") == "no such object"
    assert reason(root, "a.mp4?versionId=null") in ("no such object", "outside the videos folder")
    assert reason(root, "a\udc80.mp4") in ("no such object", "not a usable path")
    assert reason(root, "n" * 1200) in ("no such object", "not a usable path")


def test_playlists_and_giants_on_s3_are_refused(bucket: tuple[str, Put], monkeypatch: pytest.MonkeyPatch) -> None:
    root, put = bucket
    put("videos/a.mp4", b"#EXTM3U\nhttp://169.254.169.254/latest/meta-data\n")
    put("videos/b.mp4", bytes(2000))
    assert reason(root, "a.mp4") == "a playlist, not a video"
    monkeypatch.setattr(media, "MAX_VIDEO_BYTES", 1000)
    assert reason(root, "b.mp4") == "2000 bytes"


def test_versions_follow_the_content(bucket: tuple[str, Put]) -> None:
    root, put = bucket
    for name in ("a.mp4", "clip/0.jpg", "clip/1.jpg"):
        put(f"videos/{name}", b"1")
    before = {name: media.s3_version(root, name) for name in ("a.mp4", "clip")}
    assert {name: media.s3_version(root, name) for name in before} == before
    assert len({*before.values(), None}) == 3
    put("videos/a.mp4", b"2")
    put("videos/clip/1.jpg", b"2")
    assert all(media.s3_version(root, name) != known for name, known in before.items())
    with pytest.raises(DataError, match="no such object"):
        media.s3_version(root, "none.mp4")


@pytest.mark.fault(
    injection="the server of the videos does not answer",
    symptom="every row is left out as a missing video",
    expected="error stops the run and names the endpoint",
)
def test_s3_that_cannot_be_reached_is_no_fault_of_the_row(
    bucket: tuple[str, Put], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    root, _ = bucket
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        with pytest.raises(OSError, match="AWS_ENDPOINT_URL"):
            media.s3_version(root, "a.mp4")
        with Decoder(root, POLICY, scratch=tmp_path) as decoder, pytest.raises(OSError, match="AWS_ENDPOINT_URL"):
            decoder.clip(sample("a.mp4"))
