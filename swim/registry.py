"""Registries of choices: a package is a registry, its modules are the entries.

Adding `swim/supervision/losses/huber.py` adds the loss "huber" (underscores in the file name read as dashes). An
entry that is not selected is not imported and no part of a trial's identity.
"""

import difflib
import importlib
import pkgutil
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any


@cache
def names(package: str) -> tuple[str, ...]:
    """The entries of a registry package, sorted."""
    return tuple(sorted(m.name.replace("_", "-") for m in pkgutil.iter_modules(_folders(package))))


def _folders(package: str) -> list[str]:
    """Where a package is, found without importing those above it: `swim.models` imports torch."""
    if package in sys.modules:
        return list(sys.modules[package].__path__)
    root, *below = package.split(".")
    return [str(Path(folder, *below)) for folder in importlib.import_module(root).__path__]


def module_name(package: str, name: str) -> str:
    """The module behind an entry. Raises ValueError naming the nearest entry when there is none."""
    if name not in names(package):
        near = difflib.get_close_matches(name, names(package), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"{package} has no {name!r}{hint} (choices: {', '.join(names(package))})")
    return f"{package}.{name.replace('-', '_')}"


def known(package: str) -> Callable[[str], str]:
    """A check that a name is an entry of `package`, for the field of a schema; it raises as `module_name` does."""

    def check(name: str) -> str:
        module_name(package, name)
        return name

    return check


def module(package: str, name: str) -> ModuleType:
    """The imported module of an entry. Raises ValueError like `module_name`."""
    return importlib.import_module(module_name(package, name))


def load(package: str, name: str) -> Callable[..., Any]:
    """The function an entry's module exports under the name its package states in `EXPORT`."""
    export: str = importlib.import_module(package).EXPORT
    function: Callable[..., Any] = getattr(module(package, name), export)
    return function
