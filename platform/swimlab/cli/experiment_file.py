"""The command line of every experiment file: run (default) | plan | smoke | report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NoReturn

from rich.console import Console

from swim import recipes
from swim.recipe import Recipe
from swimlab.base.screen import say, screen
from swimlab.cli import command_line, plan_view
from swimlab.cli.command_line import Flags
from swimlab.data.prepared_clips import PipelineError
from swimlab.execution import tune_arms
from swimlab.experiment import code_check, smoke
from swimlab.experiment import plan as plans
from swimlab.experiment.ablation import Ablation
from swimlab.experiment.code_check import CodeError
from swimlab.experiment.results import Results
from swimlab.experiment.run_settings import Settings
from swimlab.identity.naming import Identifier, IdentityError
from swimlab.report import terminal
from swimlab.store.errors import StoreError
from swimlab.store.sweep_store import SweepStore

QUARANTINE_LINES = 20
LOG_WIDTH = 120  # what the widest table needs


def settings(kind: type[Flags], argv: Sequence[str] | None = None) -> Flags:
    """See `command_line.parse`."""
    return command_line.parse(kind, argv)


def main(ablations: Sequence[Ablation], argv: Sequence[str] | None = None) -> None:
    """The command line of an experiment file: see `run`."""
    run(ablations, settings(Settings, argv))


def run(ablations: Sequence[Ablation], chosen: Settings, recipe: Callable[[], Recipe] | None = None) -> None:
    """Do what the command line says, for all tables of a file in one session; `recipe` builds the recipe where an
    experiment has its own.

    Exits with 0, with 1 when a trial failed or the machine, store or data cannot do what the plan needs, with 130 on
    Ctrl-C.
    """
    exit_with(chosen.store, lambda console: _command(ablations, chosen, recipe, console))


def exit_with(store: str, command: Callable[[Console], int]) -> NoReturn:
    """Exits with what `command` returns, with 1 and one line for what the user can mend, with 130 on Ctrl-C."""
    console = screen(LOG_WIDTH)
    try:
        code = command(console)
    except KeyboardInterrupt:
        console.print(f"stopped; the same command goes on where this left off (store {store})")
        code = 130
    except (StoreError, PipelineError, IdentityError, CodeError, ValueError, OSError) as error:
        say(console, f"{type(error).__name__}: {error}", "red")
        code = 1
    raise SystemExit(code)


def _command(
    ablations: Sequence[Ablation], chosen: Settings, own: Callable[[], Recipe] | None, console: Console
) -> int:
    smokes = chosen.command == "smoke"
    seeds = None if smokes or chosen.seeds is None else tuple(range(chosen.seeds))
    planned, identifier = [], Identifier(chosen.cache)
    for ablation in ablations:
        recipe = own() if own else recipes.named(chosen.recipe or (smoke.RECIPE if smokes else ablation.recipe))
        table = smoke.reduced(ablation, recipe) if smokes else ablation
        tuned = tune_arms.tuning_states(table, recipe, chosen)
        planned.append(plans.make_plan(table, recipe, chosen, seeds=seeds, identifier=identifier, tuning=tuned))
    if chosen.command != "report":
        code_check.check((trained for plan in planned for trained in _recipes(plan)), identifier.sources, chosen.cache)
    store = SweepStore(chosen.store)
    if chosen.command == "plan":
        outlooks = [plan_view.preview(plan, store, chosen) for plan in planned]
        for outlook in outlooks:
            console.print(plan_view.render(outlook))
        if len(outlooks) > 1:
            console.print("\n".join(plan_view.together(outlooks, store, chosen)), highlight=False, markup=False)
        return 0
    # Plots and pages take two seconds to import: not for a plan.
    from swimlab.execution import run_ablations

    if chosen.command == "report":
        found = [run_ablations.gather(plan, store, 0.0) for plan in planned]
    else:
        found = run_ablations.execute(planned, chosen, console)
    return max([_show(results, console, smokes) for results in found])


def _recipes(plan: plans.Plan) -> list[Recipe]:
    """One of every arm, those that are not tuned yet included."""
    return [plan.ablation.resolve(plan.recipe, arm, plan.seeds[0]) for arm in plan.ablation.arms]


def _show(results: Results, console: Console, smokes: bool) -> int:
    # See `_command`.
    from swimlab.report import ablation_page, index_page
    from swimlab.report.summarise import summarise

    uri = ablation_page.write_report(results)
    console.print(terminal.terminal(summarise(results)))
    console.print(f"{len(results.quarantined)} rows quarantined", style="yellow" if results.quarantined else "")
    for row in results.quarantined[:QUARANTINE_LINES]:
        reason = f"{row['field']}: {row['reason']} ({row['hint']})"
        say(console, f"not used: {row['file']} row {row['row']} {reason}", "yellow")
    if (more := len(results.quarantined) - QUARANTINE_LINES) > 0:
        console.print(f"… and {more} more rows, all in the report and under clips/ in the store", style="yellow")
    where = {"store": results.store.uri, "report": uri, "index": f"{results.store.uri}/{index_page.PAGE}"}
    lines = "\n".join(f"{name:6} {address}" for name, address in where.items())
    say(console, lines)
    failed = [trial for trial in results.trials if trial.record is None]
    for trial in failed:
        why = (trial.failure or "not run").strip().splitlines()[-1]
        say(console, f"{trial.arm} seed {trial.seed}: {why}", "red")
    untuned = [one for one in results.tuning if one.choice is None]
    for one in untuned:
        say(console, f"{one.arm} has no tuned values: {one.text}", "red")
    if failed or untuned:
        return 1
    return smoke.judge(results, console) if smokes else 0
