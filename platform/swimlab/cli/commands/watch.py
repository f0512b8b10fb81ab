"""`swimlab watch`: live status on one screen, read from the store while a job runs on any machine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime

from pydantic import Field
from pydantic_settings import CliToggleFlag
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from swimlab.cli.store_command import StoreCommand
from swimlab.execution.monitor import Experiment, TrialStatus, Watcher
from swimlab.report.number_format import NO_VALUE, duration, number, throughput
from swimlab.report.terminal import VERDICT_STYLE
from swimlab.store import query
from swimlab.store.sweep_store import DEAD_AFTER_S

BAR = 24
MOST_FAILED, MOST_RUNNING, MOST_DONE = 4, 12, 8
_BLOCKS = "▁▂▃▄▅▆▇█"


class Watch(StoreCommand):
    """Shows the live status of the runs in a store: done, running, failed and waiting trials, losses, speeds, verdicts
    so far."""

    experiment: str | None = Field(None, description="only this experiment")
    every: float = Field(2.0, gt=0, description="seconds between readings of the store")
    once: CliToggleFlag[bool] = Field(False, description="print the status once and exit, for logs")

    def run(self, console: Console) -> int:
        """See `StoreCommand`."""
        store = query.open_store(self.store)
        watcher = Watcher(store)
        if self.once:
            console.print(frame(watcher.poll(self.experiment), store.uri))
            return 0
        with Live(console=console, screen=console.is_terminal, auto_refresh=False) as live:
            while True:
                live.update(frame(watcher.poll(self.experiment), store.uri), refresh=True)
                time.sleep(self.every)


def frame(experiments: Sequence[Experiment], uri: str) -> RenderableType:
    """The status of all experiments as one screen; `uri` is the store's."""
    now = datetime.now(UTC).strftime("%H:%M:%S UTC")
    parts: list[RenderableType] = [Text.assemble(("swimlab watch", "bold"), (f"  {uri}  {now}", "dim"))]
    if not experiments:
        parts.append(Text("no run in this store yet: start one with `run` of an experiment file"))
    going = [experiment for experiment in experiments if experiment.open]
    ended = [experiment for experiment in experiments if not experiment.open]
    for experiment in going:
        parts += [Text(), *_open(experiment)]
    if ended:
        parts += [Text(), *(_title(experiment) for experiment in ended[:MOST_DONE])]
        if len(ended) > MOST_DONE:
            parts.append(Text(f"and {len(ended) - MOST_DONE} more that ended", style="dim"))
        failed = [t for experiment in ended for t in experiment.trials if t.state == "failed"]
        parts += [_failure(t) for t in failed[:MOST_FAILED]]
    return Group(*parts)


def _open(experiment: Experiment) -> list[RenderableType]:
    parts: list[RenderableType] = [_title(experiment)]
    running = {t.trial.trial_id: t for t in experiment.trials if t.state == "running"}
    if running:
        parts.append(_running(list(running.values())[:MOST_RUNNING]))
    if (more := len(running) - MOST_RUNNING) > 0:
        parts.append(Text(f"  and {more} more are running", style="dim"))
    failed = [t for t in experiment.trials if t.state == "failed"]
    parts += [_failure(t) for t in failed[:MOST_FAILED]]
    if (more := len(failed) - MOST_FAILED) > 0:
        parts.append(Text(f"  and {more} more failed", style="red"))
    if any(mean is not None for _, _, mean, _ in experiment.claims):
        parts.append(_claims(experiment))
    return parts


def _title(experiment: Experiment) -> Text:
    unproposed = experiment.announced.unproposed or 0
    total, done = len(experiment.trials) + unproposed, experiment.count("done")
    filled = BAR * (done + experiment.count("pruned")) // max(1, total)
    counts = {state: experiment.count(state) for state in ("pruned", "running", "failed", "waiting")}
    states = [f"{count} {state}" for state, count in counts.items() if count]
    states += [f"{unproposed} to propose"] * bool(unproposed)
    left = f", about {duration(experiment.left_s)} left" if experiment.left_s is not None else ""
    return Text.assemble(
        (f"{experiment.announced.experiment} on {experiment.announced.recipe}  ", "bold"),
        ("━" * filled, "green"),
        ("─" * (BAR - filled), "dim"),
        f"  {', '.join([f'{done} of {total} done', *states])}{left}",
    )


def _running(trials: Sequence[TrialStatus]) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(overflow="ellipsis", no_wrap=True, max_width=30)
    for _ in range(7):
        grid.add_column(no_wrap=True)
    for trial in trials:
        progress = trial.progress
        if progress is None or not progress.steps:
            cells = [progress.stage if progress else "starting", "", "", "", ""]
        else:
            speeds = [f"{progress.steps_per_s:.3g} steps/s"] if progress.steps_per_s else []
            if progress.tokens_per_s:
                speeds.append(throughput(progress.tokens_per_s, progress.mfu, between="\n"))
            speed = "\n".join(speeds)  # below each other: a terminal is 100 columns wide
            training = progress.stage == "train"
            left = f"{duration(progress.left_s)} left" if training and progress.left_s is not None else ""
            stage = "step" if training else progress.stage
            loss = "" if progress.loss is None else f"loss {number(progress.loss)}"
            cells = [f"{stage} {progress.step}/{progress.steps}", sparkline(progress.losses), loss, speed, left]
        name = Text(f"  {trial.trial.arm} · seed {trial.trial.seed}")
        grid.add_row(name, *map(Text, cells), _beat(trial), Text(trial.host, "dim"))
    return grid


def _beat(trial: TrialStatus) -> Text:
    if trial.lost:
        return Text("its process has ended", style="red")
    if trial.beat_age_s is None:
        return Text("no heartbeat", style="dim")
    late = trial.beat_age_s > DEAD_AFTER_S
    age = f"{max(trial.beat_age_s, 0):.0f} s" if trial.beat_age_s < 60 else duration(trial.beat_age_s)
    return Text(f"heartbeat {age} ago", style="red" if late else "dim")


def _failure(trial: TrialStatus) -> Text:
    text = Text(f"  {trial.trial.arm} · seed {trial.trial.seed} failed: {trial.error}", style="red", no_wrap=True)
    text.overflow = "ellipsis"
    return text


def _claims(experiment: Experiment) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(3):
        grid.add_column(overflow="ellipsis", no_wrap=True)
    for text, label, mean, half in experiment.claims:
        spread = "" if mean is None else f"{number(mean, signed=True)} ± {NO_VALUE if half is None else number(half)}"
        grid.add_row(Text(f"  {text}"), Text(spread), Text(label.replace("_", " "), VERDICT_STYLE.get(label, "")))
    grid.add_row(Text(f"  on {experiment.announced.metric} so far, direction only", "dim"), Text(), Text())
    return grid


def sparkline(values: Sequence[float]) -> str:
    """Bars of one character a value; the lowest and the highest value are the ends of the scale."""
    if not values:
        return ""
    low, high = min(values), max(values)
    if high == low:
        return _BLOCKS[0] * len(values)
    return "".join(_BLOCKS[round((value - low) / (high - low) * (len(_BLOCKS) - 1))] for value in values)
