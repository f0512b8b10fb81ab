"""Rotary positions of a batch by the rule its model family was pretrained with, in training, evaluation and packing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swim import registry
from swim.data.family import family_of
from swim.recipe import FAMILIES


def with_positions(config: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords of a model's call, with `position_ids` where the family's own differ from those of transformers.

    `config` is `model.config`. Positions that are given stay; a family without positions of its own (or without a
    file), and a batch without visual tokens, need none. Raises ValueError from the family: visual tokens without token
    types, or that do not fill their grids.
    """
    if inputs.get("position_ids") is not None or inputs.get("input_ids") is None:
        return dict(inputs)
    if config.model_type.replace("_", "-") not in registry.names(FAMILIES):
        return dict(inputs)
    position_ids = family_of(config).positions(inputs)
    return dict(inputs) if position_ids is None else {**inputs, "position_ids": position_ids}
