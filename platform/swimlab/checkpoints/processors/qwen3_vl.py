"""Qwen3-VL.

Its video processor puts `<|vision_start|>` and `<|vision_end|>` around each step itself, so the template writes neither
for a video: the template of the authors does, and since transformers 5.12 another pair is left around the whole video.
"""

from __future__ import annotations

from typing import Any

from swim.data.family import Family
from swim.data.pixels import FRAMES_PER_PATCH
from swim.recipe import FramePolicy
from swimlab.checkpoints.processor_parts import edges, of_patches, policy

IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
VIDEO = "<|video_pad|>"


def config(family: Family, frames: FramePolicy, pictures: tuple[int, int]) -> dict[str, Any]:
    """See the package. Its budget is one of pixels over all frames; `cap_pixels_per_frame` makes it that of training,
    one for each frame."""
    return {
        "image_processor": of_patches(family.config, family.statistics, "Qwen2VLImageProcessor")
        | {"size": edges(*pictures)},
        "processor_class": "Qwen3VLProcessor",
        "video_processor": of_patches(family.config, family.statistics, "Qwen3VLVideoProcessor")
        | policy(frames)
        | {
            "cap_pixels_per_frame": True,
            "do_sample_frames": False,
            "fps": 2,
            "max_video_tokens": frames.max_pixels // family.cell_px**2,
            "min_frames": FRAMES_PER_PATCH,
            "return_metadata": False,
            "size": edges(frames.min_pixels, frames.max_pixels * frames.max_frames),
        },
    }
