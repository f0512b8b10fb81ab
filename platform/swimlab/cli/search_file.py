"""The command line of a search file: run (default) | plan | smoke | report, with the flags of every experiment."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import suppress

from optuna.trial import TrialState
from rich.console import Console
from rich.table import Table
from rich.text import Text

from swim import recipes
from swim.recipe import Recipe, ShapesWorld
from swimlab.base.screen import say
from swimlab.cli import experiment_file, forecast_view
from swimlab.execution.search import run_search
from swimlab.execution.search.ask_tell import SearchLoop
from swimlab.experiment import chosen_recipe, code_check, smoke
from swimlab.experiment.run_settings import FlagError, Settings
from swimlab.experiment.search import Search
from swimlab.identity.naming import Identifier
from swimlab.identity.source_closure import Sources
from swimlab.identity.splits import drawn_clips
from swimlab.report import search_page
from swimlab.store.backends.patience import SHORT_S
from swimlab.store.sweep_store import SweepStore

SMOKE_POINTS = 3


def main(search: Search, argv: Sequence[str] | None = None) -> None:
    """The command line of a search file: see `run`."""
    run(search, experiment_file.settings(Settings, argv))


def run(search: Search, settings: Settings, recipe: Callable[[], Recipe] | None = None) -> None:
    """Runs the command of the settings for a search.

    Args:
        search: what is varied, and by how much.
        settings: the command and its flags.
        recipe: builds the recipe, for an experiment that has its own instead of a named one.

    Raises:
        SystemExit: always. 0; 1 when a trial failed or the machine, store or data cannot do what the search needs; 2
            for a mistake in --set; 130 on Ctrl-C, 143 on SIGTERM.
    """
    experiment_file.exit_with(settings.store, lambda console: _command(search, settings, recipe, console))


def _command(search: Search, settings: Settings, build_recipe: Callable[[], Recipe] | None, console: Console) -> int:
    smokes = settings.command == "smoke"
    chosen_recipe.check_effect(settings.set, search)
    default = smoke.RECIPE if smokes else search.recipe
    named = build_recipe() if build_recipe else recipes.named(settings.recipe or default)
    recipe = chosen_recipe.changed(named, settings.set)
    if settings.replicate == "world":
        raise FlagError("--replicate world: a search compares points in one world; leave it out")
    if recipe.optim.epochs is not None:
        raise FlagError("a search prunes and reports by steps, and optim.epochs is given: give optim.steps")
    if smokes:
        search = dataclasses.replace(search, budget=min(SMOKE_POINTS, search.budget), confirm=())
    elif settings.seeds is not None:
        # Seeds count from 0. The search's own seed chose the best point, so it cannot confirm it.
        search = dataclasses.replace(search, confirm=tuple(s for s in range(settings.seeds) if s != search.seed))
    if settings.command != "report":
        code_check.check(_variants(search, recipe), Sources(cache_dir=settings.cache), settings.cache)
    if settings.command == "plan":
        run_search.check(search, recipe, settings)
        console.print(_plan(search, recipe, settings))
        data = Identifier(settings.cache).identify(recipe).clips_fingerprint
        store = SweepStore(settings.store, patience_s=SHORT_S)
        if on_gpu := forecast_view.Forecasts(store, settings).of(recipe, data):
            say(console, "\n".join(forecast_view.lines(on_gpu)))
        return 0
    if settings.command == "report":
        results = run_search.gather(search, recipe, settings)
    else:
        results = run_search.execute(search, recipe, settings, console)
    uri = search_page.write_report(results)
    console.print(search_page.terminal(results))
    say(console, f"store  {results.store.uri}\nreport {uri}")
    failed = [(point, answer) for point, answer in results.points if answer and answer.state == TrialState.FAIL]
    for point, answer in failed:
        why = answer.problem.strip().splitlines()[-1]
        say(console, f"point {point.number}: {why}", "red")
    on_reported = [*([results.winner] if results.winner else []), *results.confirmed]
    for confirmation in (c for c in on_reported if not c.complete):
        say(console, f"{confirmation.arm} seed {confirmation.spec.seed}: {confirmation.failure or 'not run'}", "red")
    complete = all(answer for _, answer in results.points) and all(c.complete for c in on_reported)
    return 0 if complete and not failed else 1


def _variants(search: Search, recipe: Recipe) -> list[Recipe]:
    """The recipe with each value of each axis, for the check of the code; values that the recipe refuses are left out:
    their points fail with a message of their own."""
    variants = [recipe]
    for axis in search.space:
        for label in axis.test_values:
            with suppress(ValueError):
                variants.append(recipe.override({axis.path: axis.value(label)}))
    return variants


def _plan(search: Search, recipe: Recipe, settings: Settings) -> Table:
    store = SweepStore(settings.store, patience_s=SHORT_S)
    course = SearchLoop(search, recipe, store, settings.cache, retry=True)
    todo = {point.number for point in course.todo()}
    answered = [answer for answer in course.answers.values() if answer.record]
    per_point_s = sum(a.record.cost.cpu_s for a in answered if a.record) / len(answered) if answered else None
    left = search.budget - len(course.answers)
    title = (
        f"{search.name} on {recipe.name}: {len(course.answers)} of {search.budget} points answered, {left} to propose"
    )
    if per_point_s and left:
        title += f", about {left * per_point_s:.0f} CPU s"
    table = Table(
        title=Text(title), caption=Text(_protocol(search, recipe)), title_justify="left", caption_justify="left"
    )
    for column in ("point", *(axis.path.replace(".", "\n", 1) for axis in search.space), "trial", "state"):
        table.add_column(Text(column), no_wrap=column in ("point", "trial"))
    trained_ids = store.records(point.spec.trial_id for point in course.points if point.spec)
    done = store.records(spec.trial_id for spec in run_search.bases(recipe, settings))
    for spec in run_search.bases(recipe, settings):
        state = "cached" if spec.trial_id in done else "new" if todo else "not needed"
        table.add_row("base", *["" for _ in search.space], spec.trial_id, Text(f"{state}: {spec.recipe.name}"))
    for point in course.points:
        answer = course.answers.get(point.number)
        state = answer.state.name if answer else "same as another"
        if point.number in todo:
            trained = point.spec is not None and point.spec.trial_id in trained_ids
            state = "evaluate only" if trained else "new"
        params = [f"{v:.4g}" if isinstance(v, float) else str(v) for v in point.params.values()]
        table.add_row(str(point.number), *map(Text, params), point.spec.trial_id if point.spec else "–", state)
    if (later := search.budget - len(course.points)) > 0:
        table.add_row("…", *["" for _ in search.space], f"{later} more", "depend on these")
    return table


def _protocol(search: Search, recipe: Recipe) -> str:
    aims = ", ".join(
        f"{'max' if metric.higher_is_better else 'min'} {metric.measured(recipe.name)}" for metric in search.objectives
    )
    clips = "the rows of data.validation_annotations"
    if isinstance(recipe.data, ShapesWorld):
        clips = f"{drawn_clips(recipe.data, 'validation')} validation clips"
    text = f"{aims}, on {clips}, which are neither trained on nor reported; the best point is then measured on the "
    text += "reported clips"
    if search.pruning is None:
        return f"{text}; nothing is pruned"
    rungs = ", ".join(map(str, search.pruning.steps(recipe)))
    return (
        f"{text}; pruned by the first objective on {search.pruning.clips} validation clips at step {rungs} of "
        f"{recipe.optim.total_steps}"
    )
