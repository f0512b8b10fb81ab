"""Recipes as people write them: files in TOML or JSON, whole or as changes of another recipe, and `path=value` texts.

    extends = "qwen2.5-vl-7b"      # a named recipe, or a file beside this one

    [optim]
    lr = 1e-5
    epochs = 3

Tables change the fields they name. A table with another `kind` than the recipe's replaces what is there.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from swim.recipe import Recipe, require_paths

_ENDINGS = (".json", ".toml")


def is_file_name(name: str) -> bool:
    """Whether a recipe's name is that of a file."""
    return name.endswith(_ENDINGS)


def load(path: Path, named: Callable[[str], Recipe], _files: tuple[Path, ...] = ()) -> Recipe:
    """The recipe of a file. `named` gives the recipe of a name.

    A file without `extends` is whole. One with it has the name of the recipe it changes with its own behind
    ("qwen2.5-vl-7b-mine" for mine.toml), unless it says `name`. Raises ValueError naming the file and what is wrong
    in it, and OSError where it cannot be read.
    """
    files = (*_files, path.resolve())
    if path.resolve() in _files:
        raise ValueError(f"{path}: it extends itself, over {' → '.join(file.name for file in files)}")
    try:
        content = path.read_text(encoding="utf-8")
        tree = tomllib.loads(content) if path.suffix == ".toml" else json.loads(content)
    except ValueError as error:  # of either syntax, or of UTF-8
        raise ValueError(f"{path}: {error}") from error
    if not isinstance(tree, dict):
        raise ValueError(f"{path}: a recipe is a table of fields, and this is a {type(tree).__name__}")
    extends = tree.pop("extends", None)
    if extends is None:
        try:
            return Recipe.model_validate_json(json.dumps(tree, default=str))
        except ValidationError as error:
            raise ValueError(f"{path}: {mistakes(error)} (for changes of another recipe write extends)") from error
    if not isinstance(extends, str):
        raise ValueError(f"{path}: extends is {extends!r}; give the name of a recipe or of a file")
    try:
        base = load(path.parent / extends, named, files) if is_file_name(extends) else named(extends)
        return change(base, {"name": f"{base.name}-{path.stem}"} | dict(_leaves(tree, base)))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _leaves(
    tree: Mapping[str, Any], config: BaseModel | Mapping[str, Any], above: str = ""
) -> Iterable[tuple[str, Any]]:
    """Dotted path → value of the fields of a table, down to where the recipe has no table or another kind of one."""
    for name, value in tree.items():
        current = config.get(name) if isinstance(config, Mapping) else getattr(config, name, None)
        same_kind = isinstance(value, Mapping) and value.get("kind") in (None, getattr(current, "kind", None))
        if same_kind and isinstance(current, BaseModel | Mapping) and not isinstance(current, Recipe):
            yield from _leaves(value, current, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def changes(assignments: Iterable[str], recipe: Recipe) -> dict[str, Any]:
    """Path → value of texts like "optim.lr=1e-5", for `change`.

    A value is what it is in JSON (`[1, 2]`, `null`, `{"rank": 8}`), and else a text (`max`, `even:6`); for a field that
    now holds a text, numbers are texts too. Raises ValueError, naming the nearest path, for a text of another form or
    a path that the recipe lacks or that is there twice.
    """
    changed: dict[str, Any] = {}
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals:
            raise ValueError(f"{assignment!r} is no change of a recipe: write path=value, as in optim.lr=1e-5")
        require_paths(recipe, [path])
        if path in changed:
            raise ValueError(f"{path} is changed twice: give it one value")
        changed[path] = _value(text, _at(recipe, path), path)
    return changed


def change(recipe: Recipe, changed: Mapping[str, Any]) -> Recipe:
    """`Recipe.override`, whose ValueError has a line of `path: what is wrong` for each mistake."""
    try:
        return recipe.override(dict(changed))
    except ValidationError as error:
        raise ValueError(mistakes(error)) from error


def mistakes(error: ValidationError) -> str:
    """What is wrong, without the input and the addresses that pydantic prints."""
    kinds = {"tiny", "hub", "shapes_world", "nl_refer"}  # pydantic puts them into its places
    problems = []
    for problem in error.errors():
        place = ".".join(str(part) for part in problem["loc"] if part not in kinds)
        problems.append(": ".join(filter(None, (place, problem["msg"].removeprefix("Value error, ")))))
    return "; ".join(problems)


def _at(recipe: Recipe, path: str) -> Any:
    value: Any = recipe
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else getattr(value, name)
    return value


def _value(text: str, current: Any, path: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{path} is {text}: give a finite number")
    if isinstance(value, bool) and isinstance(current, int | float) and not isinstance(current, bool):
        raise ValueError(f"{path} is {text}: give a number")
    return text if isinstance(current, str) and isinstance(value, int | float) else value
