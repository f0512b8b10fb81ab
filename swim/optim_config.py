"""How long and at what rate a recipe trains. Values only, as all of `swim.recipe`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field, model_validator

from swim.frozen import Frozen


class Optim(Frozen):
    """AdamW with linear warm-up and cosine decay. `batch` counts conversations over all ranks and micro-batches.

    How long is said in `steps` or in `epochs`, which are turned into steps when the clips are there and counted
    (`resolved`). With 0 steps the weights a recipe starts from are evaluated as they are.
    """

    steps: int | None = Field(120, ge=0)
    epochs: float | None = Field(None, gt=0)
    batch: int = Field(16, ge=1)
    lr: float = Field(2e-3, gt=0)
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-8
    weight_decay: float = 0.0
    warmup_steps: int = Field(20, ge=0)
    final_lr_fraction: float = Field(0.05, ge=0, le=1)
    clip_norm: float = Field(1.0, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _epochs_alone(cls, values: Any) -> Any:
        given = isinstance(values, Mapping) and values.get("epochs") is not None and "steps" not in values
        return {**values, "steps": None} if given else values

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError(f"optim.steps is {self.steps}, optim.epochs {self.epochs}: give one of the two")
        return self

    @property
    def trains(self) -> bool:
        """Whether anything is trained."""
        return self.steps != 0

    @property
    def total_steps(self) -> int:
        """The number of steps. Raises ValueError where epochs are given."""
        if self.steps is None:
            raise ValueError(f"optim.epochs is {self.epochs}: how many steps that is depends on the clips; give steps")
        return self.steps

    def resolved(self, rows: float) -> Optim:
        """A copy that says it in steps, for an epoch of so many rows: the least that reads all of them."""
        if self.epochs is None:
            return self
        # Rounded first: 0.1 of 30 rows is 3.0000000000000004.
        steps = math.ceil(round(self.epochs * rows / self.batch, 9))
        return self.model_copy(update={"steps": steps, "epochs": None})
