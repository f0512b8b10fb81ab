"""The measurements of the GPU check: each builds its model, and takes steps as `swim.train` takes them.

What takes a step is `gpu_training`.
"""

from __future__ import annotations

import gc
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers import Qwen2_5_VLConfig
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel

import gpu_model
from gpu_model import SHAPES, Shape
from gpu_results import Results
from gpu_training import Change, Training, wait
from swim.deterministic import deterministic
from swim.models import vision
from swim.models.fused import compiled_elementwise
from swim.supervision.objective import SupervisedModel

BATCH, PAIRED_BATCH = 4, 2  # conversations (micro-batches) a step
# Layers that keep their activations: the first of these that fits. 8 of 28 took 130.5 GB in fp32 + autocast.
UNCHECKED = {"float32": (8, 4, 0), "bfloat16": (12, 8, 0)}


@dataclass(frozen=True)
class Check:
    """Where to measure, what to write to, and until when (`time.monotonic`) rounds may begin."""

    shape: Shape
    device: torch.device
    results: Results
    deadline_s: float
    rounds: int
    compiled: bool

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    def rounds_left(self, most: int) -> Iterator[int]:
        """Numbers of rounds, as long as there is time for one more like the longest; two in any case."""
        longest_s = 0.0
        for number in range(min(most, self.rounds)):
            began_s = time.monotonic()
            if number >= 2 and began_s + longest_s > self.deadline_s:
                return
            yield number
            longest_s = max(longest_s, time.monotonic() - began_s)

    def peak_gb(self) -> float | None:
        """Most memory allocated since the last call; None on a CPU."""
        if not self.on_gpu:
            return None
        peak = torch.cuda.max_memory_allocated() / 1e9
        torch.cuda.reset_peak_memory_stats()
        return peak

    def record_peak(self, part: str, name: str, **facts: Any) -> None:
        """Add the peak since the last call to the results."""
        if (peak := self.peak_gb()) is not None:
            self.results.add(part, name, "GB", peak, reserved_gb=torch.cuda.memory_reserved() / 1e9, **facts)


@contextmanager
def fitting(check: Check, part: str, weights: str, batch: int) -> Iterator[tuple[Training, int]]:
    """A training with as many unchecked layers as fit (it took two steps: the second has the optimiser's states from
    the start), and their number. What does not fit is recorded. Raises RuntimeError where nothing does."""
    for unchecked in dict.fromkeys(min(n, check.shape.layers) for n in UNCHECKED[weights]):
        recipe = gpu_model.recipe(check.shape, weights=weights, unchecked=unchecked, batch=batch)
        with ExitStack() as stack:
            try:
                check.peak_gb()
                training = Training(check.device, recipe, check.shape)
                if check.compiled:
                    stack.enter_context(compiled_elementwise(training.model))
                with training.feed(gpu_model.clips(check.shape, batch), 2) as feed:
                    for _ in range(2):
                        training.step(feed)
                check.record_peak(part, "peak", unchecked=unchecked)
            except torch.OutOfMemoryError as error:
                check.results.fail(part, f"{unchecked} unchecked layers: {str(error).splitlines()[0]}")
            else:
                yield training, unchecked
                return
        training = feed = None  # type: ignore[assignment]
        gc.collect()
        torch.cuda.empty_cache()
    raise RuntimeError(f"{part}: not even with all layers checkpointed does a step fit")


def timed(check: Check, part: str, name: str, training: Training, change: Change | None = None, **facts: Any) -> None:
    """Rounds of steps, after one that warms up."""
    conversations = gpu_model.clips(check.shape, training.recipe.optim.batch)
    with training.feed(conversations, 1 + check.rounds) as feed:
        training.step(feed, change=change)
        check.peak_gb()
        for _ in check.rounds_left(8):
            took_s, _values = training.step(feed, change=change)
            check.results.add(part, name, "s", took_s, tokens_per_s=check.shape.tokens / took_s, **facts)
            check.record_peak(part, "peak")


def autocast(check: Check) -> None:
    """fp32 weights under bf16 autocast, which is the recipe `qwen2.5-vl-7b`, with its tower."""
    with fitting(check, "autocast", "float32", BATCH) as (training, unchecked):
        timed(check, "autocast", "step", training, unchecked=unchecked)


def masters(check: Check) -> None:
    """bf16 weights with fp32 masters in the optimiser: with the tower, and with given features."""
    with fitting(check, "masters", "bfloat16", BATCH) as (training, unchecked):
        half = replace(check, deadline_s=(time.monotonic() + check.deadline_s) / 2)
        timed(half, "masters", "step", training, unchecked=unchecked)
        timed(check, "masters", "step, features given", training, given_features(check), unchecked=unchecked)


def given_features(check: Check) -> Change:
    """Batches whose frames are replaced by random features of their visual tokens."""
    shape = check.shape
    cells = (shape.frames // 2) * (shape.side // shape.cell_px) ** 2
    features_KC = torch.randn(cells, shape.hidden, dtype=torch.bfloat16).to(check.device)
    given = {"mm_encoder_outputs": {"video": BaseModelOutputWithPooling(pooler_output=[features_KC])}}  # type: ignore[arg-type]
    return lambda batches: [replace(batch, frames=(), tokens=batch.tokens | given) for batch in batches]


def overhead(check: Check) -> None:
    """Supervision ÷ plain SFT: the same weights, tower and optimiser, steps taken in turn."""
    with fitting(check, "overhead", "bfloat16", PAIRED_BATCH) as (training, unchecked), ExitStack() as stack:
        supervised = training.recipe
        plain = supervised.override({"objective.mask_weight": 0.0})
        schemes = {
            name: (recipe, SupervisedModel(training.model, recipe.objective), stack.enter_context(feed))
            for name, recipe, masks in (
                ("sft", plain, "360p"),
                ("small masks", supervised, "360p"),
                ("large masks", supervised, "1080p"),
            )
            for feed in [training.feed(gpu_model.clips(check.shape, PAIRED_BATCH, masks), check.rounds + 1, recipe)]
        }
        names = list(schemes)
        for recipe, module, feed in schemes.values():  # warm up
            training.step(feed, recipe, module)
        check.peak_gb()
        for number in check.rounds_left(16):
            first = number % len(names)
            for name in names[first:] + names[:first]:
                recipe, module, feed = schemes[name]
                took_s, _ = training.step(feed, recipe, module)
                check.results.add("overhead", name, "s", took_s, unchecked=unchecked)
                check.record_peak("overhead", f"peak {name}")


def numerics(check: Check) -> None:
    """Losses of the first steps against fp32 on a narrow model with sharpened attention, and the tower's features."""
    shape = SHAPES["narrow"] if check.on_gpu else check.shape
    steps = 6 if check.on_gpu else 2
    runs = {
        "fp32": gpu_model.recipe(shape, dtype="float32", batch=2),
        "autocast": gpu_model.recipe(shape, batch=2),
        "masters": gpu_model.recipe(shape, weights="bfloat16", batch=2),
    }
    weights: dict[str, Tensor] = {}
    losses: dict[str, list[dict[str, float]]] = {}
    for name, recipe in runs.items():
        training = Training(check.device, recipe, shape)
        weights = weights or sharpened(training.model.state_dict())
        training.model.load_state_dict(weights)
        with training.feed(gpu_model.clips(shape, 2), steps) as feed:
            losses[name] = [training.step(feed)[1] for _ in range(steps)]
        for got, exact in zip(losses[name], losses["fp32"], strict=True):
            for loss in ("text_loss", "mask_loss") if name != "fp32" else ():
                error = abs(got[loss] / exact[loss] - 1)
                check.results.add("numerics", f"{loss}, {name} against fp32", "rel.", error)
    tower(check)


def sharpened(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights rounded to bf16, as a checkpoint has them, with attention scores of a standard deviation near 3: random
    weights attend evenly, which hides errors."""
    sharp = re.compile(r"language_model.*\.[qk]_proj\.weight")
    return {name: (t.float() * (4.0 if sharp.search(name) else 1.0)).bfloat16() for name, t in state.items()}


def tower(check: Check) -> None:
    """Features of the vision tower in bf16 against fp32, and its time: as transformers runs it, and prepared."""
    shape = check.shape
    config = Qwen2_5_VLConfig(vision_config=shape.vision).vision_config
    torch.manual_seed(0)
    with check.device:
        exact = Qwen2_5_VisionTransformerPretrainedModel._from_config(config, attn_implementation="sdpa").eval()
    grid = torch.tensor([[shape.frames // 2, *(2 * [shape.side // shape.vision["patch_size"]])]], device=check.device)
    width = 3 * 2 * shape.vision["patch_size"] ** 2
    patches = torch.randn(int(grid.prod()), width, device=check.device)
    exact.requires_grad_(False)
    expected = features(exact, patches, grid)
    visual = exact.bfloat16()

    def measured(name: str) -> None:
        got = features(visual, patches, grid)
        error = float((got.float() - expected).norm() / expected.norm())
        check.results.add("numerics", f"tower, {name}, against fp32", "rel.", error)
        for _ in range(5 if check.on_gpu else 1):
            wait(check.device)
            began_s = time.perf_counter()
            features(visual, patches, grid)
            wait(check.device)
            check.results.add("numerics", f"tower, {name}", "s", time.perf_counter() - began_s)

    measured("sdpa")
    vision.use_varlen_attention(visual)
    measured("varlen")
    vision.pad_mlps(visual)
    measured("varlen, padded")
    if check.compiled:
        with compiled_elementwise(visual):
            features(visual, patches, grid)
            measured("varlen, padded, compiled")


@torch.no_grad()
def features(visual: Any, patches: Tensor, grid: Tensor) -> Tensor:
    """The visual tokens of a video."""
    out: Tensor = visual(patches.to(visual.dtype), grid_thw=grid).pooler_output
    return out


PARTS: dict[str, Callable[[Check], None]] = {
    "autocast": autocast,
    "masters": masters,
    "overhead": overhead,
    "numerics": numerics,
}


def run_part(name: str, check: Check) -> None:
    """One part under the conditions of training (`swim.deterministic`). What it raises is recorded as its failure."""
    try:
        with deterministic(0):
            PARTS[name](check)
    except Exception as error:  # the other parts are still worth measuring
        check.results.fail(name, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
        raise
