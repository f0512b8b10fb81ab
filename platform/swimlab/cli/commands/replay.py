"""`swimlab replay TRIAL`: runs a stored trial again and compares its curve with the stored one, bit for bit.

The code that it runs comes from the store, so it says which and asks first.
"""

from __future__ import annotations

import sys

from pydantic import Field
from pydantic_settings import CliPositionalArg, CliToggleFlag
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.prompt import Confirm

from swimlab.base.screen import say
from swimlab.cli.commands.why import committed
from swimlab.cli.store_command import StoreCommand
from swimlab.execution.replay import Replay, pairs, replay
from swimlab.execution.replay_process import ReplayError
from swimlab.execution.replay_source import StoredSource, stored_source
from swimlab.experiment.run_settings import DEFAULT_CACHE, CacheFolder
from swimlab.store import query


class ReplayTrial(StoreCommand):
    """Run a trial again from its stored code, data and seed, and compare its curve with the stored one, bit for bit.
    Exits with 0 when they are equal, with 1 when they are not."""

    trial: CliPositionalArg[str] = Field(description="a trial id, or the beginning of one")
    steps: int | None = Field(None, ge=1, description="only the first steps; default: all")
    micro_batch: int | None = Field(
        None, ge=1, description="conversations a forward pass, if the trial ran with that flag (it changes rounding)"
    )
    trust: CliToggleFlag[bool] = Field(
        False, description="run the stored code without asking: everybody who writes there is trusted"
    )
    cache: CacheFolder = Field(DEFAULT_CACHE, validate_default=True, description="scratch folder of this machine")

    def run(self, console: Console) -> int:
        """See `StoreCommand`."""
        store = query.open_store(self.store)
        (record,) = committed(store, [query.resolve(store, self.trial)])
        say(console, f"trial {record.trial_id}, {record.recipe_name}, seed {record.seed}")
        source = stored_source(store, record)
        if not self._agreed(console, source, store.uri):
            return 1
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
                    source=source,
                    say=lambda text: say(console, text),
                    on_step=lambda step, steps: bars.update(task, completed=step, total=steps),
                )
            except ReplayError as error:
                say(console, f"{type(error).__name__}: {error}", "red")
                return 1
        for line in conditions(result, record.provenance.host):
            say(console, line)
        say(console, *verdict(result))
        return 0 if result.equal else 1

    def _agreed(self, console: Console, source: StoredSource, store_uri: str) -> bool:
        say(console, f"it runs {len(source.files)} files of code from {source.uri}, with your rights on this machine")
        say(console, f"their fingerprint is the record's, {source.fingerprint}; who writes to the store writes both")
        if self.trust:
            return True
        if not (sys.stdin.isatty() and console.is_terminal):
            say(
                console,
                f"not run: there is no terminal to ask on; add --trust if you trust all who can write to {store_uri}",
                "red",
            )
            return False
        try:
            agreed = Confirm.ask("Run it?", console=console, default=False)
        except EOFError:
            agreed = False
        if not agreed:
            say(console, "not run")
        return agreed


def conditions(result: Replay, host: str) -> list[str]:
    """Lines about differences between then and now: versions, host, size of the gap. The numerics class is printed
    before the first step."""
    lines = []
    if result.versions:
        lines.append(f"versions differ: {pairs(result.versions)}")
    if result.first:
        lines.append(f"the trial ran on {host}")
        lines.append(f"losses are {result.last_gap:.3g} apart at step {result.compared_steps}, the last one compared")
    return lines


def verdict(result: Replay) -> tuple[str, str]:
    """The result of the comparison as one sentence, and its style on the terminal."""
    steps = f"{result.compared_steps} of {result.stored_steps} steps"
    fields = ", ".join(d.path for d in result.numerics)
    if result.first is None:
        although = f", although the numerics class differs ({fields})" if fields else ""
        return f"EQUAL: {steps} replayed, every value is the stored one, bit for bit{although}", "bold green"
    step, name, then, now = result.first
    why = f"; that is to be expected, for the numerics class differs ({fields})" if fields else ""
    return (
        f"DIFFERENT from step {step} of {result.stored_steps}: {name} was {then!r}, is {now!r} "
        f"({abs(then - now):.3g} apart); the {result.equal_steps} steps before it are equal{why}",
        "yellow" if fields else "bold red",
    )
