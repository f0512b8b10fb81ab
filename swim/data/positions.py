"""Rotary positions of a batch by the rule its model family was pretrained with, in training, evaluation and packing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from swim import registry

FAMILIES = "swim.models.families"


def with_positions(config: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords of a model's call, with `position_ids` where the family's own differ from those of transformers.

    `config` is `model.config`. Positions that are given stay; a family without a function `positions` (or without a
    file), and a batch without visual tokens, need none. Raises ValueError from the family's function: visual tokens
    without token types, or that do not fill their grids.
    """
    family = config.model_type.replace("_", "-")
    if inputs.get("position_ids") is not None or inputs.get("input_ids") is None:
        return dict(inputs)
    if family not in registry.names(FAMILIES):
        return dict(inputs)
    rule = getattr(registry.module(FAMILIES, family), "positions", None)
    position_ids: Tensor | None = rule(config, inputs) if rule else None
    return dict(inputs) if position_ids is None else {**inputs, "position_ids": position_ids}
