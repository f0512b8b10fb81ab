"""Evaluation of a trained model: the suites of its recipe, right after training or later from a saved checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from swim import models, registry
from swim.data.clips import Clips, as_clips
from swim.data.types import Clip
from swim.models.vision import prepare_vision
from swim.outputs import Evaluated
from swim.recipe import SUITES, HubModel, Recipe
from swim.train import Trained, encoder_for


def run_suite(
    suite: str, recipe: Recipe, trained: Trained, clips: Clips | Sequence[Clip], micro_batch: int | None = None
) -> Evaluated:
    """What one suite of the recipe measures on held-out clips, `micro_batch` conversations a forward pass. Raises
    KeyError for a suite that the recipe does not have."""
    run = registry.load(SUITES, suite)
    result: Evaluated = run(recipe.evaluation[suite], recipe, trained, as_clips(clips), micro_batch)
    return result


def evaluate(
    recipe: Recipe, trained: Trained, clips: Clips | Sequence[Clip], micro_batch: int | None = None
) -> Evaluated:
    """What all suites of the recipe measure, together."""
    merged = Evaluated({}, [], [])
    for suite in recipe.evaluation:
        result = run_suite(suite, recipe, trained, clips, micro_batch)
        merged.metrics |= result.metrics
        merged.scores += result.scores
        merged.overlays += result.overlays
        merged.answers += result.answers
    return merged


def restore(recipe: Recipe, folder: Path, device: torch.device | None = None) -> Trained:
    """A trained model from the folder that `swim.models.save` wrote, to evaluate it. Its weights are those that were
    saved, in the precision in which they were trained; adapters are part of them."""
    spec = recipe.model
    if isinstance(spec, HubModel):
        # What is trained was saved in fp32, and loading in the model's own dtype would round it. The frozen tower was
        # saved in that dtype, so that the way back loses nothing.
        spec = spec.model_copy(update={"dtype": "float32", "lora": None, "gradient_checkpointing": False})
    model, tokenizer = models.build(spec, folder)
    if isinstance(recipe.model, HubModel):
        for _, parameter in models.vision_parameters(model):
            parameter.data = parameter.data.to(getattr(torch, recipe.model.dtype))
    device = device or torch.device("cpu")
    prepare_vision(model, device)
    model.to(device).eval()
    return Trained(model, tokenizer, encoder_for(recipe, model, tokenizer), [])
