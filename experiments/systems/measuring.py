"""Taking measurements: fresh processes one after another, and what came in is kept whatever stops it.

An experiment that measures is one file with `run`, `smoke`, `report` and `worker`, the fresh process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field
from pydantic_settings import BaseSettings, CliPositionalArg, SettingsConfigDict
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from measurements import Measurement, RunT, commit, runs
from swimlab.base.printable import complain
from swimlab.base.screen import screen
from swimlab.store import provenance
from swimlab.store.errors import StoreError
from swimlab.store.provenance import new_run_id
from swimlab.store.sweep_store import SweepStore


class MeasuringSettings(BaseSettings):
    """Measure, and report what was measured. `worker` is one fresh process and prints one line of JSON."""

    model_config = SettingsConfigDict(
        env_prefix="SWIMLAB_", cli_kebab_case=True, extra="forbid", frozen=True, cli_hide_none_type=True
    )

    command: CliPositionalArg[Literal["run", "smoke", "report", "worker"]] = Field(
        "run", description="run: measure, then report; smoke: one short round; report: the latest run again"
    )
    rounds: int = Field(5, ge=1, description="rounds in which everything is measured once")
    store: str = Field("swimlab-store", description="sweep store: a folder or s3://bucket/prefix")
    run_id: str | None = Field(None, description="report: which run; default: the newest")


@dataclass(frozen=True)
class Task:
    """A fresh process to ask: its answers are the fields of measurements, and may name the `machine`."""

    label: str
    ask: Callable[[], Sequence[Mapping[str, Any]]]


def fresh_process(script: str, flags: Mapping[str, Any], variables: Mapping[str, str]) -> Any:
    """What `script worker --flags` answers, None when it was killed for its memory. Raises RuntimeError with the end of
    its log when it failed."""
    line = [sys.executable, script, "worker", *(f"--{name}={value}" for name, value in flags.items())]
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=os.environ | variables)
    if done.returncode == -9:
        return None
    if done.returncode:
        request = ", ".join(f"{name} {value}" for name, value in flags.items())
        raise RuntimeError(f"{request}: failed ({done.returncode}): …{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(
    kind: type[RunT],
    row: type[Measurement],
    tasks: Sequence[Task],
    *,
    experiment: str,
    store: SweepStore,
    settings: Mapping[str, Any],
    numerics: Mapping[str, Any],
    console: Console,
) -> RunT:
    """Ask all and commit the answers as a new run; what stops it (Ctrl-C, a process that failed) is raised after what
    came in by then is committed. `numerics`: device, dtype and world_size."""
    store.check_writable()
    started = provenance.utc_now()
    rows: list[Measurement] = []
    machine, done, stopped = "?", 0, None
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        bar = bars.add_task(experiment, total=len(tasks))
        try:
            for task in tasks:
                bars.update(bar, description=task.label)
                answers = []
                for fields in map(dict, task.ask()):
                    machine = fields.pop("machine", machine)
                    answers.append(row(**fields))
                rows += answers
                done += 1
                bars.advance(bar)
                if not console.is_terminal:
                    timed = [answer for answer in answers if answer.time_s or answer.outcome != "ok"]
                    times = ", ".join(f"{answer.time_s:.3f} s" if answer.time_s else answer.outcome for answer in timed)
                    console.print(f"{done} of {len(tasks)}: {task.label}: {times or 'done'}")
        except (KeyboardInterrupt, Exception) as error:  # hours of measurements must not go with it
            stopped = error
    run = kind(
        experiment=experiment,
        run_id=new_run_id(),
        machine=machine,
        settings=dict(settings),
        provenance=provenance.gather(numerics=numerics, started_at=started, finished_at=provenance.utc_now()),
        rows=tuple(rows),
    )
    if rows:
        commit(store, run)
    if stopped:
        note = f"; they are in {store.uri}, run {run.run_id}" if rows else ""
        console.print(f"stopped after {done} of {len(tasks)} measurements{note}", soft_wrap=True)
        raise stopped
    return run


def stored_run(settings: MeasuringSettings, experiment: str, kind: type[RunT], store: SweepStore) -> RunT:
    """The run that the settings name, else the newest. Raises StoreError where there is none."""
    if not (stored_runs := [r for r in runs(store, experiment, kind) if settings.run_id in (None, r.run_id)]):
        raise StoreError(f"store {store.uri} has no run {settings.run_id or ''} of {experiment}; run it first")
    return stored_runs[-1]


def main(
    settings: MeasuringSettings,
    experiment: str,
    kind: type[RunT],
    *,
    work: Callable[[], Any],
    run: Callable[[SweepStore, Console], RunT],
    show: Callable[[RunT, SweepStore, Console], None],
) -> int:
    """The exit code: 1 when the store or a process fails, 130 on Ctrl-C. A bound that is not met is a result. `work`
    returns what a fresh process answers."""
    console = screen(160)
    try:
        if settings.command == "worker":
            print(json.dumps(work()))
            return 0
        store = SweepStore(settings.store)
        if settings.command == "report":
            show(stored_run(settings, experiment, kind, store), store, console)
        else:
            show(run(store, console), store, console)
    except KeyboardInterrupt:
        return 130
    except (StoreError, RuntimeError, ValueError, OSError) as error:
        complain(f"{type(error).__name__}: {error}")
        return 1
    return 0
