"""Qwen2-VL: a video is one run of video tokens, T' steps of two frames, each (H', W') after the spatial merge.

The processor orders patches by merge window, so that every window becomes one token, and windows are in raster order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from swim.data import family
from swim.data.chat import CHATML, END, START, SYSTEM, Special
from swim.data.family import Size, Visual
from swim.data.mrope import Block, block_positions
from swim.data.pixels import CLIP, FRAMES_PER_PATCH, patchify
from swim.data.types import Clip

VISION_START, VISION_END = Special("<|vision_start|>"), Special("<|vision_end|>")
VIDEO = Special("<|video_pad|>")
VIDEO_TYPE = 2  # in `mm_token_type_ids`; without them M-RoPE silently becomes one-dimensional


class Family(family.Family):
    """Qwen2-VL, and what its successors share with it."""

    chat = replace(CHATML, system_prompt=SYSTEM)
    tokens = (START, END, VISION_START, VISION_END, VIDEO)
    visual_token = VIDEO
    statistics = CLIP
    frames_per_patch = FRAMES_PER_PATCH

    @property
    def cell_px(self) -> int:
        """Patch × merge."""
        vision = self.config.vision_config
        return int(vision.patch_size * vision.spatial_merge_size)

    @property
    def visual_id(self) -> int:
        """Of `<|video_pad|>`."""
        return int(self.config.video_token_id)

    def token_grid(self, size_THW: Size) -> tuple[int, int, int]:
        """(T', H', W') visual tokens of a video. Raises ValueError for frames that are no whole tokens."""
        T, H, W = size_THW
        if T % FRAMES_PER_PATCH or H % self.cell_px or W % self.cell_px:
            raise ValueError(
                f"{T} frames of {H} × {W} px: the model reads pairs of frames in cells of {self.cell_px} px"
            )
        return T // FRAMES_PER_PATCH, H // self.cell_px, W // self.cell_px

    def video(self, size_THW: Size, seconds_T: Sequence[float]) -> list[str]:
        """One run between vision start and end, as the chat template and processor write it."""
        T, H, W = self.token_grid(size_THW)
        return [VISION_START, *[VIDEO] * (T * H * W), VISION_END]

    def pixel_inputs(self, frames: Sequence[Tensor]) -> dict[str, Tensor]:
        """`pixel_values_videos`: the patches of all videos, one after another."""
        vision = self.config.vision_config
        patches = [patchify(f, vision.patch_size, vision.spatial_merge_size, self.statistics)[0] for f in frames]
        return {"pixel_values_videos": torch.cat(patches)}

    def token_inputs(self, ids_BL: Tensor, clips: Sequence[Clip]) -> dict[str, Tensor]:
        """Types of tokens, and the grid of each video in patches."""
        merge = self.config.vision_config.spatial_merge_size
        grids = [self.token_grid(clip.size_THW) for clip in clips]
        return {
            "mm_token_type_ids": (ids_BL == self.visual_id).int() * VIDEO_TYPE,
            "video_grid_thw": torch.tensor([(T, H * merge, W * merge) for T, H, W in grids]),
        }

    def locate(self, inputs: Mapping[str, Tensor], ids_L: Tensor, nth: int) -> Visual | None:
        """The document's video; its grid is row `nth` of `video_grid_thw` (patches), divided by `spatial_merge_size`.

        Raises ValueError when that row is missing, or is not the grid of as many tokens as the document has.
        """
        columns_K = (ids_L == self.visual_id).nonzero()[:, 0]
        if not len(columns_K):
            return None
        grids_N3 = inputs.get("video_grid_thw")
        if grids_N3 is None or nth >= len(grids_N3):
            raise ValueError(
                f"document with video {nth} (counted from 0) has {len(columns_K)} video tokens, but video_grid_thw has "
                f"{0 if grids_N3 is None else len(grids_N3)} rows: pass the processor's, one row a video"
            )
        patches = grids_N3[nth].tolist()
        merge = self.config.vision_config.spatial_merge_size
        T, H, W = patches[0], patches[1] // merge, patches[2] // merge
        if len(columns_K) != T * H * W:
            raise ValueError(
                f"document with video {nth} (counted from 0) has {len(columns_K)} video tokens, but row {nth} of "
                f"video_grid_thw, {patches}, makes {T} × {H} × {W} = {T * H * W} after merging {merge} × {merge} "
                "patches: do not truncate inside a video, keep one row of video_grid_thw a video, in the documents' "
                "order; several videos in one sample are not supported"
            )
        return Visual(columns_K, (T, H, W), self.config.vision_config.temporal_patch_size)

    def positions(self, inputs: Mapping[str, Tensor]) -> Tensor | None:
        """Position ids [3, B, L] (temporal, height, width) by the authors' rule."""
        images = [Block(grid) for grid in self.grids(inputs, "image_grid_thw")]
        return block_positions(inputs, {self.config.image_token_id: images, self.visual_id: self.video_blocks(inputs)})

    def video_blocks(self, inputs: Mapping[str, Tensor]) -> list[Block]:
        """Visual tokens that follow one another, in the order of the batch: one step a temporal patch."""
        return [Block(grid) for grid in self.grids(inputs, "video_grid_thw")]

    def grids(self, inputs: Mapping[str, Tensor], key: str) -> list[tuple[int, int, int]]:
        """The grids of images or videos, in visual tokens."""
        merge = self.config.vision_config.spatial_merge_size
        patches_N3 = inputs.get(key)
        rows = [] if patches_N3 is None else patches_N3.tolist()
        return [(T, H // merge, W // merge) for T, H, W in rows]
