"""Frames read by decord, for whoever needs the pixels of a pipeline that reads with it; PyAV is the default.

decord counts packets where a player counts pictures, and finds a frame by seeking to a packet that the container calls
a key frame and counting on from there. Where a packet is not what it takes it for (edit lists, open groups, refreshes)
it returns other frames without an error. So a file is read only if its packet index proves that both counts agree, and
decord's own index must then agree with it; any other file is refused with the reason. Nor does it say that a frame is
smeared or lost: the caller must have found the frames of a group whole, up to the wanted one.

The wheel holds FFmpeg 4.1.6 of 2020, which has known vulnerabilities: not for videos of strangers.

Dimensions: H × W pixels, C = 3 (RGB).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swim.data.types import DataError
from swim.data.video.frame_choice import video_error
from swim.data.video.orientation import UPRIGHT
from swim.data.video.packet_index import FrameIndex

_CONTAINERS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
_CODECS = ("h264", "hevc", "vp9")  # its FFmpeg has no decoder for AV1
_MAX_REORDERED = 16  # of H.264 and HEVC
_OTHER_WAY = 'read it with data.frames.decoder = "pyav", or remove the row'
MISSING = (
    'data.frames.decoder "decord" needs decord, which is not installed: pip install decord (Linux only), or use "pyav"'
)
_WRITE_AGAIN = f"write it again (ffmpeg -i old.mp4 -c:v libx264 -x264-params open-gop=0 new.mp4), or {_OTHER_WAY}"


def check_admitted(path: Path, index: FrameIndex) -> None:
    """Raises DataError (field "video") for a file of which it is not proven that decord reads it right, OSError where
    decord is missing."""
    check_packets(index)
    _open(path, index, None)


def check_packets(index: FrameIndex) -> None:
    """Raises DataError (field "video") where the packets do not prove that decord's count of frames is a player's."""
    for reason, found in (
        ("a container that was not compared", index.sent.container not in _CONTAINERS),
        (f"{index.codec}, which was not compared", index.codec not in _CODECS),
        ("packets that do not say what is shown", not index.info.seekable),
        ("packets that are not shown (an edit list)", index.sent.count != index.info.frames),
        ("a picture that is turned or mirrored", index.orientation != UPRIGHT),
    ):
        if found:
            raise _refused(reason, _WRITE_AGAIN)
    if not _counts_agree(index):
        raise _refused("groups of pictures that need or overlap others", _WRITE_AGAIN)
    if _held_back(index) > index.sent.reorder_depth:
        raise _refused("more reordered pictures than the header says", _WRITE_AGAIN)


def decode_by_decord(
    path: Path, indices: list[int], size: tuple[int, int], index: FrameIndex
) -> dict[int, NDArray[np.uint8]]:
    """The frames at `indices` (ascending), resized by decord to `size` = (H, W). `check_packets` must have admitted the
    file, and the frames of each group up to the wanted one must be whole. Raises as `check_admitted`."""
    reader = _open(path, index, size)
    with _refusals():
        frames_THWC = reader.get_batch(indices).asnumpy()
    if frames_THWC.shape != (len(indices), *size, 3):
        raise _refused(f"decord returns frames of {frames_THWC.shape[1:]}", _OTHER_WAY)
    return dict(zip(indices, frames_THWC, strict=True))


def _open(path: Path, index: FrameIndex, size: tuple[int, int] | None) -> Any:
    """A reader whose index is ours. Its FFmpeg is older: it must find as many frames, at the same times, with the same
    key frames."""
    # Imported here: there is no wheel of it for macOS, and who does not ask for it should not load its FFmpeg.
    try:
        import decord
    except ImportError as error:
        raise OSError(MISSING) from error  # no error of the row
    sizes = {} if size is None else {"height": size[0], "width": size[1]}
    with _refusals():
        reader = decord.VideoReader(str(path), num_threads=1, **sizes)
        times_s = reader.get_frame_timestamp(range(len(reader)))[:, 0].astype(np.float64)
        marks = reader.get_key_indices()
    frames, expected_s = index.info.frames, np.zeros(1)
    if frames > 1:
        expected_s = (index.times - index.times[0]) / (index.times[-1] - index.times[0]) * (frames - 1) / index.info.fps
    # Its times are float32, which are 8 ms apart after a day.
    same_times = len(times_s) == frames and np.allclose(times_s - times_s[0], expected_s, rtol=1e-6, atol=1e-3)
    if not same_times or marks != index.sent.marked[:, 0].tolist():
        raise _refused("decord lists other frames than the file has", _WRITE_AGAIN)
    return reader


@contextmanager
def _refusals() -> Iterator[None]:
    """Errors of decord become DataErrors."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # of its C++ part (no RuntimeError), assertions, RuntimeErrors
        text = (str(error) or type(error).__name__).splitlines()[0].rpartition("] ")[2]  # behind time and source line
        raise _refused(f"decord fails: {text[:200]}", _OTHER_WAY) from error


def _counts_agree(index: FrameIndex) -> bool:
    """Whether the packets from one key frame to the next are the frames shown from one to the next, decoding can begin
    at each packet that is marked as a key frame, and a search by time cannot end at a later one."""
    marks, shown_at, sent_at = index.sent.marked.T
    starts = np.unique(index.entries)
    closed = (np.diff(index.entries) >= 0).all() and (np.searchsorted(index.entries, starts) == starts).all()
    # decord looks among decoding times for the time at which a key frame is shown.
    return bool(closed and np.array_equal(marks, starts) and (sent_at[1:] > shown_at[:-1]).all())


def _held_back(index: FrameIndex) -> int:
    """The most pictures that are sent before another one and shown after it: so many a decoder must hold back."""
    shown = np.argsort(index.packets)
    if np.abs(shown - np.arange(len(shown))).max() > _MAX_REORDERED:
        return _MAX_REORDERED + 1
    held = np.zeros(len(shown), np.int64)
    for distance in range(1, min(2 * _MAX_REORDERED + 1, len(shown))):
        held[distance:] += shown[:-distance] > shown[distance:]
    return int(held.max())


def _refused(reason: str, hint: str) -> DataError:
    return video_error(f"not for decord: {reason}", hint)
