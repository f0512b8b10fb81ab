"""Frames read by decord: those that PyAV reads, or a refusal with the reason."""

import sys
from pathlib import Path

import decord
import numpy as np
import pytest
from muxed import Make, damage, number, remux, write

from swim.data.types import DataError, ReferSample, Turn
from swim.data.video import decode
from swim.data.video.decoder import Decoder
from swim.recipe import FramePolicy

SIZE = (64, 128)
GROUPS = Make(frames=50, options={"g": "12", "bf": "2"})
POLICY = FramePolicy(max_frames=8, min_pixels=32 * 32, max_pixels=64 * 128, cell_px=8, decoder="decord")


def row(video: str) -> ReferSample:
    turns = (Turn(human="The <ins>bars</ins>?", gpt="Move."),)
    return ReferSample(key="f:2:x", file="f.json", row=2, video=video, turns=turns)


def test_decord_reads_what_pyav_reads(tmp_path: Path) -> None:
    makes = (
        GROUPS,
        Make(suffix="mkv", frames=40, options={"g": "9"}),
        Make("libvpx-vp9", "webm", frames=40, options={"deadline": "realtime", "cpu-used": "8", "g": "9"}),
    )
    for make in makes:
        path = write(tmp_path / f"a.{make.suffix}", make)
        indices = [38, 3, 3, 17, 0, 12, 25, 24, 39]
        found, fps = decode.decode_frames(path, indices, SIZE, "decord")
        expected, expected_fps = decode.decode_frames(path, indices, SIZE)
        assert ([number(frame) for frame in found], fps) == (indices, expected_fps)
        assert np.abs(found.astype(int) - expected).mean() < 2  # another conversion to RGB; neighbours differ by 24


@pytest.mark.parametrize(
    ("make", "how", "reason"),
    [
        (GROUPS, {"start": 17, "how": "hide"}, "an edit list"),
        (Make(frames=4), {"turn": 180}, "turned or mirrored"),
        (Make(suffix="ts", frames=20), {}, "a container that was not compared"),
        (Make("mjpeg", "mov", frames=4, pix_fmt="yuvj420p"), {}, "mjpeg, which was not compared"),
        (
            Make(frames=40, options={"x264-params": "open-gop=1:scenecut=0", "g": "9", "bf": "3"}),
            {},
            "need or overlap others",
        ),
        (Make(frames=40, options={"x264-params": "intra-refresh=1:bframes=0", "g": "12"}), {}, "need or overlap"),
    ],
)
def test_files_that_decord_may_misread_are_refused(
    make: Make, how: dict[str, object], reason: str, tmp_path: Path
) -> None:
    path = write(tmp_path / f"a.{make.suffix}", make)
    if how:
        path = remux(path, tmp_path / f"b.{make.suffix}", **how)  # type: ignore[arg-type]
    decode.decode_frames(path, [1], SIZE)
    with pytest.raises(DataError, match=f"not for decord: .*{reason}.*pyav") as caught:
        decode.decode_sample(row(path.name), tmp_path, POLICY)
    assert (caught.value.file, caught.value.row, caught.value.field) == ("f.json", 2, "video")


@pytest.mark.fault(
    injection="a picture that others are built from is damaged, and decord reads the video",
    symptom="smeared frames are handed on",
    expected="error names the frame; those before it are right",
)
def test_frames_built_from_a_damaged_one_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", Make(frames=30, options={"g": "30", "bf": "0"}))
    whole_THWC, _ = decode.decode_frames(path, range(30), SIZE)
    damage(path, 10)
    raw_HWC = decord.VideoReader(str(path), num_threads=1)[11].asnumpy()
    assert np.abs(raw_HWC.astype(int) - whole_THWC[11]).mean() > 5  # without an error
    assert [number(frame) for frame in decode.decode_frames(path, [0, 9], SIZE, "decord")[0]] == [0, 9]
    for i in (10, 11, 29):
        with pytest.raises(DataError, match="a needed frame is damaged"):
            decode.decode_frames(path, [i], SIZE, "decord")


def test_the_child_reads_by_decord_and_refuses_before_it_decodes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", GROUPS)
    remux(path, tmp_path / "b.mp4", start=17, how="hide")
    with Decoder(str(tmp_path), POLICY) as decoder:
        clip = decoder.clip(row("a.mp4"))
        assert np.array_equal(clip.frames_THWC, decode.decode_sample(row("a.mp4"), tmp_path, POLICY).frames_THWC)
        with pytest.raises(DataError, match="not for decord"):
            decoder.probe("b.mp4")
        assert decoder.deaths == 0


def test_sizes_that_decord_cannot_return_are_refused(tmp_path: Path) -> None:
    """Rows of 3 × 48 bytes are padded to 4 × 48, which decord takes for another shape."""
    path = write(tmp_path / "a.mp4", Make(frames=4))
    with pytest.raises(DataError, match="not for decord"):
        decode.decode_frames(path, [1], (24, 48), "decord")


def test_without_decord_the_machine_is_to_blame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.mp4", Make(frames=4))
    monkeypatch.setitem(sys.modules, "decord", None)
    with pytest.raises(OSError, match=r'needs decord, which is not installed: .*"pyav"'):
        decode.decode_frames(path, [1], SIZE, "decord")
    assert number(decode.decode_frames(path, [1], SIZE)[0][0]) == 1
