"""What a video shows, found without decoding it: one pass over its packets, remembered per file.

Where each packet shows one picture and says when, the frames of a player are the shown packets in the order of their
times: this holds for files trimmed without re-encoding too, since their edit list marks what is not shown. Where it
cannot be known (no times, equal times, a start in the middle of a group, a codec whose packets may show nothing) the
frames are counted by decoding them.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from swim.data import keyframes
from swim.data.frames import MAX_PIXELS, VideoInfo, check_frames, check_size, video_error
from swim.data.types import DataError

# Containers that hold what they show. All else that FFmpeg reads (playlists, lists of files, devices, scripts,
# pictures, raw pixels without a header) is not opened, whatever the file is called.
_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,h264,hevc,m4v,ivf,obu,flv,asf,ogg,mxf,nut"
# Of these, the ones whose packets say when they are shown. For the others FFmpeg guesses from the order in which they
# come, and is wrong where that is not the order in which they are shown.
_TIMED = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "mpegts", "mpeg", "flv", "asf", "nut"}
_COPY_AGAIN = "the file is empty or cut off: copy it again or remove the row"
_REMEMBERED_FRAMES = 2**21  # 24 bytes each: what a process remembers stays below 50 MB


@dataclass(frozen=True)
class Index:
    """For each shown frame, if `info.seekable`: its time, its packet, and the packet where its decoding may begin
    (packets are numbered as they come). Else the arrays are empty."""

    info: VideoInfo
    codec: str
    times: NDArray[np.int64]
    packets: NDArray[np.int64]
    entries: NDArray[np.int64]

    def frame_at(self, time: int | None) -> int | None:
        """Which frame is shown at `time`, in units of the stream."""
        if time is None:
            return None
        i = int(np.searchsorted(self.times, time))
        return i if i < len(self.times) and self.times[i] == time else None


class _Remembered:
    """The last indices, by file, size and time of change: many rows name one video."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, int, int, int], Index] = OrderedDict()

    def of(self, path: Path) -> Index:
        stat = path.stat()
        key = (str(path), stat.st_size, stat.st_mtime_ns, stat.st_ino)
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        index = self._known[key] = read_index(path)
        while sum(known.info.frames for known in self._known.values()) > _REMEMBERED_FRAMES and len(self._known) > 1:
            self._known.popitem(last=False)
        return index


index_of = _Remembered().of


def read_index(path: Path) -> Index:
    """Reads every packet of a file and decodes one frame; all of them where counting needs it. Raises DataError."""
    times, shown, alone = array("q"), bytearray(), array("q")
    complete, smallest = True, MAX_PIXELS
    first: av.VideoFrame | None = None
    with opened(path) as (container, stream):
        codec, extradata = stream.codec_context.codec.canonical_name, stream.codec_context.extradata or b""
        for packet in container.demux(stream):
            if first is None:
                first = next(iter(packet.decode()), None)
            if not packet.size:
                continue
            check_frames(len(times) + 1)
            if packet.is_keyframe and keyframes.decodes_alone(codec, extradata, bytes(packet)):
                alone.append(len(times))
            complete = complete and packet.pts is not None
            times.append(packet.pts or 0)
            shown.append(not packet.is_discard)
            smallest = min(smallest, packet.size)
        if first is None:
            raise video_error("no frame can be decoded", _COPY_AGAIN)
        height, width = upright_size(first)
        check_size(height, width)
        time_base, rate = stream.time_base, float(stream.average_rate or 0)
        complete = complete and container.format.name in _TIMED
        # Pictures are sent out of order, and times that rise with each packet were made up by a careless program.
        made_up = stream.codec_context.reorder_depth > 0 and len(times) > 1 and (np.diff(times) > 0).all()
    if complete and not made_up and keyframes.one_picture_each(codec, smallest):
        found = _from_packets(np.asarray(times), np.frombuffer(shown, np.uint8).astype(bool), np.asarray(alone))
        if found is not None:
            spread = float((found[0][-1] - found[0][0]) * time_base)
            info = VideoInfo(len(found[0]), height, width, _fps(len(found[0]), spread, rate), seekable=True)
            return Index(info, codec, *found)
    frames, spread = _counted(path)
    info, none = VideoInfo(frames, height, width, _fps(frames, spread, rate), seekable=False), np.zeros(0, np.int64)
    return Index(info, codec, none, none, none)


@contextmanager
def opened(path: Path) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """A file and its video stream, decoded by one thread. Whatever FFmpeg says inside is a DataError (or MemoryError).

    Refused before anything is decoded: absurd sizes and numbers of frames.
    """
    limits = {"max_pixels": str(MAX_PIXELS)}
    # A playlist or reference movie must not make the decoder reach for other files or the network.
    options = {"protocol_whitelist": "file", "format_whitelist": _FORMATS, **limits}
    try:
        with av.open(str(path), options=options, metadata_errors="ignore") as container:
            stream = container.streams.best("video")
            if stream is None or stream.codec_context is None:
                raise video_error("no video that can be decoded", "write the file again, as H.264 in mp4")
            height, width = stream.codec_context.height, stream.codec_context.width
            if not height or not width:  # as FFmpeg reports what is above its limits, too
                raise video_error("a picture without a size, or with an absurd one", _COPY_AGAIN)
            check_size(height, width)
            check_frames(stream.frames)
            stream.codec_context.thread_count = 1
            stream.codec_context.options = limits
            yield container, stream
    except (DataError, MemoryError):
        raise
    except (av.FFmpegError, ValueError, ArithmeticError, LookupError) as error:
        raise video_error("not a readable video", f"{error}: copy it again or remove the row") from error


def upright_size(frame: av.VideoFrame) -> tuple[int, int]:
    """(height, width) as a player turns the picture."""
    return (frame.width, frame.height) if quarter_turns(frame) % 2 else (frame.height, frame.width)


def quarter_turns(frame: av.VideoFrame) -> int:
    """How often the decoded picture must be turned by 90° anticlockwise."""
    return round(int(frame.rotation) / 90) % 4


def _from_packets(
    times: NDArray[np.int64], shown: NDArray[np.bool_], alone: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]] | None:
    """Times, packets and entries of the shown frames, or None where the packets do not tell."""
    packets = np.flatnonzero(shown)
    packets = packets[np.argsort(times[packets], kind="stable")]
    shown_times = times[packets]
    in_the_middle = not len(alone) or alone[0] != 0 or times[0] > shown_times.min(initial=times[0])
    if not len(packets) or in_the_middle or (np.diff(shown_times) == 0).any():
        return None
    # A group that is shown before an earlier one has ended (an edit list may say so) is no place to begin.
    before = np.concatenate([[np.iinfo(np.int64).min], np.maximum.accumulate(times)[:-1]])
    alone = alone[times[alone] > before[alone]]
    # The last place to begin that is neither sent after the frame nor shown after it.
    sent, seen = (np.searchsorted(alone, packets, "right"), np.searchsorted(times[alone], shown_times, "right"))
    return shown_times, packets, alone[np.minimum(sent, seen) - 1]


def _counted(path: Path) -> tuple[int, float]:
    """The number of decoded frames and the seconds between the first and the last, 0 if unknown."""
    frames = 0
    times: list[int] = []
    with opened(path) as (container, stream):
        for frame in container.decode(stream):
            frames += 1
            check_frames(frames)
            if frame.pts is not None:
                times = [times[0] if times else frame.pts, frame.pts]
        return frames, float((times[-1] - times[0]) * stream.time_base) if times else 0.0


def _fps(frames: int, spread_s: float, rate: float) -> float:
    fps = (frames - 1) / spread_s if frames > 1 and spread_s > 0 else rate
    if frames == 1:
        return fps or 1.0  # nothing can be told from it
    if fps <= 0:
        raise video_error("no frame rate", "write the file again with ffmpeg")
    return fps
