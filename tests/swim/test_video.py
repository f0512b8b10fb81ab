"""Decoding of chosen frames, on small files muxed here. Exactness over many kinds: test_frame_exactness.py."""

import struct
from pathlib import Path

import av
import decord
import numpy as np
import pytest
from muxed import Make, damage, number, picture, remux, write
from PIL import Image

from swim.data.types import DataError, ReferSample, Rle, Turn
from swim.data.video import decode, packet_index
from swim.recipe import FramePolicy

SIZE = (64, 128)
POLICY = FramePolicy(max_frames=8, min_pixels=32 * 32, max_pixels=64 * 128, cell_px=8)
GROUPS = Make(frames=50, options={"g": "12", "bf": "2"})


def numbers(path: Path, indices: range | list[int]) -> list[int]:
    return [number(frame) for frame in decode.decode_frames(path, list(indices), SIZE)[0]]


@pytest.mark.parametrize("b_frames", ["0", "2"])
def test_plain_clips_are_sought(tmp_path: Path, b_frames: str) -> None:
    path = write(tmp_path / "a.mp4", Make(frames=50, options={"g": "12", "bf": b_frames}))
    info = decode.probe(path)
    assert (info.frames, info.height, info.width, info.seekable) == (50, 64, 128, True)
    assert info.fps == pytest.approx(10)
    assert numbers(path, [40, 3, 3, 17]) == [40, 3, 3, 17]


@pytest.mark.fault(
    injection="a video cut without encoding (edit list)",
    symptom="frames are off by the hidden ones",
    expected="right: the frames that a player shows",
)
@pytest.mark.parametrize("start", [17, 24])
def test_clips_cut_without_encoding_count_what_is_shown(tmp_path: Path, start: int) -> None:
    path = remux(write(tmp_path / "a.mp4", GROUPS), tmp_path / "b.mp4", start=start, how="hide")
    info = decode.probe(path)
    assert (info.frames, info.seekable) == (50 - start, True)
    assert numbers(path, [20, 0, 7]) == [20 + start, start, 7 + start]
    if start == 17:
        assert len(decord.VideoReader(str(path))) != info.frames  # what others read, without a word


def test_only_the_groups_that_are_needed_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.mp4", GROUPS)
    spans: list[list[tuple[int, int]]] = []
    frames = decode._frames
    monkeypatch.setattr(decode, "_frames", lambda path, runs, times: spans.append(runs) or frames(path, runs, times))
    assert numbers(path, [0, 13, 14, 48]) == [0, 13, 14, 48]
    assert [first for first, _ in spans[0]] == [0, 12, 48]
    assert sum(last - first + 1 for first, last in spans[0]) < 12


def test_files_that_do_not_say_what_they_show_are_decoded_in_turn(tmp_path: Path) -> None:
    path = write(tmp_path / "a.avi", Make(codec="wmv2", frames=30, options={"b": "2000000"}))
    assert (decode.probe(path).frames, decode.probe(path).seekable) == (30, False)
    assert numbers(path, [29, 0, 11]) == [29, 0, 11]


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_rotated_clips_stand_upright(tmp_path: Path, turn: int) -> None:
    path = remux(write(tmp_path / "a.mp4", Make(frames=4)), tmp_path / "b.mp4", turn=turn)
    info = decode.probe(path)
    assert (info.height, info.width) == (SIZE if turn == 180 else SIZE[::-1])
    frames_THWC, _ = decode.decode_frames(path, [1, 3], (info.height, info.width))
    assert [number(np.rot90(frame, -turn // 90)) for frame in frames_THWC] == [1, 3]


@pytest.mark.parametrize("size", [(64, 128), (96, 192), (32, 64)])
def test_pixels_are_those_of_the_picture(tmp_path: Path, size: tuple[int, int]) -> None:
    """Nearly lossless video, so that only colour conversion and scaling may differ from Pillow's."""
    path = write(tmp_path / "a.mp4", Make(frames=3, options={"crf": "1"}, pix_fmt="yuv444p"))
    found_HWC = decode.decode_frames(path, [2], size)[0][0]
    expected = Image.fromarray(picture(2)).resize(size[::-1], Image.Resampling.BICUBIC)
    difference = found_HWC.astype(int) - np.asarray(expected)
    assert np.abs(difference).mean() < 1.5
    assert abs(difference.mean()) < 0.3


@pytest.mark.fault(
    injection="a picture attached to a video (cover art)",
    symptom="it is taken for a frame",
    expected="right: frames of the video",
)
def test_cover_art_is_no_frame(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 320, 320, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 128, 64, "yuv420p"
        container.mux(cover.encode(av.VideoFrame(320, 320, "yuvj420p")))
        for i in range(12):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(i), format="rgb24")))
        container.mux(stream.encode(None))
    assert (decode.probe(tmp_path / "a.mkv").frames, decode.probe(tmp_path / "a.mkv").width) == (12, 128)
    assert numbers(tmp_path / "a.mkv", [11, 5]) == [11, 5]


@pytest.mark.fault(
    injection="the middle of a video is overwritten, or its end is missing",
    symptom="patched or repeated frames are handed on",
    expected="error names the video; whole parts are right",
)
def test_damaged_files_are_refused_not_patched(tmp_path: Path) -> None:
    content = bytearray(write(tmp_path / "a.mp4", GROUPS).read_bytes())
    start = content.index(b"mdat") + 4
    middle = start + (len(content) - start) // 2
    content[middle - 400 : middle + 400] = bytes(800)
    (tmp_path / "b.mp4").write_bytes(content)
    (tmp_path / "c.mp4").write_bytes(content[: start + 100])
    (tmp_path / "d.mp4").write_bytes(b"no video at all")
    (tmp_path / "e.mp4").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        decode.decode_frames(tmp_path / "b.mp4", range(50), SIZE)
    assert caught.value.field == "video"
    assert numbers(tmp_path / "b.mp4", [0, 5, 49]) == [0, 5, 49]  # groups that are whole
    for name in "cde":
        with pytest.raises(DataError, match="not a readable video"):
            decode.probe(tmp_path / f"{name}.mp4")


@pytest.mark.fault(
    injection="a picture that others are built from is damaged",
    symptom="smeared frames are handed on",
    expected="error for those frames",
)
def test_frames_built_from_a_damaged_one_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", Make(frames=30, options={"g": "30", "bf": "0"}))
    damage(path, 10)
    assert numbers(path, [0, 9]) == [0, 9]
    for i in (10, 11, 29):
        with pytest.raises(DataError):
            decode.decode_frames(path, [i], SIZE)


@pytest.mark.fault(
    injection="a video changes its size",
    symptom="masks lie on other pixels",
    expected="error names both sizes",
)
def test_a_picture_that_changes_its_size_is_refused(tmp_path: Path) -> None:
    parts = [write(tmp_path / f"{h}.ts", Make(suffix="ts", frames=10, height=h)) for h in (64, 96)]
    (tmp_path / "a.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    info = decode.probe(tmp_path / "a.ts")
    assert (info.frames, info.height) == (20, 64)
    assert numbers(tmp_path / "a.ts", [3, 9]) == [3, 9]
    with pytest.raises(DataError, match=r"changes its size.*96 × 128"):
        decode.decode_frames(tmp_path / "a.ts", [3, 12], SIZE)


@pytest.mark.fault(
    injection="headers that promise 65,500 pixels or 2 billion frames",
    symptom="memory is used up",
    expected="error before decoding",
)
def test_absurd_headers_are_refused_before_decoding(tmp_path: Path) -> None:
    mkv = bytearray(write(tmp_path / "a.mkv", Make(frames=3)).read_bytes())
    at = mkv.index(b"\xb0\x81\x80\xba\x81\x40")  # PixelWidth 128, PixelHeight 64
    mkv[at : at + 6] = b"\xb0\x84\x00\x01\x86\xa0"  # 100,000 wide, and no height
    (tmp_path / "b.mkv").write_bytes(mkv)
    mp4 = bytearray(write(tmp_path / "a.mp4", Make(codec="mjpeg", frames=3, pix_fmt="yuvj420p")).read_bytes())
    at = mp4.index(b"mp4v") + 28
    mp4[at : at + 4] = struct.pack(">HH", 65_500, 65_500)
    for start in [i for i in range(len(mp4)) if mp4[i : i + 3] == b"\xff\xc0\x00"]:
        mp4[start + 5 : start + 9] = struct.pack(">HH", 65_500, 65_500)
    (tmp_path / "b.mp4").write_bytes(mp4)
    with pytest.raises(DataError, match="an absurd one"):
        decode.probe(tmp_path / "b.mp4")
    with pytest.raises(DataError, match="not a readable video"):
        decode.probe(tmp_path / "b.mkv")
    many = bytearray(write(tmp_path / "c.mp4", Make(codec="mjpeg", frames=3, pix_fmt="yuvj420p")).read_bytes())
    at = many.index(b"stsz") + 8
    many[at : at + 8] = struct.pack(">II", 1, 2**31 - 1)  # so many frames, of one byte each
    (tmp_path / "c.mp4").write_bytes(many)
    with pytest.raises(DataError, match="no frame can be decoded"):
        decode.probe(tmp_path / "c.mp4")


def test_more_frames_than_a_video_has_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swim.data.video.frame_choice.MAX_FRAMES", 20)
    write(tmp_path / "a.mp4", Make(frames=21))
    write(tmp_path / "b.mkv", Make(frames=21))  # says no number: they are counted
    for name in ("a.mp4", "b.mkv"):
        with pytest.raises(DataError, match="more than 20 frames"):
            decode.probe(tmp_path / name)


@pytest.mark.fault(
    injection="a playlist under the name of a video",
    symptom="files outside the folder are opened",
    expected="error says that it is no video",
)
def test_playlists_open_nothing_else(tmp_path: Path) -> None:
    """Whatever they are called; the file that they name is there and could be read."""
    write(tmp_path / "secret.ts", Make(suffix="ts"))
    root = tmp_path / "root"
    root.mkdir()
    hls = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n../secret.ts\n#EXT-X-ENDLIST\n"
    concat = "ffconcat version 1.0\nfile '../secret.ts'\n"
    sdp = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
    dash = "<?xml version='1.0'?><MPD><BaseURL>../secret.ts</BaseURL></MPD>"
    for text in (hls, concat, sdp, dash, f"\ufeff{hls}", f"\n{concat}"):
        for name in ("a.mp4", "a.ts", "a.m3u8", "a.ffconcat", "a.sdp"):
            (root / name).write_text(text)
            with pytest.raises(DataError, match="a playlist"):
                decode.decode_sample(sample(name), root, POLICY)
            with pytest.raises(DataError, match="not a readable video"):
                packet_index.read_index(root / name)
    with av.open(str(root / ".." / "secret.ts")) as container:
        assert len(list(container.decode(video=0))) == 40


def test_frames_outside_the_clip_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", Make(frames=5))
    for indices in ([5], [-1], []):
        with pytest.raises(DataError, match="outside of 5"):
            decode.decode_frames(path, indices, SIZE)


def sample(name: str, *tracks: dict[int, Rle]) -> ReferSample:
    turns = (Turn(human="The <ins>dog</ins>?", gpt="Runs."),)
    return ReferSample(key="f:2:x", file="f.json", row=2, video=name, turns=turns, tracks=tracks)


def test_masks_follow_their_frames_into_slots(tmp_path: Path) -> None:
    write(tmp_path / "long.mp4")
    write(tmp_path / "short.mp4", Make(frames=3))
    rle = Rle(height=4, width=8, counts="0P1")
    clip = decode.decode_sample(sample("long.mp4", {13: rle, 30: rle}, {14: rle}), tmp_path, POLICY)
    assert clip.frames_THWC.shape == (8, *SIZE, 3)
    assert [number(frame) for frame in clip.frames_THWC] == list(clip.frame_indices)
    shown = [sorted(clip.frame_indices[slot] for slot in track) for track in clip.masks]
    assert shown == [[13, 30], [14]]
    twice = decode.decode_sample(sample("short.mp4", {2: rle}), tmp_path, POLICY)
    assert (twice.frame_indices, list(twice.masks[0])) == ((0, 1, 2, 2), [2, 3])
    again = type(clip).from_row(clip.to_row())
    assert (again.masks, again.turns, again.frame_indices) == (clip.masks, clip.turns, clip.frame_indices)


def test_errors_of_a_sample_say_which_row(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", Make(frames=4))
    tall = Rle(height=90, width=30, counts="0")
    for bad, field in ((sample("b.mp4"), "video"), (sample("a.mp4", {0: tall}), "annotation")):
        with pytest.raises(DataError, match=r"f\.json row 2") as caught:
            decode.decode_sample(bad, tmp_path, POLICY)
        assert (caught.value.field, caught.value.key) == (field, "f:2:x")
