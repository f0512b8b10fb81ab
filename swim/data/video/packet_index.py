"""The frames of a video without decoding it: one pass over its packets, cached per file.

Where each packet has one picture and a time, the frames of a player are the shown packets in the order of their times.
This includes files trimmed without re-encoding, whose edit list marks packets that are not shown. In other cases (no
times, equal times, a start inside a group, a codec whose packets may have no picture) the frames are counted by
decoding them.
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
from av.stream import Disposition
from numpy.typing import NDArray

from swim.data.types import DataError
from swim.data.video import keyframes
from swim.data.video.frame_choice import MAX_PIXELS, VideoInfo, check_frames, check_size, video_error
from swim.data.video.orientation import UPRIGHT, Orientation, orientation_of

# Containers that include their video data. Other formats of FFmpeg (playlists, lists of files, devices, scripts,
# pictures, raw pixels without a header) are not opened, whatever the file's name.
_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,h264,hevc,m4v,ivf,obu,flv,asf,ogg,mxf,nut"
# Of these, the ones whose packets have presentation times. For the others FFmpeg guesses the times from the order of
# the packets, which is wrong where pictures are shown in another order.
_TIMED = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "mpegts", "mpeg", "flv", "asf", "nut"}
_COPY_AGAIN = "the file is empty or cut off: copy it again or remove the row"
# Video streams that are no video: the cover of a sound file, pictures of chapters.
_PICTURES = Disposition.attached_pic | Disposition.timed_thumbnails
_NO_TIME = int(np.iinfo(np.int64).min)
_REMEMBERED_FRAMES = 2**21  # 24 bytes each: the cache of a process stays below 50 MB


@dataclass(frozen=True)
class Packets:
    """What a file says of the packets of its video: the container's name in FFmpeg, their number, for each that is
    marked as a key frame (its number, presentation time, decoding time), and how many pictures the decoder holds back
    to put them in order."""

    container: str
    count: int
    marked: NDArray[np.int64]
    reorder_depth: int


@dataclass(frozen=True)
class FrameIndex:
    """For each shown frame, if `info.seekable`: its time, its packet, and the packet where its decoding may begin
    (packets are numbered in the order of the file). Else the arrays are empty. `orientation` is that of all frames."""

    info: VideoInfo
    codec: str
    orientation: Orientation
    sent: Packets
    times: NDArray[np.int64]
    packets: NDArray[np.int64]
    entries: NDArray[np.int64]

    def frame_at(self, time: int | None) -> int | None:
        """The frame shown at `time`, in units of the stream; None without one."""
        if time is None:
            return None
        i = int(np.searchsorted(self.times, time))
        return i if i < len(self.times) and self.times[i] == time else None


class _IndexCache:
    """A cache of the last indices, by file, size and time of change: many rows name one video."""

    def __init__(self) -> None:
        self._indices: OrderedDict[tuple[str, int, int, int], FrameIndex] = OrderedDict()

    def load(self, path: Path) -> FrameIndex:
        stat = path.stat()
        key = (str(path), stat.st_size, stat.st_mtime_ns, stat.st_ino)
        if key in self._indices:
            self._indices.move_to_end(key)
            return self._indices[key]
        index = self._indices[key] = read_index(path)
        while sum(item.info.frames for item in self._indices.values()) > _REMEMBERED_FRAMES and len(self._indices) > 1:
            self._indices.popitem(last=False)
        return index


index_of = _IndexCache().load


def read_index(path: Path) -> FrameIndex:
    """Reads every packet of a file and decodes one frame, or all frames where they must be counted. Raises
    DataError."""
    times, shown, entry_points, marked = array("q"), bytearray(), array("q"), array("q")
    complete, smallest, empty_packets = True, MAX_PIXELS, 0
    first: av.VideoFrame | None = None
    with open_video(path) as (container, stream):
        codec, extradata = stream.codec_context.codec.canonical_name, stream.codec_context.extradata or b""
        for packet in container.demux(stream):
            if not packet.size:
                empty_packets += 1
                continue
            check_frames(len(times) + 1)
            if first is None:
                first = next(iter(packet.decode()), None)
            if packet.is_keyframe:
                marked.extend((len(times), packet.pts or 0, packet.dts if packet.dts is not None else _NO_TIME))
            if packet.is_keyframe and keyframes.decodes_alone(codec, extradata, bytes(packet)):
                entry_points.append(len(times))
            complete = complete and packet.pts is not None
            times.append(packet.pts or 0)
            shown.append(not packet.is_discard)
            smallest = min(smallest, packet.size)
        if first is None:
            first = next(iter(stream.codec_context.decode(None)), None)
        if first is None:
            raise video_error("no frame can be decoded", _COPY_AGAIN)
        orientation = orientation_of(first) or UPRIGHT
        height, width = orientation.size(first.height, first.width)
        check_size(height, width)
        time_base, rate = stream.time_base, float(stream.average_rate or 0)
        depth = stream.codec_context.reorder_depth
        sent = Packets(container.format.name, len(times), np.asarray(marked).reshape(-1, 3), depth)
        complete = complete and sent.container in _TIMED
        # With reordered pictures, times that rise with each packet cannot be right: the program that wrote them ignored
        # it.
        times_invented = depth > 0 and len(times) > 1 and (np.diff(times) > 0).all()
    if complete and not times_invented and keyframes.one_picture_per_packet(codec, smallest):
        arrays = _from_packets(np.asarray(times), np.frombuffer(shown, np.uint8).astype(bool), np.asarray(entry_points))
        if arrays is not None:
            spread = float((arrays[0][-1] - arrays[0][0]) * time_base)
            info = VideoInfo(len(arrays[0]), height, width, _fps(len(arrays[0]), spread, rate), seekable=True)
            return FrameIndex(info, codec, orientation, sent, *arrays)
    if empty_packets > 1:  # the last one only marks the end of the file
        # A player shows the picture before again, a decoder skips it: which frame is the tenth depends on the program.
        hint = f"write it again, with each frame in it: ffmpeg -i {path.name!r:.100} -fps_mode cfr new.mp4"
        raise video_error("repeated frames that are stored as empty packets", hint)
    frames, spread = _count_by_decoding(path)
    info, empty = VideoInfo(frames, height, width, _fps(frames, spread, rate), seekable=False), np.zeros(0, np.int64)
    return FrameIndex(info, codec, orientation, sent, empty, empty, empty)


@contextmanager
def open_video(path: Path) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """A file and its video stream, decoded by one thread. Errors of FFmpeg inside become DataErrors (or MemoryErrors).

    Sizes and numbers of frames above the limits raise before anything is decoded.
    """
    limits = {"max_pixels": str(MAX_PIXELS)}
    # A playlist or reference movie must not make the decoder open other files or the network.
    options = {"protocol_whitelist": "file", "format_whitelist": _FORMATS, **limits}
    try:
        with av.open(str(path), options=options, metadata_errors="ignore") as container:
            stream = _video_stream(container)
            height, width = stream.codec_context.height, stream.codec_context.width
            if not height or not width:  # FFmpeg reports a size above its limits in the same way
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


def _video_stream(container: av.container.InputContainer) -> av.VideoStream:
    """The video stream that a player chooses. Raises DataError where there is none, or only attached pictures."""
    best = container.streams.best("video")
    if best is not None and best.disposition & _PICTURES:
        hint = (
            "its only picture is attached, as the cover of a sound file is: give a file with video, or remove the row"
        )
        raise video_error("no video that can be decoded", hint)
    if not isinstance(best, av.VideoStream) or best.codec_context is None:
        raise video_error("no video that can be decoded", "write the file again, as H.264 in mp4")
    return best


def _from_packets(
    times: NDArray[np.int64], shown: NDArray[np.bool_], entry_points: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]] | None:
    """Times, packets and entries of the shown frames, or None where the packets do not determine them."""
    packets = np.flatnonzero(shown)
    packets = packets[np.argsort(times[packets], kind="stable")]
    shown_times = times[packets]
    in_the_middle = not len(entry_points) or entry_points[0] != 0 or times[0] > shown_times.min(initial=times[0])
    if not len(packets) or in_the_middle or (np.diff(shown_times) == 0).any():
        return None
    # Decoding cannot begin at a group that is shown before an earlier one has ended (an edit list may do that).
    latest_before = np.concatenate([[np.iinfo(np.int64).min], np.maximum.accumulate(times)[:-1]])
    entry_points = entry_points[times[entry_points] > latest_before[entry_points]]
    # The last entry point that is neither sent after the frame nor shown after it.
    sent_before, shown_before = (
        np.searchsorted(entry_points, packets, "right"),
        np.searchsorted(times[entry_points], shown_times, "right"),
    )
    return shown_times, packets, entry_points[np.minimum(sent_before, shown_before) - 1]


def _count_by_decoding(path: Path) -> tuple[int, float]:
    """The number of decoded frames and the seconds between the first and the last, 0 if unknown."""
    frames = 0
    times: list[int] = []
    with open_video(path) as (container, stream):
        for frame in container.decode(stream):
            frames += 1
            check_frames(frames)
            if frame.pts is not None:
                times = [times[0] if times else frame.pts, frame.pts]
        return frames, float((times[-1] - times[0]) * stream.time_base) if times else 0.0


def _fps(frames: int, spread_s: float, rate: float) -> float:
    fps = (frames - 1) / spread_s if frames > 1 and spread_s > 0 else rate
    if frames == 1:
        return fps or 1.0  # one frame has no rate
    if fps <= 0:
        raise video_error("no frame rate", "write the file again with ffmpeg")
    return fps
