"""What the processors of several families have in common. Content and order are what transformers' own classes write,
which need torchvision, and that has no build beside a CPU build of torch."""

from __future__ import annotations

from typing import Any

from swim.data.pixels import FRAMES_PER_PATCH, Statistics
from swim.recipe import FramePolicy

BICUBIC, LANCZOS = 3, 1  # PIL's numbers
STOCK_LEAST_FRAMES = 4  # of Qwen's stock video processors


def pixels(statistics: Statistics, resample: int) -> dict[str, Any]:
    """Resizing and normalising, of pictures and videos alike."""
    mean, deviation = statistics
    return {
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": list(mean),
        "image_std": list(deviation),
        "resample": resample,
        "rescale_factor": 1 / 255,
    }


def edges(least: int, most: int) -> dict[str, int]:
    """A budget of pixels, as Qwen's processors name it."""
    return {"longest_edge": most, "shortest_edge": least}


def policy(frames: FramePolicy) -> dict[str, int]:
    """The frames of training, in fields that stock processors keep and do not use: they take frames as they are given,
    and `swimlab ask` samples by these."""
    return {"max_frames": frames.max_frames, "max_pixels": frames.max_pixels, "min_pixels": frames.min_pixels}


def of_patches(config: Any, statistics: Statistics, kind: str) -> dict[str, Any]:
    """Qwen's pictures or videos (`kind`: the class of their processor), but for their budgets."""
    vision = config.vision_config
    return pixels(statistics, BICUBIC) | {
        "merge_size": vision.spatial_merge_size,
        "patch_size": vision.patch_size,
        "temporal_patch_size": FRAMES_PER_PATCH,
        ("video_processor_type" if "Video" in kind else "image_processor_type"): kind,
    }


def qwen2(
    config: Any, statistics: Statistics, frames: FramePolicy, pictures: tuple[int, int], processor: str
) -> dict[str, Any]:
    """Qwen2-VL and Qwen2.5-VL. Frames keep the pixel budget of training, pictures have one of their own."""
    return {
        "image_processor": of_patches(config, statistics, "Qwen2VLImageProcessor") | {"size": edges(*pictures)},
        "processor_class": processor,
        "video_processor": of_patches(config, statistics, "Qwen2VLVideoProcessor")
        | {
            # Training has no such bound over a whole video, and transformers is about to turn it on by default.
            "cap_pixels_per_frame": False,
            "do_sample_frames": False,
            "max_frames": frames.max_frames,
            "max_video_tokens": 128_000,
            "min_frames": FRAMES_PER_PATCH,
            "return_metadata": False,
            "size": edges(frames.min_pixels, frames.max_pixels),
        },
    }
