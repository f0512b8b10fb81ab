"""The command line of every experiment file: run (default) | plan | smoke | report."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn, TypeVar

from pydantic import ValidationError
from pydantic_settings import CliApp, SettingsError
from rich.console import Console

from swim import recipes
from swim.recipe import Recipe
from swimlab import index, plan_view, report, runner, text
from swimlab import plan as plans
from swimlab.ablation import Ablation, Results
from swimlab.backends import StoreError
from swimlab.clips import PipelineError
from swimlab.closure import IdentityError
from swimlab.commands.base import print_any_text, say, screen
from swimlab.settings import Settings
from swimlab.store import SweepStore
from swimlab.summary import summarise

# A smoke that does not point is a broken machine: from scratch .975 was measured at step 50 (seed 0).
SMOKE_RECIPE = "tiny-smoke"
SMOKE_POINTING = 0.6
QUARANTINE_LINES = 20
LOG_WIDTH = 120  # what the widest table needs


Chosen = TypeVar("Chosen", bound=Settings)


def settings(kind: type[Chosen], argv: Sequence[str] | None = None) -> Chosen:
    """Flags over SWIMLAB_* variables over defaults. Exits with 2 and one line a mistake."""
    print_any_text()  # before `--help` is printed
    try:
        return CliApp.run(kind, cli_args=list(sys.argv[1:] if argv is None else argv))
    except ValidationError as error:
        lines = [_mistake(e["loc"], e["msg"]) for e in error.errors()]
    except SettingsError as error:
        lines = [str(error)]
    print("\n".join(lines), file=sys.stderr)
    raise SystemExit(2)


def _mistake(flag: tuple[str | int, ...], what: str) -> str:
    # One of several flags together has no flag of its own: its text names them.
    return f"--{'.'.join(map(str, flag)).replace('_', '-')}: {what}" if flag else what.removeprefix("Value error, ")


def main(ablations: Sequence[Ablation], argv: Sequence[str] | None = None) -> None:
    """The command line of an experiment file: see `run`."""
    run(ablations, settings(Settings, argv))


def run(ablations: Sequence[Ablation], chosen: Settings, recipe: Callable[[], Recipe] | None = None) -> None:
    """Do what the command line says, for all tables of a file in one session; `recipe` builds the recipe where an
    experiment has its own.

    Exits with 0, with 1 when a trial failed or the machine, store or data cannot do what the plan needs, with 130 on
    Ctrl-C.
    """
    guarded(chosen.store, lambda console: _command(ablations, chosen, recipe, console))


def guarded(store: str, command: Callable[[Console], int]) -> NoReturn:
    """Exits with what `command` returns, with 1 and one line for what the user can mend, with 130 on Ctrl-C."""
    console = screen(LOG_WIDTH)
    try:
        code = command(console)
    except KeyboardInterrupt:
        console.print(f"stopped; the same command goes on where this left off (store {store})")
        code = 130
    except (StoreError, PipelineError, IdentityError, ValueError, OSError) as error:
        say(console, f"{type(error).__name__}: {error}", "red")
        code = 1
    raise SystemExit(code)


def _command(
    ablations: Sequence[Ablation], chosen: Settings, own: Callable[[], Recipe] | None, console: Console
) -> int:
    smoke = chosen.command == "smoke"
    seeds = (0,) if smoke else None if chosen.seeds is None else tuple(range(chosen.seeds))
    planned = []
    for ablation in ablations:
        if smoke and ablation.tuned:
            console.print(f"{ablation.name}: a smoke tries the machine, and tunes nothing")
            ablation = dataclasses.replace(ablation, tuned=None)
        recipe = own() if own else recipes.named(chosen.recipe or (SMOKE_RECIPE if smoke else ablation.recipe))
        planned.append(plans.make_plan(ablation, recipe, chosen, seeds=seeds))
    store = SweepStore(chosen.store)
    if chosen.command == "plan":
        for plan in planned:
            console.print(plan_view.render(plan_view.look(plan, store, chosen)))
        return 0
    if chosen.command == "report":
        found = [runner.gather(plan, store, 0.0) for plan in planned]
    else:
        found = runner.execute(planned, chosen, console)
    return max([_show(results, console, smoke) for results in found])


def _show(results: Results, console: Console, smoke: bool) -> int:
    uri = report.write_report(results)
    console.print(text.terminal(summarise(results)))
    console.print(f"{len(results.quarantined)} rows quarantined", style="yellow" if results.quarantined else "")
    for row in results.quarantined[:QUARANTINE_LINES]:
        reason = f"{row['field']}: {row['reason']} ({row['hint']})"
        say(console, f"not used: {row['file']} row {row['row']} {reason}", "yellow")
    if (more := len(results.quarantined) - QUARANTINE_LINES) > 0:
        console.print(f"… and {more} more rows, all in the report and under clips/ in the store", style="yellow")
    where = {"store": results.store.uri, "report": uri, "index": f"{results.store.uri}/{index.PAGE}"}
    lines = "\n".join(f"{name:6} {address}" for name, address in where.items())
    say(console, lines)
    failed = [trial for trial in results.trials if trial.record is None]
    for trial in failed:
        why = (trial.failure or "not run").strip().splitlines()[-1]
        say(console, f"{trial.arm} seed {trial.seed}: {why}", "red")
    untuned = [one for one in results.tuning if one.choice is None]
    for one in untuned:
        say(console, f"{one.arm} has no tuned values: {one.text}", "red")
    if smoke and not failed and results.recipe.name == SMOKE_RECIPE:
        return _smoke_verdict(results, console)
    return 1 if failed or untuned else 0


def _smoke_verdict(results: Results, console: Console) -> int:
    paper = recipes.named(SMOKE_RECIPE).objective.model_dump(mode="json")
    points = [
        t.record.metrics["attention.pointing"]
        for t in results.trials
        if t.record and t.record.recipe["objective"] == paper
    ]
    for value in points:
        passed = value > SMOKE_POINTING
        console.print(
            f"smoke: preset paper points at {value:.2f} (bar {SMOKE_POINTING}): {'ok' if passed else 'BROKEN'}"
        )
        if not passed:
            return 1
    return 0
