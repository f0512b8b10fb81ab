"""Which frames of a clip are kept and at what size: the part of decoding that needs no video library.

Frame indices count the frames that a player shows, in order, from 0.
Dimensions: T frames (even), H × W pixels, C = 3 (RGB).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from swim.data.limits import MAX_SIDE_PX
from swim.data.types import Clip, DataError, ReferSample
from swim.data.video.numbering import NumberRun, positions
from swim.data_config import FramePolicy, Numbering

MAX_ASPECT = 200  # Qwen2-VL's own limit
MASK_ASPECT_TOLERANCE = 1.5  # anamorphic video reaches 1.46; a mask with height and width swapped is 3.2 at 16:9
# Limits for a header. Decoders allocate by the header before they read a pixel: 16 frames of this size are 1.6 GB.
MAX_PIXELS = 2**26  # twice a frame of 8K video
MAX_FRAMES = 2**20  # nine hours at 30 frames a second


@dataclass(frozen=True)
class VideoInfo:
    """A video as shown: `frames`, `height` and `width` in pixels after rotation, `fps` shown frames per second.

    `seekable` means that the frames' times are known without decoding, so that decoding may begin at a key frame.
    `numbers` are those in the names of a folder's pictures; empty where they are 0, 1, 2, …, as those of a video's
    frames; None where names have no number.
    """

    frames: int
    height: int
    width: int
    fps: float
    seekable: bool
    numbers: tuple[NumberRun, ...] | None = ()


@dataclass(frozen=True)
class FrameNeeds:
    """What a row needs of its video: the keys of the frames with masks, the (height, width) of these masks, and what
    the keys are (None: as the policy says)."""

    frames: tuple[int, ...]
    mask_sizes: tuple[tuple[int, int], ...]
    numbering: Numbering | None = None


def frame_needs(sample: ReferSample) -> FrameNeeds:
    """The frames and mask sizes of a row."""
    rles = (rle for track in sample.tracks for rle in track.values())
    return FrameNeeds(
        frames=tuple(sorted({frame for track in sample.tracks for frame in track})),
        mask_sizes=tuple(sorted({(rle.height, rle.width) for rle in rles})),
        numbering=sample.frames,
    )


def plan_frames(info: VideoInfo, needs: FrameNeeds, policy: FramePolicy) -> tuple[list[int], tuple[int, int]]:
    """The frames to decode and their (height, width). Raises DataError for masks that cannot be this video's."""
    for height, width in needs.mask_sizes:
        check_proportions(height, width, info)
    frames: Iterable[int] = needs.frames
    if by_number(needs.numbering, policy):
        frames = positions(frames, info.numbers).values()
    elif info.numbers and max(frames, default=0) >= info.frames:
        hint = 'keys count pictures from 0; if they are the numbers in the names, say "frames": "number" in the row'
        raise DataError(f"annotated frame past the end of {info.frames} pictures", field="annotation", hint=hint)
    return choose_frames(info.frames, frames, policy), smart_resize(info.height, info.width, policy)


def check_proportions(height: int, width: int, info: VideoInfo, *, field: str = "annotation") -> None:
    """Raises DataError for a mask of this size that has other proportions than the video."""
    ratio = (width / height) / (info.width / info.height)
    if not 1 / MASK_ASPECT_TOLERANCE <= ratio <= MASK_ASPECT_TOLERANCE:
        hint = f"the video is {info.height} × {info.width}; is the mask's size [height, width]?"
        raise DataError(f"a mask of {height} × {width} does not fit", field=field, hint=hint)


def by_number(numbering: Numbering | None, policy: FramePolicy) -> bool:
    """Whether the keys of a row are the numbers in the names of pictures. The row decides before the policy."""
    return (numbering or policy.numbering) == "number"


def at_positions(sample: ReferSample, info: VideoInfo, policy: FramePolicy) -> ReferSample:
    """The row with its masks at the positions of frames. Raises DataError as `plan_frames`."""
    if not by_number(sample.frames, policy):
        return sample
    position = positions({frame for track in sample.tracks for frame in track}, info.numbers)
    tracks = tuple({position[frame]: rle for frame, rle in track.items()} for track in sample.tracks)
    return sample.model_copy(update={"tracks": tracks, "frames": "position"})


def build_clip(sample: ReferSample, indices: list[int], frames_THWC: NDArray[np.uint8], fps: float) -> Clip:
    """The clip of decoded frames. The row's masks are at positions, and keep their annotated size; a frame that is used
    twice has its masks twice."""
    return Clip(
        key=sample.key,
        turns=sample.turns,
        frames_THWC=frames_THWC,
        frame_indices=tuple(indices),
        fps=fps,
        masks=tuple({slot: track[i] for slot, i in enumerate(indices) if i in track} for track in sample.tracks),
    )


def choose_frames(n_frames: int, annotated: Iterable[int], policy: FramePolicy) -> list[int]:
    """Ascending frame indices: all annotated ones, the rest evenly from the others (paper, section 4.1).

    Their number is even: `policy.max_frames`, or the frames of a shorter clip, the last one twice if their number is
    odd. Raises DataError for annotated frames past the end or more than fit.
    """
    forced = sorted(set(annotated))
    if n_frames < 1:
        raise video_error("no frame is shown", "the file is empty or cut off: copy it again or remove the row")
    if forced and forced[-1] >= n_frames:
        hint = f"frame {forced[-1]} is annotated: indices count shown frames from 0; is it the right video?"
        raise DataError(f"annotated frame past the end of {n_frames} frames", field="annotation", hint=hint)
    total = min(policy.max_frames, n_frames)
    if len(forced) > total:
        hint = f"raise data.frames.max_frames to {len(forced) + len(forced) % 2} or annotate fewer frames"
        raise DataError(f"{len(forced)} annotated frames, {total} fit", field="annotation", hint=hint)
    free = np.setdiff1d(np.arange(n_frames), forced)
    rest = free[np.linspace(0, max(len(free) - 1, 0), total - len(forced)).round().astype(int)]
    frames = sorted([*forced, *rest.tolist()])
    return frames + frames[-1:] * (len(frames) % 2)


def smart_resize(height: int, width: int, policy: FramePolicy) -> tuple[int, int]:
    """(height, width) in whole cells within the pixel budget of one frame, aspect kept (Qwen2-VL's rule)."""
    if max(height, width) > MAX_ASPECT * min(height, width):
        raise video_error(f"a {height} × {width} picture", f"one side may be at most {MAX_ASPECT} times the other")
    cell = policy.cell_px
    resized = [max(cell, round(side / cell) * cell) for side in (height, width)]
    if math.prod(resized) > policy.max_pixels:
        shrink = math.sqrt(height * width / policy.max_pixels)
        resized = [max(cell, math.floor(side / shrink / cell) * cell) for side in (height, width)]
    elif math.prod(resized) < policy.min_pixels:
        grow = math.sqrt(policy.min_pixels / (height * width))
        resized = [math.ceil(side * grow / cell) * cell for side in (height, width)]
    return resized[0], resized[1]


def check_size(height: int, width: int, label: str = "the video") -> None:
    """Raises DataError for a picture that is too large, before memory is allocated for it."""
    if max(height, width) > MAX_SIDE_PX or height * width > MAX_PIXELS or min(height, width) < 1:
        hint = (
            f"{label} may have sides of 1 to {MAX_SIDE_PX} and {MAX_PIXELS} pixels: scale it down or correct its header"
        )
        raise video_error(f"a {height} × {width} picture", hint)


def check_frames(frames: int) -> None:
    """Raises DataError for a number of frames that is too large."""
    if frames > MAX_FRAMES:
        raise video_error(f"more than {MAX_FRAMES} frames", "cut the video into parts, or write the file again")


def video_error(reason: str, hint: str) -> DataError:
    """A DataError about a row's video."""
    return DataError(reason, field="video", hint=hint)
