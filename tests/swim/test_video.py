"""Frame exactness against a sequential decode, on small files muxed here."""

from pathlib import Path

import av
import decord
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from swim.data import video
from swim.data.types import DataError, ReferSample, Rle, Turn
from swim.recipe import FramePolicy

SIDE = 64
POLICY = FramePolicy(max_frames=8, min_pixels=32 * 32, max_pixels=64 * 64, cell_px=8)


def picture(i: int) -> np.ndarray:
    """The frame's number, readable after lossy compression: 6 bits as 6 columns of full black or white."""
    frame_HWC = np.zeros((SIDE, SIDE, 3), np.uint8)
    for bit in range(6):
        frame_HWC[:, bit * 10 : bit * 10 + 10] = 255 * (i >> bit & 1)
    return frame_HWC


def number(frame_HWC: np.ndarray) -> int:
    step = frame_HWC.shape[1] * 10 / SIDE
    return sum(int(frame_HWC[:, int((bit + 0.5) * step)].mean() > 127) << bit for bit in range(6))


def write(path: Path, frames: int, *, rate: int = 10, b_frames: int = 2, codec: str = "libx264") -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options={"g": "12", "bf": str(b_frames)})
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        for i in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(i), format="rgb24")))
        container.mux(stream.encode(None))
    return path


def trimmed(source: Path, path: Path, start: int) -> Path:
    """What `ffmpeg -ss … -c copy` leaves: packets from the key frame before, an edit list that hides those before
    `start` (the muxer writes one for negative times)."""
    with av.open(str(source)) as old, av.open(str(path), "w", options={"use_editlist": "1"}) as new:
        stream = old.streams.video[0]
        copied = new.add_stream_from_template(stream)
        packets = [packet for packet in old.demux(stream) if packet.size]
        times = sorted(packet.pts for packet in packets)
        key = max(i for i, p in enumerate(packets) if p.is_keyframe and p.pts <= times[start])
        for packet in packets[key:]:
            packet.pts -= times[start]
            packet.dts -= times[start]
            packet.stream = copied
            new.mux(packet)
    return path


def sequential(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def check_exact(path: Path, first: int, frames: int) -> video.VideoInfo:
    info = video.probe(path)
    expected = sequential(path)
    assert info.frames == video.count_frames(path) == len(expected) == frames
    order = np.random.default_rng(0).permutation(frames).tolist()
    found_THWC, fps = video.decode_frames(path, [*order, order[0]], (SIDE, SIDE), info)
    assert fps == pytest.approx(10)
    assert [number(frame) for frame in found_THWC] == [first + i for i in [*order, order[0]]]
    for i, frame_HWC in zip(order, found_THWC, strict=False):
        assert np.abs(frame_HWC.astype(int) - expected[i]).mean() < 2  # decord's and PyAV's colour conversions differ
    return info


@pytest.mark.parametrize("b_frames", [0, 2])
def test_plain_clips_are_sought_exactly(tmp_path: Path, b_frames: int) -> None:
    assert check_exact(write(tmp_path / "a.mp4", 50, b_frames=b_frames), 0, 50).seekable


@pytest.mark.parametrize("start", [17, 24])
def test_edit_lists_are_decoded_from_the_start(tmp_path: Path, start: int) -> None:
    path = trimmed(write(tmp_path / "a.mp4", 50), tmp_path / "b.mp4", start)
    info = check_exact(path, start, 50 - start)
    if start == 17:
        assert len(decord.VideoReader(str(path))) != info.frames  # the fault this guards against
        assert not info.seekable


def test_codecs_unknown_to_decord_fall_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.mp4", 20)

    def refuse(*args: object, **kwargs: object) -> None:
        raise decord.DECORDError("cannot find video stream")

    monkeypatch.setattr(decord, "VideoReader", refuse)
    check_exact(path, 0, 20)


def test_rotated_clips_stand_upright(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", 4)
    with av.open(str(tmp_path / "a.mp4")) as old, av.open(str(tmp_path / "b.mp4"), "w") as new:
        copied = new.add_stream_from_template(old.streams.video[0])
        copied.set_display_rotation(90)
        for packet in old.demux(old.streams.video[0]):
            if packet.size:
                packet.stream = copied
                new.mux(packet)
    info = video.probe(tmp_path / "b.mp4")
    frames_THWC, _ = video.decode_frames(tmp_path / "b.mp4", [1, 3], (SIDE, SIDE), info)
    assert not info.seekable
    assert [number(np.rot90(frame, -1)) for frame in frames_THWC] == [1, 3]


def test_damaged_files_are_refused_not_patched(tmp_path: Path) -> None:
    content = bytearray(write(tmp_path / "a.mp4", 40).read_bytes())
    start = content.index(b"mdat") + 4
    middle = (len(content) - start) // 2
    content[start + middle - 200 : start + middle + 200] = bytes(400)
    (tmp_path / "b.mp4").write_bytes(content)
    (tmp_path / "c.mp4").write_bytes(content[: start + 100])
    (tmp_path / "d.mp4").write_bytes(b"no video at all")
    (tmp_path / "e.mp4").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        video.decode_frames(tmp_path / "b.mp4", range(40), (SIDE, SIDE))
    assert caught.value.field == "video"
    for name in "cde":
        with pytest.raises(DataError, match="not a readable video"):
            video.probe(tmp_path / f"{name}.mp4")


def test_frames_outside_the_clip_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", 5)
    for indices in ([5], [-1], []):
        with pytest.raises(DataError, match="outside of 5"):
            video.decode_frames(path, indices, (SIDE, SIDE))


def test_folders_of_pictures_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    folder.mkdir()
    for i in range(12):
        Image.fromarray(picture(i)).save(folder / f"{i}.jpg", quality=95)
    (folder / "notes.txt").write_text("no picture")
    frames_THWC, fps = video.decode_frames(folder, [0, 2, 11], (32, 64))
    assert frames_THWC.shape == (3, 32, 64, 3)
    assert [number(frame) for frame in frames_THWC] == [0, 2, 11]
    assert fps == 1.0
    Image.fromarray(picture(0)[:32]).save(folder / "5.jpg")
    with pytest.raises(DataError, match="different sizes"):
        video.decode_frames(folder, [0, 5], (32, 64))
    (folder / "5.jpg").write_bytes(b"")
    with pytest.raises(DataError, match="not a readable picture"):
        video.decode_frames(folder, [5], (32, 64))
    (folder / "5.jpg").unlink()
    (folder / "5.jpg").symlink_to(tmp_path / "outside.jpg")
    with pytest.raises(DataError, match="outside its folder"):
        video.decode_frames(folder, [5], (32, 64))


@given(st.integers(1, 80), st.sets(st.integers(0, 79), max_size=8))
def test_annotated_frames_are_in_and_the_rest_spread(n_frames: int, annotated: set[int]) -> None:
    annotated = {frame for frame in annotated if frame < n_frames}
    chosen = video.choose_frames(n_frames, annotated, POLICY)
    assert chosen == sorted(chosen)
    assert annotated <= set(chosen)
    assert len(chosen) == min(8, n_frames + n_frames % 2)
    assert len(set(chosen)) == min(8, n_frames)
    if not annotated and n_frames >= 8:
        assert chosen == np.linspace(0, n_frames - 1, 8).round().astype(int).tolist()


def test_annotations_that_cannot_be_kept_are_refused() -> None:
    with pytest.raises(DataError, match=r"past the end of 10 frames.*frame 10 is"):
        video.choose_frames(10, [3, 10], POLICY)
    with pytest.raises(DataError, match=r"9 annotated frames, 8 fit.*max_frames to 10"):
        video.choose_frames(100, range(9), POLICY)
    with pytest.raises(DataError, match="no frame is shown"):
        video.choose_frames(0, [], POLICY)


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_sizes_are_whole_cells_near_the_shape(height: int, width: int) -> None:
    policy = FramePolicy()
    if max(height, width) > 200 * min(height, width):
        with pytest.raises(DataError, match="200 times"):
            video.smart_resize(height, width, policy)
        return
    h, w = video.smart_resize(height, width, policy)
    assert h % 28 == w % 28 == 0
    if max(height, width) <= 20 * min(height, width):  # beyond, one cell may be more than the budget allows
        assert policy.min_pixels <= h * w <= policy.max_pixels
        assert abs(np.log(h / w) - np.log(height / width)) < np.log(1 + 28 / min(h, w)) * 1.5


def test_smart_resize_agrees_with_the_published_processor() -> None:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize as published

    rng = np.random.default_rng(0)
    for height, width in rng.integers(30, 2500, (200, 2)).tolist():
        ours = video.smart_resize(height, width, FramePolicy())
        assert ours == tuple(published(height, width, factor=28, min_pixels=100_352, max_pixels=602_112))


def test_paths_stay_under_the_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "in").mkdir(parents=True)
    (tmp_path / "secret.mp4").write_bytes(b"x")
    (root / "in" / "a.mp4").write_bytes(b"x")
    (root / "leak.mp4").symlink_to(tmp_path / "secret.mp4")
    (root / "alias").symlink_to(root / "in")
    (tmp_path / "door").symlink_to(root)
    assert video.resolve_video(root, "in/a.mp4") == (root / "in" / "a.mp4").resolve()
    assert video.resolve_video(tmp_path / "door", "alias/a.mp4") == (root / "in" / "a.mp4").resolve()
    for bad in ("../secret.mp4", "in/../../secret.mp4", str(root / "in/a.mp4"), "file:///etc/passwd", "s3://b/a.mp4"):
        with pytest.raises(DataError, match="not a relative path"):
            video.resolve_video(root, bad)
    for bad, reason in (("leak.mp4", "outside"), (".", "outside"), ("none.mp4", "no such file"), ("a\0b", "usable")):
        with pytest.raises(DataError, match=reason):
            video.resolve_video(root, bad)


def sample(name: str, *tracks: dict[int, Rle]) -> ReferSample:
    turns = (Turn(human="The <ins>dog</ins>?", gpt="Runs."),)
    return ReferSample(key="f:2:x", file="f.json", row=2, video=name, turns=turns, tracks=tracks)


def test_masks_follow_their_frames_into_slots(tmp_path: Path) -> None:
    write(tmp_path / "long.mp4", 40)
    write(tmp_path / "short.mp4", 3)
    rle = Rle(height=4, width=4, counts="05;")
    clip = video.decode_sample(sample("long.mp4", {13: rle, 30: rle}, {14: rle}), tmp_path, POLICY)
    assert clip.frames_THWC.shape == (8, SIDE, SIDE, 3)
    assert [number(frame) for frame in clip.frames_THWC] == list(clip.frame_indices)
    shown = [sorted(clip.frame_indices[slot] for slot in track) for track in clip.masks]
    assert shown == [[13, 30], [14]]
    twice = video.decode_sample(sample("short.mp4", {2: rle}), tmp_path, POLICY)
    assert (twice.frame_indices, list(twice.masks[0])) == ((0, 1, 2, 2), [2, 3])
    again = type(clip).from_row(clip.to_row())
    assert (again.masks, again.turns, again.frame_indices) == (clip.masks, clip.turns, clip.frame_indices)


def test_errors_of_a_sample_say_which_row(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", 4)
    tall = Rle(height=90, width=30, counts="0")
    for bad, field in ((sample("b.mp4"), "video"), (sample("a.mp4", {0: tall}), "annotation")):
        with pytest.raises(DataError, match=r"f\.json row 2") as caught:
            video.decode_sample(bad, tmp_path, POLICY)
        assert (caught.value.field, caught.value.key) == (field, "f:2:x")
