"""What does a sweep lose when its drivers are killed?  `kill -9` at random points, on local disk and on S3.

`python experiments/crash_storm.py`: drivers without Ray, with the store's real code and a trainer of milliseconds (see
storm.py), two at a time. Beside it two drivers that nobody kills, which must share the trials.
"""

from __future__ import annotations

import io
import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Literal

from matplotlib.figure import Figure
from pydantic import Field
from rich.console import Console

import measurement_report
import measuring
import storm
from loopback_s3 import bucket
from measurements import Measurement, MeasurementRun
from measuring import MeasuringSettings, Task
from swimlab.cli import experiment_file
from swimlab.report.grids import Grid
from swimlab.store import provenance
from swimlab.store.sweep_store import SweepStore

# Each fork begins with the imports of this file.
storm.FORKS.set_forkserver_preload([*storm.PRELOADED, "swimlab.cli.experiment_file", "measurement_plots", "measuring"])

NAME = "crash_storm"
TITLE, QUESTION = "Crash storm", "What does a sweep lose when its drivers are killed at random points?"
KILLS = {"local": 500, "s3": 50}
LIFE_S = {"local": 0.3, "s3": 3.0}  # a few trials
SHARED = {"local": 200, "s3": 40}
PROMISES = {
    "lost": "records that were committed and are not there",
    "altered": "records that are not what they were when first seen",
    "repeated": "trials begun again after their commit, or one attempt begun twice",
    "wrong": "curves that are not, byte for byte, those of a run that nobody stopped",
    "unfinished": "trials that were begun and have no record in the end",
    "unevaluated": "trials whose evaluation is not in the store as it was made, byte for byte",
    "unlisted": "leaderboards (before and after compaction) that are not the table of all records",
    "garbage": "things left after gc",
}


class StormResult(Measurement):
    """One storm. `size`: what was done; `time_s`: of all of it. The promises count how often each was broken;
    `most_recomputed` steps were trained twice by one kill, reports are `interval` steps apart. `killed_at`: what the
    victims were doing."""

    drivers: int
    kills: int
    trials: int
    attempts: int
    drivers_that_ran: int
    lost: int
    altered: int
    repeated: int
    wrong: int
    unfinished: int
    unlisted: int
    garbage: int
    most_recomputed: int
    unevaluated: int = 0  # runs of earlier versions made no evaluations
    interval: int = storm.INTERVAL
    killed_at: tuple[tuple[str, int], ...] = ()


class StormRun(MeasurementRun):
    """What one invocation found."""

    rows: tuple[StormResult, ...]


class StormSettings(MeasuringSettings):
    """Raise storms, and report what they left. `worker` is one storm and prints one line of JSON."""

    where: tuple[Literal["local", "s3"], ...] = Field(("local", "s3"), description="local disk, a loopback S3 server")
    kills: int | None = Field(None, ge=1, description="of each storm; default: 500 local, 50 on S3; smoke: 5")
    drivers: int = Field(2, ge=1, description="at a time")
    seed: int = Field(0, description="of the random points")
    scheme: Literal["local", "s3"] = Field("local", description="worker: where")
    peaceful: bool = Field(False, description="worker: nobody is killed")

    def kills_at(self, scheme: str) -> int:
        """How many."""
        return self.kills or (5 if self.command == "smoke" else KILLS[scheme])


def work(settings: StormSettings) -> list[dict[str, Any]]:
    """One storm and what it left."""
    with (
        tempfile.TemporaryDirectory(prefix="swimlab-storm-") as scratch,
        bucket() if settings.scheme == "s3" else nullcontext(f"{scratch}/store") as uri,
    ):
        began_s = time.monotonic()
        raised = storm.Storm(uri, Path(scratch), settings.drivers, settings.seed)
        kills = 0 if settings.peaceful else settings.kills_at(settings.scheme)
        if kills:
            raised.kill(kills, LIFE_S[settings.scheme])
        raised.share(
            raised.started() if kills else SHARED[settings.scheme] if settings.kills is None else settings.kills
        )
        result = {"drivers": settings.drivers, "kills": kills, **storm.judge(raised)}
        result |= {"killed_at": raised.killed_at.most_common(), "time_s": time.monotonic() - began_s}
    return [result | {"machine": f"{provenance.processor()}, {os.cpu_count()} threads"}]


def run(settings: StormSettings, store: SweepStore, console: Console) -> StormRun:
    """Raise all storms, and commit what they left as a new run."""

    def ask(scheme: str, peaceful: bool) -> list[dict[str, Any]]:
        flags = {"scheme": scheme, "peaceful": peaceful, "drivers": settings.drivers, "seed": settings.seed}
        flags |= {"kills": settings.kills_at(scheme)} if settings.kills or settings.command == "smoke" else {}
        size = "nobody is killed" if peaceful else "kill -9"
        answers = measuring.fresh_process(__file__, flags, {"OMP_WAIT_POLICY": "PASSIVE"})
        return [answer | {"scheme": scheme, "size": size, "round": 1} for answer in answers]

    tasks = [
        Task(f"{scheme}: {'nobody is killed' if peaceful else 'kill -9'}", partial(ask, scheme, peaceful))
        for scheme in settings.where
        for peaceful in (True, False)
    ]
    return measuring.measure(
        StormRun,
        StormResult,
        tasks,
        experiment=NAME,
        store=store,
        settings=settings.model_dump(mode="json"),
        numerics={"device": "cpu", "dtype": "float64", "world_size": 1},
        console=console,
    )


def promises(done: StormRun) -> Grid:
    """A line a promise, a column a storm."""
    rows = []
    for name, text in PROMISES.items():
        values = [getattr(row, name) for row in done.rows]
        rows.append([text, *map(str, values), "not met" if any(values) else "met"])
    within = all(row.most_recomputed <= row.interval for row in done.rows)
    heading = f"most steps trained twice by one kill (≤ {max(row.interval for row in done.rows)})"
    rows.append([heading, *(str(row.most_recomputed) for row in done.rows), "met" if within else "not met"])
    if peaceful := [row for row in done.rows if not row.kills]:
        shared = all(row.attempts == row.trials and row.drivers_that_ran == row.drivers for row in peaceful)
        heading = "attempts of trials; where nobody is killed, one each, by all drivers"
        attempts = [f"{row.attempts} of {row.trials}" for row in done.rows]
        rows.append([heading, *attempts, "met" if shared else "not met"])
    return "Promises", ["promise", *(f"{row.scheme}, {row.kills} kills" for row in done.rows), "verdict"], rows


def picture(rows: Sequence[StormResult]) -> bytes:
    """What the victims were doing."""
    stormy = [row for row in rows if row.killed_at] or list(rows[:1])
    figure = Figure(figsize=(4.6 * len(stormy), 3), layout="constrained")
    for panel, row in zip(figure.subplots(1, len(stormy), squeeze=False)[0], stormy, strict=True):
        panel.set_title(f"{row.kills} kills, {row.scheme}: while …")
        names, counts = zip(*row.killed_at, strict=True) if row.killed_at else ((), ())
        panel.barh(names, counts, color="#4269d0")
        panel.invert_yaxis()
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=150, metadata={"Software": None})
    return drawn.getvalue()


def show(done: StormRun, store: SweepStore, console: Console) -> None:
    """Print the promises and write the report."""
    notes = [
        "Drivers run the store's real code: claims, heartbeats, step checkpoints, files, marks, commits. A trial has "
        f"{storm.STEPS} steps of well under a millisecond and saves where it stands every {storm.INTERVAL}. Each "
        "victim is replaced at once; in the end as many drivers finish what was begun.",
    ]
    grids = [promises(done)]
    measurement_report.show_report(store, done, TITLE, QUESTION, grids, notes, picture(done.rows), console)


def main(settings: StormSettings) -> int:
    """The exit code: see `measuring.main`."""
    return measuring.main(settings, NAME, StormRun, work=partial(work, settings), run=partial(run, settings), show=show)


if __name__ == "__main__":
    raise SystemExit(main(experiment_file.settings(StormSettings)))
