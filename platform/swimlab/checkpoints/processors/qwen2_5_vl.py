"""Qwen2.5-VL."""

from __future__ import annotations

from typing import Any

from swim.data.family import Family
from swim.recipe import FramePolicy
from swimlab.checkpoints.processor_parts import qwen2

IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
VIDEO = "<|vision_start|><|video_pad|><|vision_end|>"


def config(family: Family, frames: FramePolicy, pictures: tuple[int, int]) -> dict[str, Any]:
    """See the package."""
    return qwen2(family.config, family.statistics, frames, pictures, "Qwen2_5_VLProcessor")
