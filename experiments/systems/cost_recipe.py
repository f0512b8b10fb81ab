"""One fresh process of the cost measurement at the size of the recipe: what `train` does of `qwen2.5-vl-7b`, with its
vision tower, its optimiser and four micro-batches a step, on random weights."""

from __future__ import annotations

import statistics
from contextlib import ExitStack
from typing import Any

import torch

import gpu_model
from cost_worker import machine, mfu, peak_bytes
from gpu_model import SHAPES, Masks
from gpu_training import Training
from swim.deterministic import deterministic
from swim.models.fused import compiled_elementwise

CONVERSATIONS = 4  # micro-batches of one
# Size → shape, and dtype of the trained weights: fp32 under autocast, or bf16 beside fp32 masters.
SIZES = {
    "7b-recipe": ("7b", "float32"),
    "7b-recipe-bf16": ("7b", "bfloat16"),
    "tiny-recipe": ("tiny", "float32"),
    "tiny-recipe-bf16": ("tiny", "bfloat16"),
}
MASKS: dict[str, Masks] = {"sft": "360p", "swim": "360p", "swim-720p": "720p", "swim-1080p": "1080p"}


def measure(scheme: str, size_name: str, device: torch.device, steps: int) -> dict[str, Any]:
    """A `StepCost` without its round, and `machine`. Out of memory on the device is an outcome, not an error."""
    name, weights = SIZES[size_name]
    shape = SHAPES[name]
    row: dict[str, Any] = {"scheme": scheme, "size": size_name, "tokens": shape.tokens, "machine": machine(device)}
    row["text_tokens"] = shape.tokens - (shape.frames // 2) * (shape.side // shape.cell_px) ** 2
    recipe = gpu_model.recipe(shape, weights=weights, batch=CONVERSATIONS, mask_weight=0.0 if scheme == "sft" else 1.0)
    on_gpu = device.type == "cuda"
    clips = gpu_model.clips(shape, CONVERSATIONS, MASKS[scheme])
    try:
        with deterministic(0), ExitStack() as stack:
            training = Training(device, recipe, shape)
            if on_gpu:
                stack.enter_context(compiled_elementwise(training.model))
            feed = stack.enter_context(training.feed(clips, steps + 2))
            before = torch.cuda.memory_allocated() if on_gpu else peak_bytes(device)
            training.step(feed)
            training.step(feed)  # the first with the optimiser's states from its start
            peak = peak_bytes(device)
            times_s = [training.step(feed)[0] * CONVERSATIONS for _ in range(steps)]
    except torch.OutOfMemoryError:
        return row | {"outcome": "out of memory"}
    time_s = statistics.median(times_s)
    tokens_per_s = CONVERSATIONS * shape.tokens / time_s
    return row | {
        "time_s": time_s,
        "times_s": times_s,
        "peak_bytes": peak,
        "step_bytes": peak - before,
        "tokens_per_s": tokens_per_s,
        "mfu": mfu(CONVERSATIONS * shape.step_flops(shape.tokens) / time_s, row["machine"]),
    }
