"""LLaVA-OneVision: a video is one run of video tokens: every frame's pooled grid in raster order, then one newline.

Each frame is resized to the tower's square, its patch grid halved (rounded up) by bilinear pooling.

Answers begin as the chat template prompts for them, `assistant` and a newline, which is also how the authors trained;
in finished messages the template has a blank before the newline.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from swim.data import family
from swim.data.chat import END, START, Chat, Message, Special
from swim.data.family import Size, Visual
from swim.data.pixels import HALF, squares

VIDEO = Special("<video>")


class Family(family.Family):
    """LLaVA-OneVision. `statistics` are those of its checkpoints; the class of the processor has others by default."""

    chat = Chat(
        human=Message((START, "user "), (END,), lead="\n"),
        answer=Message((START, "assistant\n"), (END,)),
        system=Message((START, "system "), (END,), lead="\n"),
    )
    tokens = (START, END, VIDEO)
    visual_token = VIDEO
    statistics = HALF
    frames_per_patch = 1

    @property
    def cell_px(self) -> int:
        """Two patches. (A token of 384 px and patches of 14 is 27.4 px: frames are resized to the square anyway.)"""
        return 2 * int(self.config.vision_config.patch_size)

    @property
    def visual_id(self) -> int:
        """Of `<video>`."""
        return int(self.config.video_token_id)

    @property
    def side(self) -> int:
        """Visual tokens on a side of a frame."""
        vision = self.config.vision_config
        return math.ceil(int(vision.image_size // vision.patch_size) / 2)

    @property
    def frame_tokens(self) -> int:
        """The pooled grid."""
        return self.side**2

    def video(self, size_THW: Size, seconds_T: Sequence[float]) -> list[str]:
        """One run, as long as the processor makes it."""
        return [VIDEO] * (size_THW[0] * self.frame_tokens + 1)

    def pixel_inputs(self, frames: Sequence[Tensor]) -> dict[str, Tensor]:
        """`pixel_values_videos`, [B, T, C, side, side]."""
        if len(lengths := {len(frames_THWC) for frames_THWC in frames}) > 1:
            raise ValueError(
                f"videos of {', '.join(map(str, sorted(lengths)))} frames in one forward pass, and the model reads "
                "videos of one length: set the micro-batch to 1"
            )
        side = self.config.vision_config.image_size
        return {"pixel_values_videos": torch.stack([squares(f, side, self.statistics) for f in frames])}

    def locate(self, inputs: Mapping[str, Tensor], ids_L: Tensor, nth: int) -> Visual | None:
        """The document's video without its newline token. All videos of a batch have the frames of
        `pixel_values_videos`; where features were computed beforehand and it is absent, the tokens say how many frames
        there are.

        Raises ValueError when the tokens are not the frames' grids and one newline.
        """
        columns_L = (ids_L == self.visual_id).nonzero()[:, 0]
        if not len(columns_L):
            return None
        side = self.side
        pixels = inputs.get("pixel_values_videos")
        frames = (len(columns_L) - 1) // side**2 if pixels is None else pixels.shape[1]
        if len(columns_L) != frames * side**2 + 1:
            raise ValueError(
                f"document with video {nth} (counted from 0) has {len(columns_L)} video tokens, but {frames} frames of "
                f"{side} × {side} tokens and one newline make {frames * side**2 + 1}: do not truncate inside a video; "
                "several videos in one sample are not supported"
            )
        return Visual(columns_L[:-1], (frames, side, side), 1)
