"""The benchmarks that a table's metrics are of: asked after training, of rows that the user names, scored by a scorer
of `swim.evaluation.scorers`, some by a judge.

Neither benchmark nor judge is part of a trial's name. The judge is part of its metrics' names and of the protocol.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from swim import registry
from swim.recipe import FramePolicy, NLReferFiles, Recipe
from swimlab.experiment.ablation import Ablation
from swimlab.experiment.arms import Metric
from swimlab.experiment.benchmark_settings import BenchmarkSettings
from swimlab.experiment.benchmark_suites import SCORERS, BenchmarkSuite, benchmarks_of
from swimlab.identity.naming import Identifier, IdentityError


@dataclass(frozen=True)
class PlannedBenchmark:
    """A benchmark of a table as the command line completes it. `file` None: its rows are not named; `judge` "": it asks
    none, or which is not said; `declared`: what the protocol says of it."""

    suite: BenchmarkSuite
    file: str | None
    videos: str
    judge: str
    declared: Mapping[str, Any] = field(default_factory=dict)

    def data(self, frames: FramePolicy) -> NLReferFiles:
        """Its rows, with the pictures that a model was trained on. Raises ValueError where the file is not named."""
        if self.file is None:
            raise ValueError(f"the rows of {self.suite.scorer} are not named ({self.suite.flag})")
        return NLReferFiles(
            annotations=(self.file,),
            videos=self.videos,
            formats=(self.suite.scorer,),
            frames=frames,
            placeholders="keep" if self.suite.prompts == "contour" else "refuse",
        )

    @property
    def missing(self) -> tuple[str, ...]:
        """What has to be named before it can be measured, in sentences; nothing is downloaded."""
        rows = f"{self.suite.flag} FILE names its rows, --bench-videos FOLDER their videos; nothing is downloaded"
        judge = "--judge MODEL names who grades the answers, --judge-url its server"
        return ((rows,) if self.file is None else ()) + (
            (judge,) if self.suite.module.JUDGED and not self.judge else ()
        )


def planned(
    ablation: Ablation, recipe: Recipe, settings: BenchmarkSettings, identifier: Identifier
) -> tuple[Ablation, tuple[PlannedBenchmark, ...]]:
    """The benchmarks of a table under a recipe and flags, and the table with their judge in the names of its metrics.
    Raises IdentityError for rows that cannot be read."""
    suites = benchmarks_of(ablation.metrics, ablation.benchmarks, recipe.name)
    if not suites:
        return ablation, ()
    planned = tuple(_planned(suite, recipe, settings, identifier) for suite in suites)
    judges = {item.suite: item.judge for item in planned}

    def graded(metric: Metric) -> Metric:
        name = replace(metric, judge="").measured(recipe.name)
        return replace(metric, judge=next((judges[suite] for suite in suites if suite.measures(name)), ""))

    return replace(ablation, metrics=tuple(map(graded, ablation.metrics))), planned


def _planned(
    suite: BenchmarkSuite, recipe: Recipe, settings: BenchmarkSettings, identifier: Identifier
) -> PlannedBenchmark:
    file = {"bench-d": settings.bench_d, "bench-q": settings.bench_q}[suite.scorer]
    of_q = suite.scorer == "bench-q" and settings.bench_videos_q
    judge = (settings.judge or "") if suite.module.JUDGED else ""
    item = PlannedBenchmark(suite, file, of_q or settings.bench_videos, judge)
    roots = ("swim.evaluation.scoring", registry.module_name(SCORERS, suite.scorer))
    declared: dict[str, Any] = {
        "prompts": suite.prompts,
        "max_new_tokens": suite.max_new_tokens,
        "code": identifier.code(roots),
        "data": _data(item, recipe, identifier),
    }
    if judge:
        declared["judge"] = {"model": judge, "params": dict(settings.judge_params)}
    return replace(item, declared=declared)


def _data(item: PlannedBenchmark, recipe: Recipe, identifier: Identifier) -> str:
    if item.file is None:
        return "not named"
    try:
        return identifier.data_fingerprint(item.data(recipe.data.frames))
    except IdentityError as error:
        raise IdentityError(f"{item.suite.flag}: {error}") from error
