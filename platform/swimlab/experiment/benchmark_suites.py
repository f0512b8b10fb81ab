"""How a benchmark is asked whose metrics a table shows: what an experiment file may declare of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import ModuleType

from swim import registry
from swimlab.base.nearest import nearest
from swimlab.experiment.arms import Metric

SCORERS = "swim.evaluation.scorers"


@dataclass(frozen=True)
class BenchmarkSuite:
    """How a benchmark is asked: its `scorer`, the arm of prompts (`swim.evaluation.prompts`), and the most tokens of an
    answer. Raises ValueError for a scorer that is no benchmark, and for an arm that does not exist."""

    scorer: str
    prompts: str = "text"
    max_new_tokens: int = 512

    def __post_init__(self) -> None:
        if self.scorer not in PUBLISHED:
            raise ValueError(f"no benchmark {self.scorer!r}{nearest(self.scorer, PUBLISHED)}: {', '.join(PUBLISHED)}")
        registry.module_name("swim.evaluation.prompts", self.prompts)

    @property
    def module(self) -> ModuleType:
        """The scorer's module."""
        return registry.module(SCORERS, self.scorer)

    @property
    def flag(self) -> str:
        """The flag that names its rows."""
        return f"--{self.scorer}"

    def measures(self, metric: str) -> bool:
        """Whether a metric, by its name without a judge, is this benchmark's."""
        return metric.startswith(tuple(self.module.FAMILIES))


# The number of rows that the authors published, which a plan assumes until the user's file is named.
PUBLISHED = {"bench-d": 400, "bench-q": 1000}
DEFAULTS = (BenchmarkSuite("bench-d"), BenchmarkSuite("bench-q", prompts="letter"))


def benchmarks_of(
    metrics: Sequence[Metric], declared: Sequence[BenchmarkSuite], recipe_name: str
) -> tuple[BenchmarkSuite, ...]:
    """The benchmarks that these metrics are of under a recipe, as `declared`, else as by default."""
    ways = {suite.scorer: suite for suite in (*DEFAULTS, *declared)}
    names = [replace(metric, judge="").measured(recipe_name) for metric in metrics]
    # Whether a name looks like a benchmark's, before scorers are imported: they take scipy, and most tables have none.
    return tuple(
        suite
        for suite in ways.values()
        if any(name.startswith(suite.scorer.replace("-", "_")) and suite.measures(name) for name in names)
    )
