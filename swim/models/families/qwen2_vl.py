"""Qwen2-VL: a video is one run of `video_token_id`, T' steps of two frames, each (H', W') after the spatial merge.

The processor orders patches by merge window, so that every window becomes one token, and windows are in raster order.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from swim.data.documents import Visual


def locate(config: Any, inputs: Mapping[str, Tensor], ids_L: Tensor, nth: int) -> Visual | None:
    """The document's video; its grid is row `nth` of `video_grid_thw` (patches), divided by `spatial_merge_size`.

    Raises ValueError when that row is missing, or is not the grid of as many tokens as the document has.
    """
    columns_K = (ids_L == config.video_token_id).nonzero()[:, 0]
    if not len(columns_K):
        return None
    grids_N3 = inputs.get("video_grid_thw")
    if grids_N3 is None or nth >= len(grids_N3):
        raise ValueError(
            f"document with video {nth} (counted from 0) has {len(columns_K)} video tokens, but video_grid_thw has "
            f"{0 if grids_N3 is None else len(grids_N3)} rows: pass the processor's, one row a video"
        )
    patches = grids_N3[nth].tolist()
    merge = config.vision_config.spatial_merge_size
    T, H, W = patches[0], patches[1] // merge, patches[2] // merge
    if len(columns_K) != T * H * W:
        raise ValueError(
            f"document with video {nth} (counted from 0) has {len(columns_K)} video tokens, but row {nth} of "
            f"video_grid_thw, {patches}, makes {T} × {H} × {W} = {T * H * W} after merging {merge} × {merge} patches: "
            "do not truncate inside a video, keep one row of video_grid_thw a video, in the documents' order; several "
            "videos in one sample are not supported"
        )
    return Visual(columns_K, (T, H, W), config.vision_config.temporal_patch_size)
