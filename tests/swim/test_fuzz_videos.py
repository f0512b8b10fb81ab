"""Videos with random bytes in them: a clip of the right shape or a DataError, and nobody else is harmed.

SWIMLAB_FUZZ_VIDEOS=2000 tries that many (40 by default).
"""

import os
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import psutil
import pytest
from muxed import Make, remux, write

from swim.data.types import DataError, ReferSample, Rle, Turn
from swim.data.video.decoder import Decoder
from swim.recipe import FramePolicy

FILES = int(os.environ.get("SWIMLAB_FUZZ_VIDEOS", "40"))
POLICY = FramePolicy(max_frames=8, min_pixels=32 * 32, max_pixels=64 * 128, cell_px=8)
RLE = Rle(height=4, width=8, counts="0P1")
GROWTH_BYTES = 64 * 2**20
EXTREMES = (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\0\0\0")

MAKES = (
    Make(frames=30, options={"g": "10"}),
    Make(suffix="mkv", frames=30, options={"g": "10"}),
    Make(suffix="ts", frames=20, options={"g": "10"}),
    Make(suffix="mov", frames=16, options={"x264-params": "open-gop=1"}, rate=Fraction(30000, 1001)),
    Make("libx265", "mp4", frames=12, options={"x265-params": "log-level=none", "preset": "ultrafast"}),
    Make("libvpx-vp9", "webm", frames=20, options={"deadline": "realtime", "cpu-used": "8"}),
    Make("libsvtav1", "mp4", frames=12, options={"preset": "12"}),
    Make("mpeg4", "avi", frames=20, options={"g": "5"}),
    Make("mjpeg", "avi", frames=8, pix_fmt="yuvj420p"),
    Make("mpeg2video", "mpg", frames=20, options={"b": "2000000"}),
    Make("flv", "flv", frames=20, options={"b": "2000000"}),
    Make("wmv2", "asf", frames=20, options={"b": "2000000"}),
)


def damaged(whole: bytes, rng: np.random.Generator) -> bytes:
    """Bytes overwritten at random, in the headers or anywhere, by noise or by extreme numbers; sometimes cut off."""
    content = bytearray(whole)
    reach = min(len(content), int(rng.choice([64, 1024, len(content)])))
    for at in rng.integers(0, reach, int(rng.choice([1, 3, 20]))):
        if rng.random() < 0.3:
            content[at : at + 4] = EXTREMES[rng.integers(len(EXTREMES))]
        else:
            content[at] = rng.integers(256)
    return bytes(content[: rng.integers(1, len(content))] if rng.random() < 0.1 else content)


@pytest.mark.fault(
    injection="random bytes of videos overwritten or cut",
    symptom="the process crashes or hangs",
    expected="right: a clip or a reason",
)
def test_damaged_videos_give_a_clip_or_a_reason(tmp_path: Path) -> None:
    wholes: list[tuple[str, bytes]] = []
    for i, make in enumerate(MAKES):
        path = write(tmp_path / f"whole{i}.{make.suffix}", make)
        if make.suffix == "mov":
            path = remux(path, tmp_path / "cut.mov", start=6, how="hide", turn=90)
        wholes.append((make.suffix, path.read_bytes()))
    rng = np.random.default_rng(0)
    outcomes: Counter[str] = Counter()
    with Decoder(str(tmp_path), POLICY, deadline_s=60, memory_bytes=2**30) as decoder:
        decoder.probe("whole0.mp4")
        before = psutil.Process().memory_info().rss
        for i in range(FILES):
            suffix, whole = wholes[i % len(wholes)]
            (tmp_path / f"now.{suffix}").write_bytes(damaged(whole, rng))
            turns = (Turn(human="The <ins>bars</ins>?", gpt="Move."),)
            tracks = ({0: RLE},) if rng.random() < 0.2 else ()
            row = ReferSample(key=f"f:{i}:x", file="f.json", row=i, video=f"now.{suffix}", turns=turns, tracks=tracks)
            try:
                clip = decoder.clip(row)
            except DataError as error:
                outcomes[f"{error.field}: {error.reason}" if len(error.reason) < 40 else error.field] += 1
                located = (error.file, error.row, error.key, bool(error.hint))
            else:
                outcomes["clip"] += 1
                located = ("f.json", i, clip.key, True)
                slots, height, width, colours = clip.frames_THWC.shape
                assert (slots % 2, height % 8, width % 8, colours) == (0, 0, 0, 3)
                assert 2 <= slots == len(clip.frame_indices) <= 8
            assert located == ("f.json", i, row.key, True)
            (tmp_path / f"now.{suffix}").unlink()
        grown = psutil.Process().memory_info().rss - before
        assert decoder.probe("whole0.mp4").frames == 30
        print(f"{FILES} files, {decoder.deaths} deaths, {grown / 2**20:.1f} MiB more than before: {outcomes}")
    assert grown < GROWTH_BYTES
    assert {"clip"} < set(outcomes)  # else nothing was tested
