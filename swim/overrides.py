"""Dotted overrides of a recipe, checked against its types: a typo fails before anything runs."""

import difflib
from typing import Any

from pydantic import BaseModel

from swim.recipe import Recipe


def paths(config: BaseModel, prefix: str = "") -> list[str]:
    """Every dotted path of a config, branches and leaves (`init` is a recipe of its own and is not descended into)."""
    found = []
    for name in type(config).model_fields:
        found.append(prefix + name)
        child = getattr(config, name)
        if isinstance(child, BaseModel) and not isinstance(child, Recipe):
            found += paths(child, f"{prefix}{name}.")
    return found


def apply(recipe: Recipe, changes: dict[str, Any]) -> Recipe:
    """See `Recipe.override`."""
    known = paths(recipe)
    tree = recipe.model_dump()
    for path, value in changes.items():
        if path not in known:
            near = difflib.get_close_matches(path, known, n=1, cutoff=0.0)[0]
            raise ValueError(f"recipe {recipe.name!r} has no field {path!r}; the nearest is {near!r}")
        *parents, leaf = path.split(".")
        node = tree
        for parent in parents:
            node = node[parent]
        node[leaf] = value.model_dump() if isinstance(value, BaseModel) else value
    return Recipe.model_validate(tree)
