"""0 wrong frames: files of many kinds, made at random, against everything decoded in turn; by PyAV, and by decord where
it is admitted.

SWIMLAB_CLIPS=300 makes that many (19 by default, one of each kind); SWIMLAB_REAL=FOLDER also takes the clips of a
folder of yours.
"""

import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.reformatter import Interpolation
from muxed import Make, number, remux, write
from pycocotools.mask import encode

from swim.data.masks import encodings
from swim.data.types import DataError, ReferSample, Rle, Turn
from swim.data.video import decode, packet_index
from swim.recipe import FramePolicy

CLIPS = int(os.environ.get("SWIMLAB_CLIPS", "19"))
REAL = os.environ.get("SWIMLAB_REAL", "")

X264 = {"preset": "ultrafast"}
KINDS: tuple[tuple[str, tuple[str, ...], dict[str, str]], ...] = (
    ("libx264", ("mp4", "mov", "mkv", "ts", "flv", "avi"), X264),
    ("libx264", ("mp4", "mkv", "ts"), {"x264-params": "open-gop=1:b-pyramid=normal:scenecut=0"}),
    ("libx264", ("mp4", "mkv", "ts"), {"x264-params": "intra-refresh=1:bframes=0"}),
    ("libx264", ("mp4", "mkv", "ts"), {"flags": "+ildct+ilme", "x264-params": "tff=1"}),
    ("libx264", ("mp4", "mkv"), {"x264-params": "sliced-threads=1:slices=3:ref=5:weightp=2"}),
    ("libx265", ("mp4", "mkv", "ts"), {"preset": "ultrafast", "x265-params": "log-level=none:open-gop=1:bframes=3"}),
    ("libx265", ("mov", "mkv"), {"preset": "ultrafast", "x265-params": "log-level=none:open-gop=0"}),
    ("mpeg4", ("mp4", "avi", "mkv", "ts"), {}),
    ("libvpx-vp9", ("webm", "mkv", "mp4"), {"deadline": "realtime", "cpu-used": "8"}),
    ("libvpx-vp9", ("webm",), {"deadline": "good", "cpu-used": "5", "auto-alt-ref": "1", "lag-in-frames": "16"}),
    ("libvpx", ("webm", "mkv"), {"deadline": "good", "cpu-used": "16", "auto-alt-ref": "1", "lag-in-frames": "16"}),
    ("libsvtav1", ("mp4", "mkv", "webm"), {"preset": "12"}),
    ("mpeg2video", ("ts", "mkv", "mpg", "avi"), {"b": "2000000"}),
    ("mpeg2video", ("ts", "mkv"), {"flags": "+cgop", "b": "2000000", "sc_threshold": "1000000000"}),
    ("mjpeg", ("avi", "mov", "mkv"), {}),
    ("ffv1", ("mkv", "avi"), {}),
    ("prores", ("mov",), {}),
    ("flv", ("flv",), {"b": "2000000"}),
    ("wmv2", ("asf", "avi"), {"b": "2000000"}),
)
PIXELS = {"mjpeg": "yuvj420p", "prores": "yuv422p10le"}


@dataclass(frozen=True)
class Case:
    """A file to be: how it is written, then turned and cut."""

    make: Make
    rotation: int
    start: int
    end: int | None
    how: str

    def __str__(self) -> str:
        cut = f"{self.how}{self.start}-{self.end}" if self.how else "whole"
        return f"{self.make.codec}.{self.make.suffix} {self.make.frames} frames, {cut}, turned {self.rotation}"


def case(seed: int) -> Case:
    rng = np.random.default_rng(seed)
    codec, suffixes, options = KINDS[seed % len(KINDS)]
    pick = lambda *values: values[rng.integers(len(values))]  # noqa: E731
    suffix = suffixes[(seed // len(KINDS)) % len(suffixes)]
    frames = int(pick(1, 2, 3, 9, 25, 40, 70, 110, 120, 126))
    if "refresh" in str(options) or "tff" in str(options) or codec == "libx265":
        frames = max(frames, 9)  # these encoders need some to begin with
    gop = int(pick(1, 4, 9, 12, 30, 250))
    b_frames = int(pick(0, 1, 2, 3))
    options = options | {"g": str(gop)}
    if codec in ("libx264", "mpeg2video", "mpeg4") and "intra-refresh" not in str(options):
        options["bf"] = str(min(b_frames, 1) if codec == "mpeg4" else b_frames)
    rate = pick(Fraction(30000, 1001), Fraction(24), Fraction(25), Fraction(50))
    times: tuple[int, ...] = ()
    if (
        codec not in ("mpeg2video", "flv", "wmv2", "mpeg4", "libsvtav1")
        and suffix not in ("avi", "mpg")
        and pick(True, False)
    ):
        times = tuple(np.cumsum(rng.choice([10, 33, 40, 41, 200, 1000], frames)).tolist())
    make = Make(
        codec=codec,
        suffix=suffix,
        frames=frames,
        height=int(pick(64, 96, 120) if "tff" in str(options) else pick(64, 66, 98, 120)),
        width=int(pick(128, 130, 160, 192)),
        rate=rate,
        times=times,
        options=options,
        pix_fmt=PIXELS.get(codec, "yuv420p"),
    )
    how = str(pick("", "", "hide", "hide", "shift", "keep")) if suffix in ("mp4", "mov", "mkv", "ts", "webm") else ""
    start = int(rng.integers(frames)) if how else 0
    end = int(rng.integers(start + 1, frames + 1)) if how and pick(True, False, False) else None
    turned = suffix in ("mp4", "mov", "mkv")
    return Case(make, int(pick(0, 0, 90, 180, 270)) if turned else 0, start, end, how)


def made(case: Case, folder: Path) -> Path:
    path = write(folder / f"whole.{case.make.suffix}", case.make)
    if not case.how and not case.rotation:
        return path
    return remux(
        path,
        folder / f"cut.{case.make.suffix}",
        turn=case.rotation,
        start=case.start,
        end=case.end,
        how=case.how,
    )


def in_turn(path: Path, rotation: int = 0, shrink: int = 1) -> list[np.ndarray]:
    """Every frame that a player shows, upright."""
    flags = Interpolation.BICUBIC | Interpolation.ACCURATE_RND
    with av.open(str(path)) as container:
        return [
            np.rot90(
                frame.reformat(frame.width // shrink, frame.height // shrink, "gbrp", interpolation=flags).to_ndarray(),
                rotation // 90,
            )
            for frame in container.decode(container.streams.best("video"))
        ]


def check_frames(path: Path, expected: list[np.ndarray], rng: np.random.Generator) -> None:
    """All frames in random order, and what a few frames asked alone become (they are reached by other ways)."""
    assert decode.probe(path).frames == len(expected)
    queries: list[Any] = [rng.permutation(len(expected)), [len(expected) - 1], [0]]
    queries += [rng.choice(len(expected), size) for size in (1, 1, 1, 1, 1, 1, 2, 3, 5)]
    for indices in queries:
        found_THWC, _ = decode.decode_frames(path, [int(i) for i in indices], expected[0].shape[:2])
        wrong = [int(i) for i, frame in zip(indices, found_THWC, strict=True) if not np.array_equal(frame, expected[i])]
        assert wrong == []


def check_decord(path: Path, expected: list[np.ndarray], width: int, rng: np.random.Generator) -> None:
    """Where decord is admitted, its frames are the same ones, but for its own conversion to RGB."""
    refused = ""
    try:
        decode.probe(path, "decord")
    except DataError as error:
        refused = error.reason
    print(refused or "decord reads it")
    if refused:
        assert refused.startswith("not for decord: ")
        return
    orders = (rng.permutation(len(expected)), *(rng.choice(len(expected), size) for size in (1, 1, 1, 2, 5)))
    for indices in ([int(i) for i in order] for order in orders):
        found_THWC, _ = decode.decode_frames(path, indices, expected[0].shape[:2], "decord")
        for i, frame in zip(indices, found_THWC, strict=True):
            assert number(frame, width) == number(expected[i], width)
            assert np.abs(frame.astype(int) - expected[i]).mean() < 4  # neighbours differ by 24 before they are coded


def rle_of(frame_HWC: np.ndarray) -> Rle:
    coded = encode(np.asfortranarray(frame_HWC[..., 0] > 127).astype(np.uint8))
    return Rle(height=frame_HWC.shape[0], width=frame_HWC.shape[1], counts=coded["counts"].decode())


def check_masks(path: Path, expected: list[np.ndarray], rng: np.random.Generator) -> None:
    """The mask of frame i lies on frame i of the clip: here it is the picture's own white half."""
    height, width = expected[0].shape[:2]
    annotated = sorted({int(i) for i in rng.choice(len(expected), 3)})
    track = {i: rle_of(expected[i]) for i in annotated}
    turns = (Turn(human="The <ins>bars</ins>?", gpt="Change."),)
    sample = ReferSample(key="k", file="f", row=0, video=path.name, turns=turns, tracks=(track,))
    frames = len(expected) + len(expected) % 2
    policy = FramePolicy(max_frames=max(4, min(8, frames)), min_pixels=1, max_pixels=height * width, cell_px=2)
    clip = decode.decode_sample(sample, path.parent, policy)
    assert {clip.frame_indices[slot] for slot in clip.masks[0]} == set(annotated)
    for slot, i in enumerate(clip.frame_indices):
        assert np.array_equal(clip.frames_THWC[slot], expected[i])
        if i in annotated:
            assert np.array_equal(encodings.decode(clip.masks[0][slot]), clip.frames_THWC[slot][..., 0] > 127)


@pytest.mark.parametrize("seed", range(CLIPS))
def test_every_frame_is_the_one_a_player_shows(seed: int, tmp_path: Path) -> None:
    case_ = case(seed)
    path = made(case_, tmp_path)
    expected = in_turn(path, case_.rotation)
    shown = [number(np.rot90(frame, -(case_.rotation // 90)), case_.make.width) for frame in expected]
    print(case_, case_.make, f"shows {len(shown)}: {shown[:3]}…{shown[-3:]}")
    if not expected:
        with pytest.raises(DataError, match="no frame can be decoded"):
            decode.probe(path)
        return
    assert shown == sorted(set(shown))  # what is decoded in turn is in order, so numbers tell frames apart
    if not case_.how:
        assert shown == list(range(case_.make.frames))
    rng = np.random.default_rng(seed)
    info = decode.probe(path)
    assert (info.height, info.width) == expected[0].shape[:2]
    check_frames(path, expected, rng)
    check_masks(path, expected, rng)
    check_decord(path, expected, case_.make.width, rng)


def test_clips_of_your_own() -> None:
    if not REAL:
        pytest.skip("set SWIMLAB_REAL to a folder with videos")
    clips = [path for path in sorted(Path(REAL).rglob("*")) if path.suffix in (".mp4", ".mov", ".mkv", ".webm", ".avi")]
    assert clips
    for path in clips:
        with av.open(str(path)) as container:
            rotation = next(container.decode(container.streams.best("video"))).rotation
        expected = in_turn(path, rotation, shrink=4)
        print(path.name, decode.probe(path))
        check_frames(path, expected, np.random.default_rng(0))


def test_an_index_is_made_once_a_file_and_decodes_next_to_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.mp4", Make(frames=100, options={"g": "25"}))
    passes: list[Path] = []
    read = packet_index.read_index
    monkeypatch.setattr(packet_index, "read_index", lambda path: passes.append(path) or read(path))
    for i in range(20):
        decode.decode_frames(path, [i, 99], (64, 128))
        assert decode.probe(path).frames == 100
    assert passes == [path]
    # With all but the first pictures overwritten, and its place in the file kept, the index is what it was.
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat") + 4
    at = start + (len(content) - start) // 4
    with av.open(str(path)) as container:
        sizes = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size and packet.pos > at]
    for position, size in sizes:
        content[position + 16 : position + size] = bytes(max(size - 16, 0))
    path.write_bytes(content)
    assert decode.probe(path).frames == 100
    assert len(passes) == 2  # another file now
    with pytest.raises(DataError):
        decode.decode_frames(path, [99], (64, 128))


def test_what_is_remembered_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packet_index, "_REMEMBERED_FRAMES", 25)
    index_of = packet_index._IndexCache().load
    paths = [write(tmp_path / f"{i}.mp4", Make(frames=10)) for i in range(4)]
    found = [index_of(path) for path in paths]
    assert index_of(paths[3]) is found[3]
    assert index_of(paths[2]) is found[2]
    assert index_of(paths[0]) is not found[0]
