"""What training a hub model needs of a GPU: memory, seconds a step, tokens a second and price, by arithmetic.

Speed is the peak of the card times a share of it that was measured once: Qwen2.5-VL-7B at 8,192 tokens, with layers
checkpointed and norms compiled, did 57 % (fp32 weights under autocast) and 61 % (bf16) of the dense bf16 operations of
an H200, recomputed ones counted, and 3 % fewer with the deterministic kernels that training runs with.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from swim.recipe import HubModel, Recipe, ShapesWorld
from swimlab.experiment.cards import Card
from swimlab.experiment.memory_forecast import Memory, Step, memory
from swimlab.experiment.model_shape import Shape, shape_of

SHARE = 0.55
# Of the frozen tower: 0.42e14 operations of 30,752 patches in 0.245 s, one attention call a layer, on the same H200.
TOWER_SHARE = 0.17
PASS_S = 0.02  # of a forward pass, whatever its length

# Text tokens of a conversation: of the embedded data as encoded, of a user's files a guess until they are prepared.
TURN_TOKENS = 25
LIST_TOKENS, LISTED_TOKENS = 12, 12
FILE_TOKENS = 200


@dataclass(frozen=True)
class RowTokens:
    """Tokens of a conversation: on average, and of the longest. `answer` are those of the text that are labels (of the
    longest); `basis` says where the numbers are from."""

    visual: float
    text: float
    longest_visual: int
    longest_text: int
    answer: int
    basis: str

    @property
    def mean(self) -> float:
        """Tokens of a conversation on average."""
        return self.visual + self.text


def policy_tokens(recipe: Recipe) -> RowTokens:
    """The most visual tokens that a recipe's frame policy allows, and a guess at the text."""
    frames, shape = recipe.data.frames, shape_of(recipe.model)
    if shape and shape.frame_tokens is not None:
        visual = frames.max_frames * shape.frame_tokens
    else:
        visual = frames.max_frames // 2 * max(1, frames.max_pixels // frames.cell_px**2)
    text = text_tokens(recipe)
    basis = f"the most that data.frames allows, and {text} of text" + (
        "" if isinstance(recipe.data, ShapesWorld) else " (a guess, until the data is prepared)"
    )
    return RowTokens(visual, text, visual, text, text, basis)


def text_tokens(recipe: Recipe) -> int:
    """Tokens of a conversation beside the video's."""
    data = recipe.data
    if not isinstance(data, ShapesWorld):
        return FILE_TOKENS
    if data.prompts == "list":
        return LIST_TOKENS + LISTED_TOKENS * data.objects
    return TURN_TOKENS * (1 if data.prompts == "caption" else min(data.turns, data.objects))


@dataclass(frozen=True)
class TrainingForecast:
    """Of one trial on `devices` cards of a kind. `step_s`: an optimiser step; `train_s`: all of them; `size_bytes`: the
    trained model as it is saved."""

    card: Card
    devices: int
    memory: Memory
    rows: RowTokens
    batch: int
    step_s: float
    train_s: float
    size_bytes: int

    @property
    def tokens_per_s(self) -> float:
        """Over all devices."""
        return self.batch * self.rows.mean / self.step_s

    @property
    def fits(self) -> bool:
        """Whether the peak leaves the card 1 GB for CUDA and libraries."""
        return self.memory.peak + 1e9 <= self.card.memory_gb * 1e9


def forecast(
    recipe: Recipe,
    rows: RowTokens,
    card: Card,
    *,
    workers: int = 0,
    shard: bool = False,
    micro_batch: int | None = None,
) -> TrainingForecast | None:
    """Of a recipe whose length is in steps; None for a model whose widths are not known from here, which is no hub one,
    or that computes in fp32, whose speed was never measured."""
    model, optim = recipe.model, recipe.optim
    shape = shape_of(model)
    if shape is None or not isinstance(model, HubModel) or model.dtype != "bfloat16":
        return None
    devices, together = max(1, workers), micro_batch or 1
    step = training_step(recipe, shape, rows, devices=devices, shard=shard, together=together)
    text, tower = step_flops(shape, model, rows)
    conversations = optim.batch / devices
    each_s = text / (SHARE * card.flops_per_s) + tower / (TOWER_SHARE * card.flops_per_s)
    step_s = conversations * each_s + step.passes * PASS_S
    saved = shape.weights * (4 if model.lora is None and model.weights == "float32" else 2)
    return TrainingForecast(
        card, devices, memory(shape, step), rows, optim.batch, step_s, step_s * optim.total_steps, saved
    )


def training_step(
    recipe: Recipe, shape: Shape, rows: RowTokens, *, devices: int = 1, shard: bool = False, together: int = 1
) -> Step:
    """The step of a hub recipe on a GPU, with `together` of the longest conversations in a forward pass."""
    model = recipe.model
    assert isinstance(model, HubModel)
    lora = model.lora
    return Step(
        tokens=together * (rows.longest_visual + rows.longest_text),
        visual=together * rows.longest_visual,
        labels=together * rows.answer,
        padded=together > 1,
        passes=math.ceil(recipe.optim.batch / devices / together),
        trained=model.weights,
        frozen=model.dtype,
        computed=model.dtype,
        checkpointed=model.layers - model.unchecked_layers if model.gradient_checkpointing else 0,
        adapters=shape.adapter_weights(lora) if lora else None,
        adapted=len(lora.targets) if lora else 0,
        supervised=recipe.objective.mask_weight > 0,
        shards=devices if shard else 1,
        copies=1 if shard else devices,
    )


def step_flops(shape: Shape, model: HubModel, rows: RowTokens) -> tuple[float, float]:
    """(text tower, vision tower) floating-point operations of training on one conversation, those of recomputed layers
    included; attention is causal in the text tower, and not counted in the vision tower."""
    tokens, layers = rows.mean, shape.layers
    matrices, attention = 2 * tokens * shape.layer_weights, 2 * tokens**2 * shape.query_width
    recomputed = layers - model.unchecked_layers if model.gradient_checkpointing else 0
    # Forward and backward to the activations and to the weights, which adapters spare.
    text = layers * (matrices * (2 + (model.lora is None)) + 3 * attention) + recomputed * (matrices + attention)
    patches = shape.patches(round(rows.visual))
    return text, 2.0 * patches * shape.vision_layers * shape.vision_layer_weights
