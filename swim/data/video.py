"""Which frames of a clip are kept, at what size, and their exact decoding.

Frame indices count the frames that a player shows, in order, from 0.
Dimensions: T frames (even), H × W pixels, C = 3 (RGB).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import decord
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from swim.data.samples import locate
from swim.data.types import Clip, DataError, ReferSample
from swim.recipe import FramePolicy

FOLDER_FPS = 1.0  # pictures carry no clock: one a second, by convention
MAX_ASPECT = 200  # Qwen2-VL's own limit
MASK_ASPECT_TOLERANCE = 1.5  # anamorphic video reaches 1.46; a mask with height and width swapped is 3.2 at 16:9
_PICTURES = {".jpg", ".jpeg", ".png"}
# One recovered (that is: duplicated) frame is one too many; decord reads 0 as "any number of them".
_NO_RECOVERED_FRAMES = 1e-9


@dataclass(frozen=True)
class VideoInfo:
    """What is shown: `frames`, `height` and `width` in pixels after rotation, `fps` shown frames per second.

    `seekable` means that decord's frame numbers are known to be those of the shown frames.
    """

    frames: int
    height: int
    width: int
    fps: float
    seekable: bool


def resolve_video(root: Path, video: str) -> Path:
    """The file or folder `video` names under `root`. Raises DataError for whatever leaves it, by symlink too."""
    where = f"{video!r:.200}"
    if "://" in video or Path(video).is_absolute() or ".." in Path(video).parts:
        raise _error("not a relative path", f"{where}: give the path under the videos folder, without '..' or a URL")
    try:
        base = Path(root).resolve()
        path = (base / video).resolve()
        exists = path.is_file() or path.is_dir()
    except (OSError, ValueError, RuntimeError) as error:
        raise _error("not a usable path", f"{where}: {error}") from error
    if base not in path.parents:
        raise _error(
            "outside the videos folder", f"{where}: symlinks may not leave it; copy the file, or move the root"
        )
    if not exists:
        raise _error("no such file", f"{where} was looked for under the videos folder {root}")
    return path


def choose_frames(n_frames: int, annotated: Iterable[int], policy: FramePolicy) -> list[int]:
    """Ascending frame indices: all annotated ones, the rest evenly from the others (paper, section 4.1).

    Their number is even: `policy.max_frames`, or what a shorter clip has, the last frame then shown twice if need be.
    Raises DataError for annotated frames past the end or more than fit.
    """
    forced = sorted(set(annotated))
    if n_frames < 1:
        raise _error("no frame is shown", "the file is empty or cut off: copy it again or remove the row")
    if forced and forced[-1] >= n_frames:
        hint = f"frame {forced[-1]} is annotated: indices count shown frames from 0; is it the right video?"
        raise DataError(f"annotated frame past the end of {n_frames} frames", field="annotation", hint=hint)
    total = min(policy.max_frames, n_frames)
    if len(forced) > total:
        hint = f"raise data.frames.max_frames to {len(forced) + len(forced) % 2} or annotate fewer frames"
        raise DataError(f"{len(forced)} annotated frames, {total} fit", field="annotation", hint=hint)
    free = np.setdiff1d(np.arange(n_frames), forced)
    rest = free[np.linspace(0, max(len(free) - 1, 0), total - len(forced)).round().astype(int)]
    chosen = sorted([*forced, *rest.tolist()])
    return chosen + chosen[-1:] * (len(chosen) % 2)


def smart_resize(height: int, width: int, policy: FramePolicy) -> tuple[int, int]:
    """(height, width) in whole cells within the pixel budget of one frame, aspect kept (Qwen2-VL's rule)."""
    if max(height, width) > MAX_ASPECT * min(height, width):
        raise _error(f"a {height} × {width} picture", f"one side may be at most {MAX_ASPECT} times the other")
    cell = policy.cell_px
    resized = [max(cell, round(side / cell) * cell) for side in (height, width)]
    if math.prod(resized) > policy.max_pixels:
        shrink = math.sqrt(height * width / policy.max_pixels)
        resized = [max(cell, math.floor(side / shrink / cell) * cell) for side in (height, width)]
    elif math.prod(resized) < policy.min_pixels:
        grow = math.sqrt(policy.min_pixels / (height * width))
        resized = [math.ceil(side * grow / cell) * cell for side in (height, width)]
    return resized[0], resized[1]


def probe(path: Path) -> VideoInfo:
    """Reads the index and one frame of a video, or the first picture of a folder. Raises DataError (field "video")."""
    if path.is_dir():
        pictures = _pictures(path)
        first_HWC = _open_picture(pictures[0])
        return VideoInfo(len(pictures), first_HWC.shape[0], first_HWC.shape[1], FOLDER_FPS, seekable=False)
    try:
        with _open(path) as container:
            stream = container.streams.video[0]
            packets = [packet for packet in container.demux(stream) if packet.size]
            shown = [packet for packet in packets if not packet.is_discard]
            times = sorted(packet.pts for packet in shown if packet.pts is not None)
            fps = float(stream.average_rate or 0)
            if len(times) > 1 and times[-1] > times[0]:
                fps = float((len(times) - 1) / ((times[-1] - times[0]) * stream.time_base))
        with _open(path) as container:
            first = next(container.decode(video=0))
            height, width = _upright(first).shape[:2]
    except StopIteration as error:
        raise _error(
            "no frame can be decoded", "the file is empty or cut off: copy it again or remove the row"
        ) from error
    except (av.FFmpegError, IndexError) as error:
        raise _error("not a readable video", f"{error}: copy it again or remove the row") from error
    if fps <= 0:
        raise _error("no frame rate", "write the file again with ffmpeg")
    # An edit list (`ffmpeg -ss … -c copy`) shows up as packets to discard, or as a first time other than 0.
    plain = len(shown) == len(packets) == len(set(times)) and times[:1] == [0] and not first.rotation
    return VideoInfo(len(shown), height, width, fps, seekable=plain)


def count_frames(path: Path) -> int:
    """Number of shown frames, without decoding them. Raises DataError (field "video")."""
    return probe(path).frames


def decode_frames(
    path: Path, indices: Sequence[int], size: tuple[int, int], info: VideoInfo | None = None
) -> tuple[NDArray[np.uint8], float]:
    """The frames at `indices` (any order, repeats allowed), uint8 (T, H, W, 3) at `size` = (H, W), and the fps.

    Decord seeks where its frame numbers are proven right; edit lists, offsets, rotation and whatever decord cannot read
    are decoded from the start with PyAV, since decord then returns wrong frames without an error. Raises DataError.
    """
    info = info or probe(path)
    if path.is_dir():
        pictures = _pictures(path)
        found = {
            i: _resize(_open_picture(pictures[i], (info.height, info.width)), size) for i in _within(indices, info)
        }
    else:
        found = _decode(path, _within(indices, info), size, info)
    return np.stack([found[i] for i in indices]), info.fps


def decode_sample(sample: ReferSample, root: Path, policy: FramePolicy) -> Clip:
    """Decodes what a row needs. Masks keep the size they were annotated at; a frame shown twice has its mask twice.

    Raises DataError naming file, row, field and what to do.
    """
    try:
        path = resolve_video(root, sample.video)
        info = probe(path)
        for rle in (rle for track in sample.tracks for rle in track.values()):
            ratio = (rle.width / rle.height) / (info.width / info.height)
            if not 1 / MASK_ASPECT_TOLERANCE <= ratio <= MASK_ASPECT_TOLERANCE:
                hint = f"the video is {info.height} × {info.width}; is the mask's size [height, width]?"
                raise DataError(f"a mask of {rle.height} × {rle.width} does not fit", field="annotation", hint=hint)
        indices = choose_frames(info.frames, {frame for track in sample.tracks for frame in track}, policy)
        frames_THWC, fps = decode_frames(path, indices, smart_resize(info.height, info.width, policy), info)
    except DataError as error:
        raise locate(error, file=sample.file, row=sample.row, key=sample.key) from error
    return Clip(
        key=sample.key,
        turns=sample.turns,
        frames_THWC=frames_THWC,
        frame_indices=tuple(indices),
        fps=fps,
        masks=tuple({slot: track[i] for slot, i in enumerate(indices) if i in track} for track in sample.tracks),
    )


def _within(indices: Sequence[int], info: VideoInfo) -> list[int]:
    wanted = sorted(set(indices))
    if not wanted or wanted[0] < 0 or wanted[-1] >= info.frames:
        raise _error(f"asked for frames outside of {info.frames}", "indices count shown frames from 0")
    return wanted


def _decode(path: Path, wanted: list[int], size: tuple[int, int], info: VideoInfo) -> dict[int, NDArray[np.uint8]]:
    if info.seekable:
        try:
            reader = decord.VideoReader(str(path), num_threads=1, fault_tol=_NO_RECOVERED_FRAMES)
            if len(reader) == info.frames:
                frames_THWC = reader.get_batch(wanted).asnumpy()
                return {i: _resize(frame_HWC, size) for i, frame_HWC in zip(wanted, frames_THWC, strict=True)}
        except (decord.DECORDError, RuntimeError, AssertionError):
            pass  # a codec decord does not know, or a damaged file: PyAV decides which
    found: dict[int, NDArray[np.uint8]] = {}
    needed = set(wanted)
    try:
        with _open(path) as container:
            for i, frame in enumerate(container.decode(video=0)):
                if i in needed:
                    if frame.is_corrupt:
                        raise _error("a needed frame is damaged", f"frame {i}: copy the file again or remove the row")
                    found[i] = _resize(_upright(frame), size)
                if len(found) == len(wanted):
                    break
    except av.FFmpegError as error:
        raise _error("decoding stopped", f"{error}: copy the file again or remove the row") from error
    if missing := needed - found.keys():
        hint = f"frame {min(missing)} is missing: the file is damaged, copy it again or remove the row"
        raise _error("fewer frames decode than the file lists", hint)
    return found


def _open(path: Path) -> av.container.InputContainer:
    # A playlist or reference movie must not make the decoder reach for the network.
    return av.open(str(path), options={"protocol_whitelist": "file"}, metadata_errors="ignore")


def _upright(frame: av.VideoFrame) -> NDArray[np.uint8]:
    """RGB pixels (H, W, 3) as a player turns them; `rotation` counts degrees anticlockwise."""
    picture_HWC: NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
    return np.rot90(picture_HWC, round(frame.rotation / 90) % 4)


def _resize(frame_HWC: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    if frame_HWC.shape[:2] == size:
        return np.ascontiguousarray(frame_HWC)
    picture = Image.fromarray(np.ascontiguousarray(frame_HWC))
    return np.asarray(picture.resize((size[1], size[0]), Image.Resampling.BICUBIC))


def _pictures(folder: Path) -> list[Path]:
    """The pictures of a folder, numbers in their names compared as numbers (frame 2 before frame 10)."""
    found = sorted((p for p in folder.iterdir() if p.suffix.lower() in _PICTURES), key=_in_order)
    if not found:
        raise _error("a folder without pictures", "put .jpg or .png files in it, named in order")
    return found


def _in_order(path: Path) -> tuple[list[tuple[int, str]], str]:
    parts = re.findall(r"([0-9]+)|([^0-9]+)", path.stem)
    return [(int(digits), "") if digits else (-1, other) for digits, other in parts], path.name


def _open_picture(path: Path, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    if path.resolve().parent != path.parent.resolve():
        raise _error("a picture outside its folder", f"{path.name} is a symlink: copy the file")
    try:
        picture_HWC = np.asarray(Image.open(path).convert("RGB"))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError) as error:
        raise _error("not a readable picture", f"{path.name}: {error}") from error
    if size is not None and picture_HWC.shape[:2] != size:
        raise _error("pictures of different sizes", f"{path.name} is {picture_HWC.shape[:2]}, the first one is {size}")
    return picture_HWC


def _error(reason: str, hint: str) -> DataError:
    return DataError(reason, field="video", hint=hint)
