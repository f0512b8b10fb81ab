"""Qwen3-VL: the video tokens of Qwen2-VL with text in between: `<1.5 seconds>`, vision start, one T' step, vision end.

So they are no slice of the row, which is why a `Visual` holds positions. The processor's `video_grid_thw` still has one
row a video.

In the release of the model (transformers 4.57, and in vLLM) these steps replace the `<|vision_start|><|video_pad|>
<|vision_end|>` of the chat template; since 5.12 transformers replaces the middle token alone, which leaves another pair
around the whole video (vllm-project/vllm#46817). Here it is as in the release.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor

from swim.data.chat import CHATML
from swim.data.family import Size
from swim.data.mrope import Block
from swim.data.pixels import FRAMES_PER_PATCH, HALF
from swim.models.families import qwen2_vl
from swim.models.families.qwen2_vl import VIDEO, VISION_END, VISION_START


class Family(qwen2_vl.Family):
    """Qwen3-VL. Its chat template begins with no system prompt."""

    chat = CHATML
    statistics = HALF

    def video(self, size_THW: Size, seconds_T: Sequence[float]) -> list[str]:
        """Each step behind its time, the middle of its frames'."""
        T, H, W = self.token_grid(size_THW)
        parts: list[str] = []
        for step in range(T):
            first, *_, last = seconds_T[step * FRAMES_PER_PATCH : (step + 1) * FRAMES_PER_PATCH]
            parts += [f"<{(first + last) / 2:.1f} seconds>", VISION_START, *[VIDEO] * (H * W), VISION_END]
        return parts

    def video_blocks(self, inputs: Mapping[str, Tensor]) -> list[Block]:
        """Every step is a block of its own, since the text in between tells the time."""
        return [Block((1, H, W)) for T, H, W in self.grids(inputs, "video_grid_thw") for _ in range(T)]
