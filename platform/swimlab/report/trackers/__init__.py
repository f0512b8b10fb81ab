"""Experiment trackers, one file a tracker: `TARGET`, the field of `swimlab export` that says where to copy to ("out" or
"tracking_uri"), and `copy(trials, target)`, which returns how many trials it wrote and how many were there already.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from swimlab.report.tracked_trials import TrackedTrial


@dataclass(frozen=True)
class Tracker:
    """A file of this package."""

    target: str
    copy: Callable[[Iterable[TrackedTrial], str], tuple[int, int]]


def names() -> tuple[str, ...]:
    """The trackers there are."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def load(name: str) -> Tracker:
    """The tracker of a name that `names` lists."""
    module = importlib.import_module(f"{__name__}.{name}")
    return Tracker(module.TARGET, module.copy)
