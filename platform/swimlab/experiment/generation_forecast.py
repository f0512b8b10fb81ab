"""How long a hub model takes to answer a benchmark's rows on a GPU, by arithmetic and one guess."""

from __future__ import annotations

from swim.recipe import HubModel, Recipe
from swimlab.experiment.cards import Card
from swimlab.experiment.model_shape import shape_of
from swimlab.experiment.training_forecast import SHARE, TOWER_SHARE, policy_tokens

# Of one token in one layer: small kernels wait for their launches, whatever the card. A guess, not measured.
LAYER_TOKEN_S = 1e-3
# Tokens of an answer, a guess: a paragraph, and a letter.
ANSWER_TOKENS = {"bench-d": 150, "bench-q": 4}


def answer_s(recipe: Recipe, card: Card, answer_tokens: int, batch: int = 1) -> float | None:
    """Seconds of one answer: the prompt once through tower and text, then token by token with `batch` answers side by
    side. None for a model whose widths are not known from here, or that computes in fp32."""
    model = recipe.model
    shape = shape_of(model)
    if shape is None or not isinstance(model, HubModel) or model.dtype != "bfloat16":
        return None
    rows = policy_tokens(recipe)
    tokens = rows.mean
    text = shape.layers * (2 * tokens * shape.layer_weights + 2 * tokens**2 * shape.query_width)
    tower = 2.0 * shape.patches(round(rows.visual)) * shape.vision_layers * shape.vision_layer_weights
    prompt_s = text / (SHARE * card.flops_per_s) + tower / (TOWER_SHARE * card.flops_per_s)
    return prompt_s + answer_tokens * shape.layers * LAYER_TOKEN_S / batch
