"""How much do a table's differences vary between bases, and how much between orders of batches on one base?

`python experiments/systems/variance_components.py` trains the arms of Table 4 in 4 worlds (each with data, weights and
base of its own) with 3 orders of batches each, and splits the variance of every claim's difference. From it comes a
margin for each claim: the smallest within which a table of worlds can call two equal arms EQUIVALENT. Trials are
ordinary ones of the store: running again resumes, and world 1 with order 1 is what a table of worlds has as seed 1.
"""

from __future__ import annotations

import runpy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, NoReturn

from pydantic import Field, FiniteFloat
from pydantic_settings import CliPositionalArg
from rich.console import Console

import measurement_report
import measuring
from component_grids import Values, component_figure, component_grids
from measurements import Measurement, MeasurementRun
from measuring import MeasuringSettings, Task
from swim import recipes
from swim.recipe import Recipe
from swim.worlds import world
from swimlab import Ablation, Metric
from swimlab.base.screen import say
from swimlab.cli import experiment_file, plan_view
from swimlab.execution import run_ablations
from swimlab.experiment.plan import Plan, make_plan
from swimlab.experiment.results import Results
from swimlab.experiment.run_settings import DEFAULT_CACHE, CacheFolder, Settings
from swimlab.identity.naming import Identifier
from swimlab.report.grids import Grid
from swimlab.stats.row_differences import row_difference
from swimlab.store import provenance
from swimlab.store.arrow_tables import from_parquet
from swimlab.store.evaluation_records import TrialResult
from swimlab.store.presence import StoreContent
from swimlab.store.sweep_store import SweepStore

NAME = "variance_components"
TITLE = "Variance components"
QUESTION = "How much do differences vary between bases, and how much between orders of batches on one base?"
SAMPLES = "samples.parquet"


class Difference(Measurement):
    """The value of a claim (`scheme`) in one world under one order of batches, positive as claimed; `kind` "arm": the
    score of an arm. `clips_error`: its standard error over the clips of the test set, None where the metric is no mean
    over rows. `margin`: as the table declares it, None for arms. `size`: the recipe."""

    kind: Literal["claim", "arm"]
    metric: str
    world: int
    order: int
    value: FiniteFloat
    clips_error: FiniteFloat | None
    margin: FiniteFloat | None


class ComponentRun(MeasurementRun):
    """What one invocation measured."""

    rows: tuple[Difference, ...]


class ComponentSettings(MeasuringSettings):
    """Train what is missing, and report the components of variance."""

    command: CliPositionalArg[Literal["run", "plan", "report"]] = Field(
        "run", description="run: train what is missing, then report; plan; report: the latest run again"
    )
    rounds: int = Field(1, ge=1, le=1, description="always one: the replicates are worlds and orders")
    file: Path = Field(
        Path(__file__).parents[1] / "sweep_fusion.py", description="experiment file; its first table is measured"
    )
    recipe: str | None = Field(None, description="a named recipe or a file with one; default: that of the table")
    worlds: int = Field(4, ge=2, description="worlds, from 0")
    orders: int = Field(3, ge=2, description="orders of batches in each world, from 0")
    concurrency: int | None = Field(None, ge=1, description="trials at a time; default: as many as the machine fits")
    cache: CacheFolder = Field(DEFAULT_CACHE, validate_default=True, description="scratch folder of this machine")

    @property
    def running(self) -> Settings:
        """How the trials run."""
        return Settings(
            store=self.store,
            concurrency=self.concurrency,
            cache=self.cache,
            keep_checkpoints="bases",
            _cli_parse_args=False,  # type: ignore[call-arg]
        )


def table_of(file: Path) -> Ablation:
    """The first table of an experiment file. Raises ValueError where it has none."""
    tables = [value for value in runpy.run_path(str(file)).values() if isinstance(value, Ablation)]
    if not tables:
        raise ValueError(f"{file} declares no Ablation: name an experiment file with --file")
    return tables[0]


def planned(table: Ablation, recipe: Recipe, settings: ComponentSettings) -> list[Plan]:
    """World by world the plan of the table with its orders of batches. Raises as `make_plan` does."""
    ours = replace(
        table, name=f"{table.name}-components", seeds=tuple(range(settings.orders)), looks=(), replicate="order"
    )
    identifier = Identifier(settings.cache)
    return [
        make_plan(
            ours,
            world(recipe, number).model_copy(update={"name": f"{recipe.name}-world-{number}"}),
            settings.running,
            identifier=identifier,
        )
        for number in range(settings.worlds)
    ]


def differences(results: Results, number: int) -> list[dict[str, Any]]:
    """The fields of measurements of one world: claims, each on its own metric, then arms on the primary one."""
    ablation, name = results.ablation, results.recipe.name
    trials = {(trial.arm, trial.seed): trial.record for trial in results.trials if trial.record}

    @cache
    def scores(arm: str, order: int, metric: str) -> ClipScores:
        return _clip_scores(results.store, trials[arm, order], metric)

    def measured(of: Metric, weights: Mapping[str, float], above: float = 0.0, **about: Any) -> list[dict[str, Any]]:
        metric = of.measured(name)
        return [
            {
                "size": name.removesuffix(f"-world-{number}"),
                "round": 0,
                "metric": metric,
                "world": number,
                "order": order,
                "value": sum(w * trials[arm, order].metrics[metric] for arm, w in weights.items()) - above,
                "clips_error": _clips_error(weights, {arm: scores(arm, order, metric) for arm in weights}),
                "machine": provenance.processor(),
                **about,
            }
            for order in ablation.seeds
        ]

    rows = []
    for claim in ablation.paper.claims:
        weights, above = ablation.oriented_weights(claim), claim.threshold or 0.0
        about = {"kind": "claim", "scheme": claim.text, "margin": claim.margin}
        rows += measured(ablation.metric_of(claim), weights, above, **about)
    for arm in ablation.arms:
        rows += measured(ablation.primary, {arm.name: 1.0}, kind="arm", scheme=arm.name, margin=None)
    return rows


ClipScores = Mapping[tuple[str, int, int], float]


def _clip_scores(store: SweepStore, record: TrialResult, metric: str) -> ClipScores:
    """(clip, turn, tag) → value, of a metric that is their mean; empty for another."""
    for evaluation in record.evaluations:
        if metric in evaluation.metrics and SAMPLES in evaluation.files:
            rows = from_parquet(store.evaluation_file(evaluation, SAMPLES)).to_pylist()
            return {(r["key"], r["turn"], r["tag"]): r["value"] for r in rows if r["metric"] == metric}
    return {}


def _clips_error(weights: Mapping[str, float], scores: Mapping[str, ClipScores]) -> float | None:
    if not all(scores.values()):
        return None
    videos = {row: row[0] for of_arm in scores.values() for row in of_arm}
    difference = row_difference(weights, {arm: [of_arm] for arm, of_arm in scores.items()}, videos)
    if difference is None or difference.estimate.sd is None:
        return None
    return float(difference.estimate.sd / difference.estimate.n**0.5)


def run(settings: ComponentSettings, plans: Sequence[Plan], store: SweepStore, console: Console) -> ComponentRun:
    """Train what is missing and commit the differences as a new run. Raises ValueError where trials have no result, and
    as `run_ablations.execute` does."""
    results = run_ablations.execute(plans, settings.running, console)
    if lacking := [trial for of_world in results for trial in of_world.trials if trial.record is None]:
        why = (lacking[0].failure or "not run").strip().splitlines()[-1]
        raise ValueError(
            f"{len(lacking)} trials have no result, the first of them {lacking[0].arm}, order {lacking[0].seed} "
            f"({why}): run the same command again"
        )
    first = next(trial.record for trial in results[0].trials if trial.record)
    return measuring.measure(
        ComponentRun,
        Difference,
        [Task(of_world.recipe.name, partial(differences, of_world, n)) for n, of_world in enumerate(results)],
        experiment=NAME,
        store=store,
        settings=settings.model_dump(mode="json") | {"table": results[0].ablation.name},
        numerics=first.provenance.numerics,
        console=console,
    )


def show(done: ComponentRun, store: SweepStore, console: Console) -> None:
    """Print the grids and write the report; claims about each metric are a family, with margins of its own."""
    grids: list[Grid] = []
    pictured: Values = {}
    for metric in dict.fromkeys(row.metric for row in done.rows):
        rows = [row for row in done.rows if row.metric == metric]
        claims = _values(row for row in rows if row.kind == "claim")
        margins = {row.scheme: row.margin for row in rows if row.margin is not None}
        errors: dict[str, list[float]] = {}
        for row in rows:
            if row.clips_error is not None:
                errors.setdefault(row.scheme, []).append(row.clips_error)
        arms = _values(row for row in rows if row.kind == "arm")
        grids += component_grids(metric, claims, arms, errors, margins)
        pictured |= {f"{text}, {metric}": values for text, values in claims.items()}
    notes = [
        f"Recipe {done.rows[0].size}. A base stands for its whole world: data, initial weights and base. Orders are "
        "orders of batches on one base. SDs with 95 % intervals; an SD of 0 says that the bases differ by no more than "
        "their orders explain.",
        "Test clips: the error that scoring this many clips leaves in a number. All orders of a world are scored on "
        "its clips, so it is a part of what lies between bases.",
    ]
    picture = component_figure(pictured)
    measurement_report.show_report(store, done, TITLE, QUESTION, grids, notes, picture, console)


def _values(rows: Iterable[Difference]) -> Values:
    values: dict[str, dict[int, dict[int, float]]] = {}
    for row in rows:
        values.setdefault(row.scheme, {}).setdefault(row.world, {})[row.order] = row.value
    return {
        name: [[of[o] for o in sorted(of)] for _, of in sorted(by_world.items())] for name, by_world in values.items()
    }


def main(settings: ComponentSettings, table: Ablation | None = None, recipe: Recipe | None = None) -> NoReturn:
    """Runs the command of the settings; `table` and `recipe`: instead of those that the settings name. Raises
    SystemExit with 1 where the table cannot be read, trained or measured."""
    experiment_file.exit_with(settings.store, partial(_command, settings, table, recipe))


def _command(settings: ComponentSettings, table: Ablation | None, recipe: Recipe | None, console: Console) -> int:
    store = SweepStore(settings.store)
    if settings.command == "report":
        show(measuring.stored_run(settings, NAME, ComponentRun, store), store, console)
        return 0
    table = table or table_of(settings.file)
    plans = planned(table, recipe or recipes.named(settings.recipe or table.recipe), settings)
    if settings.command == "plan":
        _plan(plans, store, settings.running, console)
    else:
        show(run(settings, plans, store, console), store, console)
    return 0


def _plan(plans: Sequence[Plan], store: SweepStore, settings: Settings, console: Console) -> None:
    content = StoreContent(store)
    previews = [plan_view.preview(plan, store, settings, content) for plan in plans]
    say(console, "\n".join(plan_view.together(previews, store, settings, content)))


if __name__ == "__main__":
    main(experiment_file.settings(ComponentSettings))
