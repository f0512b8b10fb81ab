"""The recipe of a command line: a named one with the changes of --set."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence

from swim import recipe_files
from swim.recipe import Recipe
from swimlab.experiment.ablation import Ablation
from swimlab.experiment.run_settings import FlagError
from swimlab.experiment.search import Search

# Of a name with its changes: it is a folder of the store, and the head of a table.
MAX_NAME_CHARS = 80
_NOT_A_NAME = re.compile(r"[^A-Za-z0-9_.=@+-]+")


def changed(recipe: Recipe, assignments: Sequence[str]) -> Recipe:
    """The recipe with changes of the form `path=value` (`swim.recipe_files.changes`).

    Unless they name it, its name gets them behind it: results of a changed recipe have a page and a protocol of their
    own, and are not compared with what the paper says of the recipe as it is. Raises FlagError, naming the nearest
    path, for what is no field, does not fit or would have no effect.
    """
    if not assignments:
        return recipe
    try:
        changes = recipe_files.changes(assignments, recipe)
        if "seed" in changes:
            raise ValueError("seed is set by each trial: give their number, --seeds")
        return recipe_files.change(recipe, {"name": _name(recipe.name, assignments)} | changes)
    except ValueError as error:
        raise FlagError(f"--set: {error}") from error


def _name(name: str, assignments: Sequence[str]) -> str:
    full = "-".join([name, *sorted(assignments)])
    short = _NOT_A_NAME.sub(".", full)[:MAX_NAME_CHARS]
    return short if short == full else f"{short}-{hashlib.sha256(full.encode()).hexdigest()[:6]}"


def check_effect(assignments: Iterable[str], tables: Sequence[Ablation] | Search) -> None:
    """Raises FlagError for a change that no trial would have, since every arm of every table, or an axis of the search,
    sets the field itself."""
    for path in (assignment.partition("=")[0] for assignment in assignments):
        if isinstance(tables, Search):
            if any(_covers(axis.path, path) for axis in tables.space):
                raise FlagError(f"--set {path}: the search varies it, so that the value would have no effect")
        elif all(_sets(arm.changes, path) for table in tables for arm in table.arms):
            raise FlagError(f"--set {path}: every arm sets it itself, so that the value would have no effect")


def _sets(changes: Mapping[str, object], path: str) -> bool:
    return any(_covers(changed_path, path) for changed_path in changes)


def _covers(changed_path: str, path: str) -> bool:
    length = {"optim.steps", "optim.epochs"}
    return changed_path == path or path.startswith(f"{changed_path}.") or {changed_path, path} == length
