"""The command line of every experiment file: run (default) | plan | smoke | report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import NoReturn

from rich.console import Console

from swim import recipes
from swim.recipe import Recipe
from swimlab.base.screen import say
from swimlab.cli import command_line, looks_view, outline, plan_view
from swimlab.cli.command_line import Flags
from swimlab.data.prepared_clips import PipelineError
from swimlab.evaluating import table_judge
from swimlab.execution import run_ablations, tune_arms
from swimlab.experiment import chosen_recipe, code_check, looks, smoke
from swimlab.experiment import plan as plans
from swimlab.experiment.ablation import Ablation
from swimlab.experiment.code_check import CodeError
from swimlab.experiment.results import Results
from swimlab.experiment.run_settings import Settings
from swimlab.identity.naming import Identifier, IdentityError
from swimlab.report import terminal
from swimlab.store.backends.patience import SHORT_S
from swimlab.store.presence import StoreContent
from swimlab.store.sweep_store import SweepStore

QUARANTINE_LINES = 20
LOG_WIDTH = 120  # what the widest table needs


def settings(kind: type[Flags], argv: Sequence[str] | None = None) -> Flags:
    """See `command_line.parse`."""
    return command_line.parse(kind, argv)


def main(ablations: Sequence[Ablation], argv: Sequence[str] | None = None) -> None:
    """The command line of an experiment file: see `run`."""
    run(ablations, settings(Settings, argv))


def run(ablations: Sequence[Ablation], run_settings: Settings, recipe: Callable[[], Recipe] | None = None) -> None:
    """Runs the command of the settings for all tables of a file, in one session.

    Args:
        ablations: the tables; a trial that several share is run once.
        run_settings: the command and its flags.
        recipe: builds the recipe, for an experiment that has its own instead of a named one.

    Raises:
        SystemExit: always. 0; 1 when a trial failed or the machine, store or data cannot do what the plan needs; 2 for
            a mistake in --set; 130 on Ctrl-C, 143 on SIGTERM.
    """
    exit_with(run_settings.store, lambda console: _command(ablations, run_settings, recipe, console))


def exit_with(store: str, command: Callable[[Console], int]) -> NoReturn:
    """Runs `command` and exits: see `command_line.exit_with`. `store` is named in the message on Ctrl-C."""
    command_line.exit_with(
        command,
        log_width=LOG_WIDTH,
        errors=(PipelineError, IdentityError, CodeError),
        stopped=f"stopped; run the same command again to continue where it left off (store {store})",
    )


def _command(
    ablations: Sequence[Ablation], settings: Settings, build_recipe: Callable[[], Recipe] | None, console: Console
) -> int:
    smokes = settings.command == "smoke"
    chosen_recipe.check_effect(settings.set, ablations)
    seeds = None if smokes or settings.seeds is None else tuple(range(settings.seeds))
    planned, identifier = [], Identifier(settings.cache)
    for declared in ablations:
        ablation = replace(declared, replicate=settings.replicate) if settings.replicate else declared
        default = smoke.RECIPE if smokes else ablation.recipe
        named = build_recipe() if build_recipe else recipes.named(settings.recipe or default)
        recipe = chosen_recipe.changed(named, settings.set)
        if settings.command == "plan" and build_recipe is None and outline.missing_files(recipe, settings):
            store = SweepStore(settings.store, patience_s=SHORT_S)
            say(console, "\n".join(outline.lines(ablation, recipe, settings, store, identifier)))
            continue
        table = smoke.reduced(ablation, recipe) if smokes else ablation
        tuned = tune_arms.tuning_states(table, recipe, settings)
        plan = plans.make_plan(table, recipe, settings, seeds=seeds, identifier=identifier, tuning=tuned)
        looks.check_seeds(plan)
        planned.append(plan)
    if settings.command != "report":
        code_check.check((r for plan in planned for r in _recipes(plan)), identifier.sources, settings.cache)
    store = SweepStore(settings.store, patience_s=SHORT_S)
    if settings.command == "plan":
        content = StoreContent(store)
        certain = [looks_view.certain(plan, store, settings) for plan in planned]
        previews = [plan_view.preview(plan, store, settings, content) for plan in certain]
        looked_at = plan_view.check_data(previews, store, settings)
        for preview in previews:
            console.print(plan_view.render(preview))
        if len(previews) > 1:
            console.print(
                "\n".join(plan_view.together(previews, store, settings, content)), highlight=False, markup=False
            )
        for text in looked_at:
            say(console, text)
        return 0
    measure: run_ablations.Measure = list
    if benchmarks := [item for plan in planned for item in plan.benchmarks]:
        from swimlab.evaluating import table_benchmarks  # torch and Ray, which other cached tables do without

        if settings.command != "report":
            table_judge.check_complete(benchmarks, settings)
        measure = partial(table_benchmarks.with_benchmarks, settings=settings, console=console)
    if settings.command == "report":
        all_results = [run_ablations.at_latest_look(plan, store, settings, measure) for plan in planned]
    else:
        all_results = run_ablations.execute(planned, settings, console, measure)
    return max([_show(results, console, smokes) for results in all_results])


def _recipes(plan: plans.Plan) -> list[Recipe]:
    """The recipe of every arm under the first seed, including arms that are not tuned yet."""
    return [plan.ablation.resolve(plan.recipe, arm, plan.seeds[0]) for arm in plan.ablation.arms]


def _show(results: Results, console: Console, smokes: bool) -> int:
    # Plots and pages take two seconds to import, and `plan` needs neither.
    from swimlab.report import ablation_page, index_page
    from swimlab.report.summarise import summarise

    table = summarise(results)
    uri = ablation_page.write_report(results, table)
    console.print(terminal.terminal(table))
    console.print(f"{len(results.quarantined)} rows quarantined", style="yellow" if results.quarantined else "")
    for row in results.quarantined[:QUARANTINE_LINES]:
        reason = f"{row['field']}: {row['reason']} ({row['hint']})"
        say(console, f"not used: {row['file']} row {row['row']} {reason}", "yellow")
    if (more := len(results.quarantined) - QUARANTINE_LINES) > 0:
        console.print(f"… and {more} more rows, all in the report and under clips/ in the store", style="yellow")
    addresses = {"store": results.store.uri, "report": uri, "index": f"{results.store.uri}/{index_page.PAGE}"}
    lines = "\n".join(f"{name:6} {address}" for name, address in addresses.items())
    say(console, lines)
    failed = [trial for trial in results.trials if trial.record is None or trial.failure]
    for trial in failed:
        why = (trial.failure or "not run").strip().splitlines()[-1]
        say(console, f"{trial.arm} seed {trial.seed}: {why}", "red")
    untuned = [state for state in results.tuning if state.choice is None]
    for state in untuned:
        say(console, f"{state.arm} has no tuned values: {state.text}", "red")
    if failed or untuned:
        return 1
    return smoke.judge(results, console) if smokes else 0
