"""Qwen3-VL: the video tokens of Qwen2-VL with text in between: `<1.5 seconds>`, vision start, one T' step, vision end.

So they are no slice of the row, which is why a `Visual` holds positions. The processor's `video_grid_thw` still has one
row a video; the model splits it into steps by itself, for its position ids.
"""

from swim.models.families.qwen2_vl import locate

__all__ = ["locate"]
