"""What a plan asks of suites: which metrics they measure. Imports no torch."""

from collections.abc import Iterable

from swim import registry
from swim.recipe import SUITES


def families(suites: Iterable[str]) -> tuple[str, ...]:
    """How the names of the metrics begin that these suites measure."""
    return tuple(family for suite in suites for family in registry.module(SUITES, suite).FAMILIES)


def suite_of(metric: str, suites: Iterable[str]) -> str | None:
    """Which of these suites measures a metric; None where none does."""
    return next((suite for suite in suites if metric.startswith(families([suite]))), None)
