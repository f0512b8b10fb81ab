"""`swimlab replay TRIAL`: run a stored trial again and say whether its curve comes out the same, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field
from pydantic_settings import CliPositionalArg
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from swimlab import lookup
from swimlab.commands.base import StoreCommand, say
from swimlab.commands.why import committed, value
from swimlab.differences import Difference
from swimlab.replaying import Replay, ReplayError, replay
from swimlab.settings import DEFAULT_CACHE, CacheFolder


class ReplayTrial(StoreCommand):
    """Run a trial again from its stored code, data and seed, and compare its curve with the stored one, bit for bit.
    Exits with 0 when they are equal, with 1 when they are not."""

    trial: CliPositionalArg[str] = Field(description="a trial id, or the beginning of one")
    steps: int | None = Field(None, ge=1, description="only the first steps; default: all")
    micro_batch: int | None = Field(
        None, ge=1, description="conversations a forward pass, if the trial ran with that flag (it moves roundings)"
    )
    cache: CacheFolder = Field(DEFAULT_CACHE, validate_default=True, description="scratch folder of this machine")

    def run(self, console: Console) -> int:
        """See `StoreCommand`."""
        store = lookup.open_store(self.store)
        record = committed(store, lookup.resolve(store, self.trial))
        say(console, f"trial {record.trial_id}, {record.recipe_name}, seed {record.seed}")
        bars = Progress(
            TextColumn("replaying"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        with bars:
            task = bars.add_task("", total=None)
            try:
                result = replay(
                    store,
                    record,
                    steps=self.steps,
                    micro_batch=self.micro_batch,
                    cache=self.cache,
                    say=lambda text: say(console, text),
                    on_step=lambda step, steps: bars.update(task, completed=step, total=steps),
                )
            except ReplayError as error:
                say(console, f"{type(error).__name__}: {error}", "red")
                return 1
        for line in told(result, record.provenance.host):
            say(console, line)
        say(console, *verdict(result))
        return 0 if result.equal else 1


def told(result: Replay, host: str) -> list[str]:
    """What was compared under which conditions."""
    lines = []
    if result.numerics:
        lines.append(f"numerics class differs: {_pairs(result.numerics)}; only roundings may differ at first")
    else:
        lines.append("numerics class is the same")
    if result.versions:
        lines.append(f"versions differ: {_pairs(result.versions)}")
    if result.first:
        lines.append(f"the trial ran on {host}")
        lines.append(f"losses are {result.last_gap:.3g} apart at step {result.compared_steps}, the last one compared")
    return lines


def verdict(result: Replay) -> tuple[str, str]:
    """One sentence and its style."""
    steps = f"{result.compared_steps} of {result.stored_steps} steps"
    if result.first is None:
        return f"EQUAL: {steps} replayed, every value is the stored one, bit for bit", "bold green"
    step, name, then, now = result.first
    return (
        f"DIFFERENT from step {step} of {result.stored_steps}: {name} was {then!r}, is {now!r} "
        f"({abs(then - now):.3g} apart); the {result.equal_steps} steps before it are equal",
        "bold red",
    )


def _pairs(differences: Sequence[Difference]) -> str:
    return ", ".join(f"{d.path} {value(d.left)} then, {value(d.right)} now" for d in differences)
