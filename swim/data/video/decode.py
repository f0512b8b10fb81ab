"""Exact decoding of chosen frames: each is the frame that a player shows at this index.

Frame indices count the frames that a player shows, in order, from 0.
Dimensions: T frames (even), H × W pixels, C = 3 (RGB).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

from swim.data.annotations.samples import locate
from swim.data.types import Clip, DataError, ReferSample
from swim.data.video.by_decord import check_admitted, check_packets, decode_by_decord
from swim.data.video.frame_choice import (
    VideoInfo,
    at_positions,
    build_clip,
    choose_frames,
    frame_needs,
    plan_frames,
    smart_resize,
    video_error,
)
from swim.data.video.media import local_video, resolve_video
from swim.data.video.orientation import orientation_of
from swim.data.video.packet_index import FrameIndex, index_of, open_video
from swim.data.video.pictures import decode_folder, probe_folder
from swim.data_config import FramePolicy, VideoDecoder

__all__ = [
    "VideoInfo",
    "choose_frames",
    "count_frames",
    "decode_frames",
    "decode_sample",
    "probe",
    "resolve_video",
    "smart_resize",
]

# Scaled from the decoded planes to planes: 3.4 ms from 720p to 588 × 1008, against 10 ms to packed RGB and 17 ms for
# resizing a whole RGB frame with Pillow. Its mean error against a float conversion is 0.3 grey levels without a bias;
# Pillow's is 1.2, all of it downwards (one core, BT.709).
_SCALING = Interpolation.BICUBIC | Interpolation.ACCURATE_RND
_PLANES = "gbrp"
_COPY_AGAIN = "copy the file again or remove the row"


def probe(path: Path, decoder: VideoDecoder = "pyav") -> VideoInfo:
    """The frames, size and rate of a video or a folder of pictures (which every decoder reads with Pillow). Raises
    DataError (field "video"), also for a file that this decoder would read wrongly."""
    if path.is_dir():
        return probe_folder(path)
    index = index_of(path)
    if decoder == "decord":
        check_admitted(path, index)
    return index.info


def count_frames(path: Path) -> int:
    """Number of shown frames. Raises DataError (field "video")."""
    return probe(path).frames


def decode_frames(
    path: Path, indices: Sequence[int], size: tuple[int, int], decoder: VideoDecoder = "pyav"
) -> tuple[NDArray[np.uint8], float]:
    """The frames at `indices` (any order, repeats allowed), uint8 (T, H, W, 3) at `size` = (H, W), and the fps.

    Raises DataError (field "video"), OSError where `decoder` is not installed.
    """
    info = probe(path)
    needed = sorted(set(indices))
    if not needed or needed[0] < 0 or needed[-1] >= info.frames:
        raise video_error(f"frame indices outside of {info.frames} frames", "indices count shown frames from 0")
    if path.is_dir():
        frames = decode_folder(path, needed, size)
    elif decoder == "decord":
        check_packets(index := index_of(path))
        _check_whole(path, needed, index)
        frames = decode_by_decord(path, needed, size, index)
    else:
        frames = _decode(path, needed, size, index_of(path))
    return np.stack([frames[i] for i in indices]), info.fps


def decode_sample(sample: ReferSample, root: str | Path, policy: FramePolicy) -> Clip:
    """Decodes the frames that a row needs, in this process. `root` is a folder or s3://bucket/prefix.

    Raises DataError naming file, row, field and what to do.
    """
    try:
        with local_video(str(root), sample.video) as path:
            sample = at_positions(sample, info := probe(path, policy.decoder), policy)
            indices, size = plan_frames(info, frame_needs(sample), policy)
            frames_THWC, fps = decode_frames(path, indices, size, policy.decoder)
    except DataError as error:
        raise locate(error, file=sample.file, row=sample.row, key=sample.key) from error
    return build_clip(sample, indices, frames_THWC, fps)


def _decode(path: Path, indices: list[int], size: tuple[int, int], index: FrameIndex) -> dict[int, NDArray[np.uint8]]:
    """The frames by index."""
    if index.info.seekable:
        frames = _decode_spans(path, indices, size, index, _packet_spans(indices, index))
        if len(frames) < len(indices):  # decode everything from the start, as a player does
            frames = _decode_spans(path, indices, size, index, [(0, int(index.packets.max()))], skip=False)
    else:
        frames = _decode_from_start(path, indices, size, index)
    if missing := set(indices) - frames.keys():
        raise video_error("fewer frames decode than the file lists", f"frame {min(missing)} is missing: {_COPY_AGAIN}")
    return frames


def _check_whole(path: Path, indices: list[int], index: FrameIndex) -> None:
    """Raises DataError where a frame up to one of these, in its group, is lost or damaged: decord counts pictures as
    they come. Of a file that it may read, frames and packets of a group have the same numbers."""
    starts = index.entries[indices].tolist()
    counted = sorted({j for start, i in zip(starts, indices, strict=True) for j in range(start, i + 1)})
    found = _decode_spans(path, counted, None, index, _packet_spans(counted, index))
    if missing := set(counted) - found.keys():
        raise _damaged_error(min(missing))


def _decode_spans(
    path: Path,
    indices: list[int],
    size: tuple[int, int] | None,
    index: FrameIndex,
    spans: list[tuple[int, int]],
    skip: bool = True,
) -> dict[int, NDArray[np.uint8]]:
    """The frames by index, decoded from these spans of packets and identified by their times. Without a `size` they are
    only checked, and empty."""
    # H.264 marks pictures to which no other one refers; skipping those that are not needed saves 15 to 55 % of the
    # time. HEVC's mark has exceptions.
    skip = skip and index.codec == "h264"
    needed, decoded, damaged = set(indices), list[int](), list[int]()
    pictures: dict[int, NDArray[np.uint8]] = {}
    for frame in _frames(path, spans, set(index.times[indices].tolist()) if skip else None):
        i = index.frame_at(frame.pts)
        if i is None or i <= max(decoded[-1:], default=-1):
            hint = "frames come in another order than their times say: write the file again with ffmpeg"
            raise video_error("times that contradict the pictures", hint)
        decoded.append(i)
        if frame.is_corrupt:
            damaged.append(i)
        if i in needed:
            pictures[i] = _picture(frame, i, size, index)
    if not skip:
        due = [np.flatnonzero((index.entries >= first) & (index.packets <= last)) for first, last in spans]
        damaged += np.setdiff1d(np.concatenate(due), decoded).tolist()
    for i in pictures:
        # A frame that is predicted from a damaged one is not marked as damaged itself.
        if any(index.entries[j] >= index.entries[i] and index.packets[j] <= index.packets[i] for j in damaged):
            raise _damaged_error(i)
    return pictures


def _decode_from_start(
    path: Path, indices: list[int], size: tuple[int, int], index: FrameIndex
) -> dict[int, NDArray[np.uint8]]:
    """The frames by index, counted from the first."""
    needed, damaged = set(indices), False
    pictures: dict[int, NDArray[np.uint8]] = {}
    with open_video(path) as (container, stream):
        for i, frame in enumerate(container.decode(stream)):
            damaged = frame.is_corrupt or (damaged and not frame.key_frame)
            if i in needed:
                if damaged:
                    raise _damaged_error(i)
                pictures[i] = _picture(frame, i, size, index)
            if len(pictures) == len(needed):
                break
    return pictures


def _packet_spans(indices: list[int], index: FrameIndex) -> list[tuple[int, int]]:
    """The spans of packets (first, last) that must be decoded for these frames: ascending, disjoint and not
    adjacent."""
    spans: list[tuple[int, int]] = []
    for first, last in sorted(zip(index.entries[indices].tolist(), index.packets[indices].tolist(), strict=True)):
        if spans and first <= spans[-1][1] + 1:
            spans[-1] = (spans[-1][0], max(last, spans[-1][1]))
        else:
            spans.append((first, last))
    return spans


def _frames(path: Path, spans: list[tuple[int, int]], times: Collection[int] | None) -> Iterator[av.VideoFrame]:
    """The frames that are decoded from these spans of packets. With `times`, frames at other times may be missing where
    no other frame refers to them."""
    with open_video(path) as (container, stream):
        context = stream.codec_context
        packets = enumerate(packet for packet in container.demux(stream) if packet.size)
        for first, last in spans:
            for number, packet in packets:
                if number >= first:
                    if times is not None:
                        context.skip_frame = "DEFAULT" if packet.pts in times else "NONREF"
                    yield from packet.decode()
                if number == last:
                    break
            yield from context.decode(None)
            depth = context.reorder_depth
            context.flush_buffers()
            context.reorder_depth = depth  # known from the stream so far; without it the decoder may drop frames


def _picture(frame: av.VideoFrame, i: int, size: tuple[int, int] | None, index: FrameIndex) -> NDArray[np.uint8]:
    """RGB pixels, upright, at `size`; none without a size."""
    # H.264 may store the orientation at key frames only, for all frames behind them; FFmpeg 8 does not keep it there.
    info, orientation = index.info, index.orientation
    if (orientation_of(frame) or orientation) != orientation:
        hint = f"frame {i} is turned in another way than the first one: write the file again, as it is shown"
        raise video_error("the picture changes its orientation", hint)
    height, width = orientation.size(frame.height, frame.width)
    if (height, width) != (info.height, info.width):
        hint = f"frame {i} is {height} × {width}, the first one {info.height} × {info.width}: write the file again"
        raise video_error("the picture changes its size", hint)
    if size is None:
        return np.empty((0, 0, 3), np.uint8)
    height, width = orientation.size(*size)
    # As an array, gbrp is H × W × RGB.
    picture_HWC: NDArray[np.uint8] = frame.reformat(
        width, height, _PLANES, interpolation=_SCALING, threads=1
    ).to_ndarray()
    return orientation.apply(picture_HWC)


def _damaged_error(i: int) -> DataError:
    return video_error("a needed frame is damaged", f"frame {i}, or one that it is built from: {_COPY_AGAIN}")
