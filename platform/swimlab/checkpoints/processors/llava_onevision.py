"""LLaVA-OneVision: frames become squares, pictures squares of several tiles."""

from __future__ import annotations

from typing import Any

from swim.data.family import Family
from swim.recipe import FramePolicy
from swimlab.checkpoints.processor_parts import BICUBIC, pixels, policy

IMAGE, VIDEO = "<image>", "<video>"
_TILES = 6  # on a side of a picture at most, as in the checkpoints of the authors


def config(family: Family, frames: FramePolicy, pictures: tuple[int, int]) -> dict[str, Any]:
    """See the package. Pictures have no budget: the tiles bound them."""
    vision = family.config.vision_config
    side = vision.image_size
    square = pixels(family.statistics, BICUBIC) | {"size": {"height": side, "width": side}}
    edges = [side * tiles for tiles in range(1, _TILES + 1)]
    return {
        "image_processor": square
        | {
            "do_pad": True,
            "image_grid_pinpoints": [[height, width] for height in edges for width in edges],
            "image_processor_type": "LlavaOnevisionImageProcessor",
        },
        "image_token": IMAGE,
        "num_image_tokens": (side // vision.patch_size) ** 2,
        "processor_class": "LlavaOnevisionProcessor",
        "video_processor": square
        | policy(frames)
        | {
            "do_sample_frames": False,
            "return_metadata": False,
            "video_processor_type": "LlavaOnevisionVideoProcessor",
        },
        "video_token": VIDEO,
        "vision_aspect_ratio": family.config.vision_aspect_ratio,
        "vision_feature_select_strategy": family.config.vision_feature_select_strategy,
    }
