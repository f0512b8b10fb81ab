"""What a trial will cost when the store has no similar one: its arithmetic, at the speed of this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from swim.recipe import HubModel, Recipe, ShapesWorld, TinyModel
from swimlab.experiment import machine_probe
from swimlab.experiment.cost_forecast import FIRST, CostEstimate
from swimlab.experiment.memory_forecast import BYTES
from swimlab.experiment.model_shape import Shape, shape_of
from swimlab.experiment.training_forecast import policy_tokens

# Calibration: seconds a step of tiny recipes, batch 16 unless said, one thread, torch 2.13 (an idle machine / two cores
# shared with others; by these constants). Hard-look, 4 layers × 128 wide: .31 to .38 / .43 to .52; .39. The same with
# batch 8: – / .25; .19. Lists of two: .25 / .34; .27. Captions: – / .40; .24. 12 layers × 64 wide: .43 / .83; .69.
# Matrix products run near the probe's rate. What is done to each attention score beside them (mask, softmax, and back)
# took as long as FLOPS_A_SCORE; without it the deep, thin model came out at .28.
EFFICIENCY = 0.9
FLOPS_A_SCORE = 1400.0
# A held-out clip took what a training step takes for one, three passes: its maps are read by two rulers.
EVAL_PASSES = 3.0
# Of a trial that trains nothing, in a process that has run one before.
START_S = 1.0
OFF_TINY = 2  # times, either way, of what is above: at most 1.7


@dataclass(frozen=True)
class Work:
    """Floating-point operations of a trial, attention scores included at their price, and the `rows` of its matrix
    products: tokens of a batch."""

    train_flops: float
    eval_flops: float
    rows: int
    shape: Shape


def first_estimate(recipe: Recipe, cache_dir: Path) -> CostEstimate | None:
    """For one thread of this machine's CPU, as trials run; None for a model whose size cannot be known from here."""
    if (needs := work(recipe)) is None:
        return None
    shape = needs.shape
    rate = EFFICIENCY * machine_probe.flops_per_s(needs.rows, shape.hidden, shape.intermediate, cache_dir)
    took_s = START_S + (needs.train_flops + needs.eval_flops) / rate
    size = shape.weights * BYTES[recipe.model.dtype if isinstance(recipe.model, HubModel) else "float32"]
    return CostEstimate(took_s, took_s, size, 0, FIRST, "one CPU thread")


def reach(recipe: Recipe) -> str:
    """What a first estimate is based on and how far it may be off, in words."""
    text = "a first estimate, from the recipe's arithmetic and the probed speed of one thread of this CPU"
    if isinstance(recipe.model, TinyModel):
        return f"{text}: right within a factor of {OFF_TINY}"
    return (
        f"{text}: an order of magnitude, fitted on tiny models, without evaluation; a GPU is far faster, and unprobed"
    )


def work(recipe: Recipe) -> Work | None:
    """Forward and backward passes over the text tower with its attention, a forward pass of the frozen vision tower
    for every clip, and as much for every held-out clip of the embedded data (of a user's files the number of rows is
    not known before they are read)."""
    if (shape := shape_of(recipe.model)) is None:
        return None
    frames, optim, model, longest = recipe.data.frames, recipe.optim, recipe.model, policy_tokens(recipe)
    visual, tokens = longest.longest_visual, longest.longest_visual + longest.longest_text
    text = tokens * shape.layers * (2 * shape.layer_weights + 4 * tokens * shape.hidden)
    patches = 4 * visual
    near = min(patches, 4 * max(1, frames.max_pixels // frames.cell_px**2))  # attention stays in a temporal patch
    vision = patches * shape.vision_layers * (2 * shape.vision_layer_weights + 4 * near * shape.vision_hidden)
    # Forward, then backward to the activations and to the weights; adapters leave the weights alone.
    text_passes = 3.0
    if isinstance(model, HubModel):
        text_passes += model.gradient_checkpointing - (model.lora is not None)
    scores = FLOPS_A_SCORE * shape.layers * shape.heads * tokens**2
    held_out = recipe.data.held_out if isinstance(recipe.data, ShapesWorld) else 0
    return Work(
        train_flops=optim.total_steps * optim.batch * (text_passes * text + scores + vision),
        eval_flops=held_out * (EVAL_PASSES * text + scores + vision),
        rows=tokens * optim.batch,
        shape=shape,
    )
