"""LLaVA-OneVision: a video is one run of `video_token_id`: every frame's pooled grid in raster order, then one newline.

Each frame is resized to the tower's square, its patch grid halved (rounded up) by bilinear pooling.
"""

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from swim.data.documents import Visual


def locate(config: Any, inputs: Mapping[str, Tensor], ids_L: Tensor, nth: int) -> Visual | None:
    """The document's video without its newline token. All videos of a batch have the frames of `pixel_values_videos`;
    where features were computed beforehand and it is absent, the tokens say how many frames there are.

    Raises ValueError when the tokens are not the frames' grids and one newline.
    """
    columns_L = (ids_L == config.video_token_id).nonzero()[:, 0]
    if not len(columns_L):
        return None
    vision = config.vision_config
    side = math.ceil(vision.image_size // vision.patch_size / 2)
    pixels = inputs.get("pixel_values_videos")
    frames = (len(columns_L) - 1) // side**2 if pixels is None else pixels.shape[1]
    if len(columns_L) != frames * side**2 + 1:
        raise ValueError(
            f"document with video {nth} (counted from 0) has {len(columns_L)} video tokens, but {frames} frames of "
            f"{side} × {side} tokens and one newline make {frames * side**2 + 1}: do not truncate inside a video; "
            "several videos in one sample are not supported"
        )
    return Visual(columns_L[:-1], (frames, side, side), 1)
