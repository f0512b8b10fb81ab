"""Qwen2.5-VL: laid out as Qwen2-VL. The vision tower reorders patches for its windowed blocks, and undoes it."""

from swim.models.families.qwen2_vl import locate

__all__ = ["locate"]
