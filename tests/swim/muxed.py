"""Small video files of every kind, made here; each frame carries its number in its pixels."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

os.environ.setdefault("SVT_LOG", "-1")  # it prints 20 lines a clip

BITS = 7
MARK_PX = 16  # one bit of the number


@dataclass(frozen=True)
class Make:
    """How a file is written. `times` are in milliseconds; without, frames come at `rate` a second."""

    codec: str = "libx264"
    suffix: str = "mp4"
    frames: int = 40
    height: int = 64
    width: int = 128
    rate: Fraction = Fraction(10)
    times: tuple[int, ...] = ()
    options: dict[str, str] = field(default_factory=dict)
    pix_fmt: str = "yuv420p"


def picture(i: int, height: int = 64, width: int = 128) -> np.ndarray:
    """A moving texture, and above it the number: columns of black or white, lowest bit first."""
    y, x = np.mgrid[:height, :width]
    texture = 128 + 60 * np.sin((x + 3 * i) / 9) + 50 * np.cos((y - 2 * i) / 7)
    frame_HWC = np.repeat(texture[..., None], 3, axis=2).astype(np.uint8)
    frame_HWC[..., 1] = np.roll(frame_HWC[..., 1], i, axis=0)
    for bit in range(BITS):
        frame_HWC[: height // 2, bit * MARK_PX : (bit + 1) * MARK_PX] = 255 * (i >> bit & 1)
    return frame_HWC


def number(frame_HWC: np.ndarray, width: int = 128) -> int:
    """The number in a picture whose original was `width` wide."""
    height, step = frame_HWC.shape[0], frame_HWC.shape[1] * MARK_PX / width
    rows = frame_HWC[height // 8 : height * 3 // 8]
    return sum(int(rows[:, int((bit + 0.5) * step)].mean() > 127) << bit for bit in range(BITS))


@contextmanager
def ordinary_priority() -> Iterator[None]:
    """As root SVT-AV1 makes the thread that encodes a real-time one, for good: all that a test run starts afterwards
    (Ray, its workers) would then starve the machine, decoders of its own included."""
    policy, priority = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        if (os.sched_getscheduler(0), os.sched_getparam(0)) != (policy, priority):
            os.sched_setscheduler(0, policy, priority)


def write(path: Path, make: Make = Make()) -> Path:
    """Encodes frames 0, 1, 2, … into `path`."""
    with ordinary_priority(), av.open(str(path), "w") as container:
        stream = container.add_stream(make.codec, rate=make.rate, options=make.options)
        stream.height, stream.width, stream.pix_fmt = make.height, make.width, make.pix_fmt
        if make.times:
            stream.codec_context.time_base = Fraction(1, 1000)
        for i in range(make.frames):
            frame = av.VideoFrame.from_ndarray(picture(i, make.height, make.width), format="rgb24")
            frame = frame.reformat(format=make.pix_fmt)
            if make.times:
                frame.pts, frame.time_base = make.times[i], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def damage(path: Path, index: int) -> None:
    """Puts zeros over the second half of the packet with this index, in the order they are sent."""
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][index]
        assert packet.pos is not None
    content[packet.pos + packet.size // 2 : packet.pos + packet.size] = bytes(packet.size - packet.size // 2)
    path.write_bytes(content)


def remux(source: Path, path: Path, *, turn: int = 0, start: int = 0, end: int | None = None, how: str = "") -> Path:
    """Copies packets without encoding, as `ffmpeg -ss … -c copy` does: from the key frame before frame `start` on.

    `how` "hide" sets times to 0 at `start` (muxers of mp4 then write an edit list that hides what comes before),
    "shift" to 0 at the key frame, "keep" leaves them as they are. `end` cuts packets off, in the order they are sent.
    """
    options = {"use_editlist": "1"} if path.suffix in (".mp4", ".mov") else {}
    with av.open(str(source)) as old, av.open(str(path), "w", options=options) as new:
        stream = old.streams.video[0]
        copied: Any = new.add_stream_from_template(stream, opaque=True)
        if turn:
            copied.set_display_rotation(turn)
        packets = [packet for packet in old.demux(stream) if packet.size]
        times = sorted(packet.pts for packet in packets if packet.pts is not None)
        known = len(times) == len(packets)
        key = max(
            (i for i, p in enumerate(packets) if p.is_keyframe and (p.pts <= times[start] if known else i <= start)),
            default=0,
        )
        zero = {"hide": times[start], "shift": packets[key].pts}.get(how, 0) if known else 0
        for packet in packets[key : len(packets) if end is None else max(end, key + 1)]:
            if known:
                packet.pts -= zero
            if packet.dts is not None:
                packet.dts -= zero
            packet.stream = copied
            new.mux(packet)
    return path
