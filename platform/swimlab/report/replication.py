"""What the seeds of a table replicate, in words that every page of it prints."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from swim.recipe import HubModel, Recipe, ShapesWorld
from swim.worlds import Replicate
from swimlab.stats import pairing
from swimlab.stats.pairing import Origin


def replication(recipe: Recipe, replicate: Replicate = "order") -> str:
    """A sentence or two: what differs between the seeds of a table on this recipe, and what all of its trials share."""
    if replicate == "world":
        return _worlds(recipe)
    if recipe.init is not None:
        start = f"one base (the weights of recipe {recipe.init.name})"
    else:
        start = "one checkpoint" if isinstance(recipe.model, HubModel) else "one draw of initial weights"
    return (
        f"Seeds replicate the order of batches{_adapters(recipe)} and nothing else: all trials share {start}, one data "
        "draw and one test set. The intervals do not cover another base, other data or another machine, where rounding "
        "leads to another base and some verdicts came out differently."
    )


def _worlds(recipe: Recipe) -> str:
    anew, same = [f"the order of batches{_adapters(recipe)}"], []
    if recipe.init is not None:
        anew.append(f"the base (recipe {recipe.init.name})")
    if isinstance(recipe.model, HubModel):
        same.append("the checkpoint")
    else:
        anew.append("the initial weights")
    if isinstance(recipe.data, ShapesWorld):
        anew.append("the clips to train on and to score")
    else:
        same.append("your files")
    text = (
        f"Each seed is a world of its own; drawn anew in each: {', '.join(anew)}. Differences are taken within a world."
    )
    if not same:
        return f"{text} Two worlds share the code alone."
    return f"{text} The same in all: {', '.join(same)}; no interval covers others."


def of_tables(replicates: Mapping[str, Replicate]) -> str:
    """A sentence about several tables (name → what its seeds are)."""
    orders = [name for name, replicate in replicates.items() if replicate == "order"]
    shared = "the trials of a table share one base, one data draw and one test set, and its verdicts are conditional"
    if len(orders) == len(replicates):
        return f"Seeds replicate the order of batches and nothing else: {shared} on them."
    text = "Seeds are worlds, each with data, base and order of batches of its own, as far as a recipe can draw them."
    return f"{text} In {', '.join(orders)} they replicate the order of batches: {shared} on them." if orders else text


def _adapters(recipe: Recipe) -> str:
    lora = isinstance(recipe.model, HubModel) and recipe.model.lora
    return " and the adapters' first values" if lora else ""


def machines(by_seed: Mapping[int, Mapping[str, Origin]]) -> str:
    """A sentence that says which worlds were made where, with a space before it; "" where all were made alike."""
    origins = {trial_id: origin for of_seed in by_seed.values() for trial_id, origin in of_seed.items()}
    groups = pairing.classes(origins)
    if len(groups) < 2:
        return ""
    where = "; ".join(f"seeds {', '.join(_seeds(by_seed, group.trial_ids))}: {group.label}" for group in groups)
    return f" Not all worlds were made on the same kind of machine ({where})."


def _seeds(by_seed: Mapping[int, Mapping[str, Origin]], trial_ids: Collection[str]) -> Iterator[str]:
    return (str(seed) for seed, origins in sorted(by_seed.items()) if not origins.keys().isdisjoint(trial_ids))
