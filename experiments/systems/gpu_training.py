"""Training steps on a model of random weights, taken as `swim.train` takes them.

Batches come from the product's own thread, which encodes, plans and pins the next ones during a step.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator

import torch

import gpu_model
from gpu_model import Shape
from swim.data.encode import Batch
from swim.data.prefetch import Prefetch
from swim.data.types import Clip
from swim.feed import step_batches
from swim.optimizer import build_optimizer
from swim.recipe import Recipe
from swim.supervision.objective import SupervisedModel, mask_weight
from swim.train import optimiser_step

Change = Callable[[list[Batch]], list[Batch]]


def wait(device: torch.device) -> None:
    """Until the device is idle."""
    if device.type == "cuda":
        torch.cuda.synchronize()


class Training:
    """A model and its optimiser, and the steps of `swim.train` on them."""

    def __init__(self, device: torch.device, recipe: Recipe, shape: Shape) -> None:
        self.device, self.recipe, self.shape = device, recipe, shape
        self.model = gpu_model.random_model(shape, recipe.model, device)  # type: ignore[arg-type]
        self.module = SupervisedModel(self.model, recipe.objective)
        self.optimizer = build_optimizer(self.module.parameters(), recipe.optim)

    def feed(self, clips: list[Clip], steps: int, recipe: Recipe | None = None) -> Prefetch[list[Batch]]:
        """The batches of so many steps; the clips are repeated."""
        recipe = recipe or self.recipe
        return Prefetch(
            step_batches(
                recipe,
                itertools.cycle(clips),
                gpu_model.encoder(self.shape),
                self.model,
                steps=steps,
                share=recipe.optim.batch,
                device=self.device,
            )
        )

    def step(
        self,
        feed: Iterator[list[Batch]],
        recipe: Recipe | None = None,
        module: SupervisedModel | None = None,
        change: Change | None = None,
    ) -> tuple[float, dict[str, float]]:
        """(seconds a conversation, values) of one optimiser step, waiting for its batches included. Raises
        FloatingPointError for a loss that is not finite."""
        recipe, module = recipe or self.recipe, module or self.module
        wait(self.device)
        began_s = time.perf_counter()
        batches = change(next(feed)) if change else next(feed)
        weight = mask_weight(recipe.objective, 1.0)
        values = optimiser_step(module, self.optimizer, batches, recipe, weight, self.device)
        wait(self.device)
        took_s = time.perf_counter() - began_s
        if not math.isfinite(values["loss"]):
            raise FloatingPointError(f"the loss is {values['loss']}")
        return took_s / recipe.optim.batch, values
