"""What the platform costs beside training and evaluation, of every run in a store: seconds a trial, and the wall time.

`python experiments/sweep_fusion.py`, then this. Overhead is a trial's time in its slot, from claim to commit, without
training and evaluation: starting, reading clips and weights, looking at and saving the run, storing, committing. The
ratio is the wall time of the waves that fill the machine by their trials' compute over the slots.
"""

import statistics

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict
from rich import box
from rich.table import Table

from swimlab.base.screen import screen
from swimlab.cli import experiment_file
from swimlab.execution import run_times
from swimlab.store.sweep_store import SweepStore


class PlatformSettings(BaseSettings):
    """Overhead of the runs in a store."""

    model_config = SettingsConfigDict(env_prefix="SWIMLAB_", cli_kebab_case=True, extra="forbid", frozen=True)

    store: str = Field("swimlab-store", description="sweep store: a folder or s3://bucket/prefix")


def main() -> None:
    """Prints a row a run."""
    store = SweepStore(experiment_file.settings(PlatformSettings).store)
    table = Table(box=box.SIMPLE_HEAD, title=f"Overhead of the runs in {store.uri}")
    heads = ("run", "trials", "overhead a trial, s: median", "least", "most", "wall ÷ (compute ÷ slots)", "prepare, s")
    for head in heads:
        table.add_column(head, justify="left" if head == "run" else "right")
    records = store.records()
    for times in run_times.read(store):
        overhead = run_times.overhead(times, records)
        name = f"{times.started_at} {', '.join(times.experiments)}"
        spread = (
            [statistics.median(overhead.per_trial_s), min(overhead.per_trial_s), max(overhead.per_trial_s)]
            if overhead.trials
            else []
        )
        cells = [f"{value:.2f}" for value in spread] or ["–"] * 3
        ratio = "–" if overhead.ratio is None else f"{overhead.ratio:.3f}"
        table.add_row(name, str(overhead.trials), *cells, ratio, f"{times.prepare_s:.0f}")
    screen().print(table)


if __name__ == "__main__":
    main()
