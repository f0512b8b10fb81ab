"""Which family a checkpoint is of: by `model_type` in its config.json, held against the recipe. Imports no torch, so
that a plan can ask."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from swim import registry
from swim.recipe import FAMILIES, HubModel


def family_name(model_type: str) -> str:
    """The entry of `swim.models.families` for a `config.model_type`. Raises ValueError, naming the file to write, where
    there is none."""
    name = model_type.replace("_", "-")
    if name not in registry.names(FAMILIES):
        raise ValueError(
            f"models of type {model_type!r} are not supported, {', '.join(registry.names(FAMILIES))} are: to add them, "
            f"write swim/models/families/{model_type}.py (swim/models/families/README.md says how)"
        )
    return name


def require_family(model: HubModel, model_type: Any) -> None:
    """Raises ValueError where a checkpoint of this type is not of the recipe's family."""
    if not isinstance(model_type, str):
        raise ValueError(f"{model.path}: config.json has no model_type, so its model is none that transformers loads")
    try:
        name = family_name(model_type)
    except ValueError as error:
        raise ValueError(f"{model.path}: {error}") from error
    if name != model.family:
        raise ValueError(
            f"model.family is {model.family!r}, and {model.path} is a {name!r}: set model.family to {name!r}, and "
            "model.layers, model.cell_px and data.frames.cell_px to what that model has"
        )


def check_folder(model: HubModel) -> None:
    """Raises ValueError for a local folder whose model is not of the recipe's family. A model of the hub is looked at
    when it is loaded."""
    if not (folder := Path(model.path)).is_dir():
        return
    try:
        config = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder} is no checkpoint: its config.json cannot be read ({error})") from error
    require_family(model, config.get("model_type") if isinstance(config, dict) else None)
