"""SmolVLM: frames become squares by way of their longer side; pictures are squares of several tiles. Its processor
needs the package num2words, which writes the number of frames."""

from __future__ import annotations

from typing import Any

from swim.data.family import Family
from swim.recipe import FramePolicy
from swimlab.checkpoints.processor_parts import LANCZOS, pixels, policy

IMAGE, VIDEO = "<image>", "<video>"
_TILES = 4  # of a picture's longer side, as in the checkpoints of the authors


def config(family: Family, frames: FramePolicy, pictures: tuple[int, int]) -> dict[str, Any]:
    """See the package. Pictures have no budget: the tiles bound them."""
    side = family.config.vision_config.image_size
    square = pixels(family.statistics, LANCZOS) | {"do_pad": True, "max_image_size": {"longest_edge": side}}
    return {
        "image_processor": square
        | {
            "do_image_splitting": True,
            "image_processor_type": "SmolVLMImageProcessor",
            "size": {"longest_edge": _TILES * side},
        },
        "image_seq_len": family.frame_tokens,
        "processor_class": "SmolVLMProcessor",
        "video_processor": square
        | policy(frames)
        | {
            "do_sample_frames": False,
            "return_metadata": False,
            "size": {"longest_edge": side},
            "video_processor_type": "SmolVLMVideoProcessor",
        },
    }
