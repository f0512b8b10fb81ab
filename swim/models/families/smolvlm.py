"""SmolVLM: a video is a series of images: `Frame from 00:01:`, an opening pair of tokens, one frame's tokens, a closing
one. A frame has (image side ÷ patch ÷ scale_factor)² tokens: the pixel shuffle joins squares of patches, raster order.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from swim.data.documents import Visual


def locate(config: Any, inputs: Mapping[str, Tensor], ids_L: Tensor, nth: int) -> Visual | None:
    """The document's frames: its runs of `image_token_id`.

    Raises ValueError when a run is not one frame, when the runs are tiles of a split image (each opens with another
    `<row_i_col_j>` token, frames all with the same), and when `pixel_values` holds another number of frames for it.
    """
    columns_K = (ids_L == config.image_token_id).nonzero()[:, 0]
    if not len(columns_K):
        return None
    vision = config.vision_config
    side = vision.image_size // vision.patch_size // config.scale_factor
    prefix = f"document with video {nth} (counted from 0) has"
    T = len(columns_K) // side**2
    if len(columns_K) != T * side**2 or bool((columns_K.reshape(T, -1).diff(dim=1) != 1).any()):
        raise ValueError(
            f"{prefix} {len(columns_K)} image tokens, no runs of {side} × {side}, which is one frame: do not truncate "
            "inside a frame, and check the processor's image_seq_len against the model's config"
        )
    before_T = columns_K[:: side**2] - 1
    if int(before_T[0]) < 0 or len(set(ids_L[before_T].tolist())) > 1:
        raise ValueError(
            f"{prefix} images whose tokens do not all follow the same opening token: tiles of a split image are no "
            "frames; give the processor a video, or images with do_image_splitting=False"
        )
    pixels = inputs.get("pixel_values")
    if pixels is not None and (frames := _frames(pixels, nth)) != T:
        raise ValueError(
            f"{prefix} the tokens of {T} frames, but pixel_values holds {frames} for it: do not truncate between "
            "frames; several videos in one sample are not supported"
        )
    return Visual(columns_K, (T, side, side), 1)


def _frames(pixels_BTCHW: Tensor, nth: int) -> int:
    """Frames of the nth sample that has any. Padding frames follow the real ones and are zeros, as for the model."""
    shown = pixels_BTCHW[:, 0].flatten(1).any(1).nonzero()[:, 0]
    return int(pixels_BTCHW[shown[nth]].flatten(1).any(1).sum()) if nth < len(shown) else 0
