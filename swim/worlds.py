"""Worlds: replicates of a recipe that share nothing but the code.

Training runs that differ in the order of batches alone share a base, a draw of the data and a test set, and their
spread says nothing about another base (Bouthillier et al., "Accounting for Variance in Machine Learning Benchmarks",
MLSys 2021, arXiv 2103.03098). A world draws all of these anew.

Values only, like `swim.recipe`: this module is in no code fingerprint. The seeds that it draws are part of a trial's
id, so the rule may never change.
"""

from __future__ import annotations

import hashlib
from typing import Literal

from swim.recipe import Recipe, ShapesWorld, TinyModel

Replicate = Literal["world", "order"]
"""What the seeds of a table replicate: worlds, or orders of batches in one world."""


def world(recipe: Recipe, number: int, order: int | None = None) -> Recipe:
    """The recipe in one world. World 0 is the recipe as it is named.

    In another world the seeds of the data and of the initial weights are drawn from the number and from the seed that
    the recipe names, here and in the whole `init` chain: recipes that name the same base have the same base in each
    world. A checkpoint from a hub and a user's own files cannot be drawn anew and stay as they are.

    Args:
        recipe: a valid recipe; its own order of batches is replaced.
        number: of the world.
        order: the seed of the order of batches (and of what LoRA adapters start from); the world's number if None.
    """
    inside = recipe if number == 0 else _drawn_anew(recipe, number)
    return inside.model_copy(update={"seed": number if order is None else order})


def _drawn_anew(recipe: Recipe, number: int) -> Recipe:
    update: dict[str, object] = {"seed": recipe.seed + number}  # of a base, whose number is its own
    if isinstance(recipe.data, ShapesWorld):
        update["data"] = recipe.data.model_copy(update={"seed": _seed("data", recipe.data.seed, number)})
    if isinstance(recipe.model, TinyModel):
        update["model"] = recipe.model.model_copy(update={"seed": _seed("model", recipe.model.seed, number)})
    if recipe.init is not None:
        update["init"] = _drawn_anew(recipe.init, number)
    return recipe.model_copy(update=update)


def _seed(part: str, named: int, number: int) -> int:
    """31 bits. Sums would make world 1 of seed 0 the same as world 0 of seed 1."""
    digest = hashlib.sha256(f"{part} {named} in world {number}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
