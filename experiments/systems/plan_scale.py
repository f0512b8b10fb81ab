"""What do plan, run, ls and watch cost when everything is planned in thousands and nothing is left to train?

`python experiments/systems/plan_scale.py` commits the results of 5,000 trials to a store of its own, without training,
and measures each command in a process of its own: its CPU time, that of the processes it started included, and its
memory. Both depend little on what else the machine does.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import Field
from rich.console import Console

import measurement_plots
import measurement_report
import measuring
from many_trials import MANY_TRIALS
from measurement_report import MIB, Column
from measurements import Bound, Measurement, MeasurementRun
from measuring import MeasuringSettings, Task
from swim import recipes
from swim.outputs import MetricPoint, Overlay, SampleScore
from swimlab.cli import experiment_file
from swimlab.experiment import run_manifest
from swimlab.experiment.plan import Plan, make_plan
from swimlab.experiment.run_settings import Settings
from swimlab.experiment.trial_spec import TrialSpec
from swimlab.store import provenance
from swimlab.store.arrow_tables import metrics_table, overlays_table, samples_table, to_parquet
from swimlab.store.evaluation_commits import source_name
from swimlab.store.evaluation_records import EvaluationRecord, TrialTarget
from swimlab.store.published_tables import write_tables
from swimlab.store.records import Cost, Provenance, TrialRecord
from swimlab.store.sweep_store import SweepStore

NAME = "plan_scale"
TITLE, QUESTION = "Plans of thousands", "What do our commands cost where a table has thousands of trials?"
SEEDS, SMOKE_SEEDS = 250, 3
VARIANTS = 8
AT_ONCE = 16
ARMS = len(MANY_TRIALS.arms)
TRIALS = {"size": f"{ARMS * SEEDS} trials"}
WATCHED = {"size": f"{2 * ARMS * SEEDS} trials"}
COMMANDS = ("plan", "run", "ls", "watch")
BOUNDS = (
    Bound("time_s", "plan", None, 10, True, TRIALS),
    Bound("time_s", "run", None, 20, True, TRIALS),
    Bound("time_s", "ls", None, 3, True, TRIALS),
    Bound("time_s", "watch", None, 10, True, WATCHED),
    *(Bound("peak_bytes", name, None, 1e9, True, WATCHED if name == "watch" else TRIALS) for name in COMMANDS),
)
COLUMNS = (Column("CPU seconds", "time_s", "{:.1f}"), Column("peak MiB", "peak_bytes", "{:.0f}", MIB))


class CommandRun(MeasurementRun):
    """What one invocation measured. `time_s`: user and system time; `peak_bytes`: resident memory, at least that of the
    measuring process, from which Linux counts on."""

    rows: tuple[Measurement, ...]


class ScaleSettings(MeasuringSettings):
    """Measure, and report what was measured. `worker` does nothing here: the processes are the commands."""

    seeds: int | None = Field(None, ge=2, le=SEEDS, description=f"seeds of 20 arms; default: {SEEDS}, smoke: 3")
    at: Path | None = Field(None, description="keep the store with the results in this folder, and use what it has")

    @property
    def trained(self) -> int:
        """Seeds with results; as many again are announced and wait."""
        return self.seeds or (SMOKE_SEEDS if self.command == "smoke" else SEEDS)


def planned(seeds: int, cache: Path) -> Plan:
    """The plan of the table with so many seeds."""
    settings = Settings(store="unused", cache=cache, _cli_parse_args=False)  # type: ignore[call-arg]
    return make_plan(MANY_TRIALS, recipes.named(MANY_TRIALS.recipe), settings, seeds=range(seeds))


def fill(folder: Path, seeds: int) -> list[dict[str, Any]]:
    """Commit results for every trial that the store lacks, and announce twice as many; nothing to measure."""
    store, plan = SweepStore(str(folder)), planned(2 * seeds, folder / "cache")
    about = provenance.gather(
        numerics={"device": "cpu", "dtype": "float32", "world_size": 1},
        started_at="2026-01-01T00:00:00+00:00",
        finished_at="2026-01-01T00:00:01+00:00",
    )
    variants = [contents(number) for number in range(VARIANTS)]
    done = store.trial_ids()
    lacking = [spec for trial, spec in plan.arms if trial.seed < seeds and spec.trial_id not in done]
    with ThreadPoolExecutor(AT_ONCE) as pool:  # a commit mostly waits for the disk
        list(pool.map(lambda spec: commit(store, spec, variants[spec.seed % VARIANTS], about), lacking))
    write_tables(store)
    run_manifest.announce(plan, store, plan.trial_ids)
    return []


def contents(number: int) -> dict[str, bytes]:
    """Files as a trial of 120 steps writes them, in one of several variants: curves that are all the same are not
    drawn."""
    names = ("train.loss", "train.text_loss", "train.mask_loss", "train.lr")
    points = [
        MetricPoint(step=step, name=name, value=(1 + number / 10) / step) for step in range(1, 121) for name in names
    ]
    overlay = Overlay(
        key="clip",
        tag=0,
        noun="lemon",
        question="Describe the lemon.",
        grid=(2, 8, 8),
        frame_size=(64, 64),
        frames=bytes(2 * 64 * 64 * 3),
        masks=bytes([1]) * (2 * 64 * 64),
        map=bytes(2 * 8 * 8 * 4),
        annotated=(True, True),
    )
    metrics = [f"attention.{name}" for name in ("ap", "pointing", "mass")]
    scores = [
        SampleScore(key=f"clip {n}", turn=0, tag=0, noun="lemon", metric=metric, value=0.5)
        for n in range(50)
        for metric in metrics
    ]
    return {
        "metrics.parquet": to_parquet(metrics_table(points)),
        "overlays.parquet": to_parquet(overlays_table([overlay])),
        "samples.parquet": to_parquet(samples_table(scores)),
    }


def commit(store: SweepStore, spec: TrialSpec, files: dict[str, bytes], about: Provenance) -> None:
    """Commit a trial and its evaluation, with numbers that are drawn."""
    if (attempt := store.claim(spec.trial_id)) is None:
        raise RuntimeError(f"trial {spec.trial_id} is claimed: is another process filling {store.uri}?")
    drawn = random.Random(spec.trial_id)
    target = TrialTarget(trial_id=spec.trial_id, attempt=attempt.number, nonce=attempt.nonce)
    attempt.put("metrics.parquet", files["metrics.parquet"])
    for identity in spec.evaluations:
        folder = f"evaluations/{identity.evaluation_id}"
        entries = {
            name: attempt.put(f"{folder}/{name}", files[name]) for name in ("overlays.parquet", "samples.parquet")
        }
        values = {f"attention.metric_{n}": drawn.random() for n in range(20)}
        values |= {metric.name: drawn.random() for metric in MANY_TRIALS.metrics}
        evaluation = EvaluationRecord(
            **identity.model_dump(),
            target=target,
            data_fingerprint=spec.data_fingerprint,
            metrics=values,
            folder=f"{attempt.folder}/{folder}",
            files=entries,
            attempt=attempt.number,
            nonce=attempt.nonce,
            eval_s=1.0,
            provenance=about,
        )
        attempt.put(source_name(identity.evaluation_id), evaluation.to_json())
    record = TrialRecord(
        trial_id=spec.trial_id,
        attempt=attempt.number,
        nonce=attempt.nonce,
        recipe=spec.recipe.model_dump(mode="json", exclude={"evaluation"}),
        recipe_name=spec.recipe.name,
        seed=spec.seed,
        init_trial_id=spec.init_trial_id,
        start_weights="0" * 64,
        code_fingerprint=spec.code_fingerprint,
        data_fingerprint=spec.data_fingerprint,
        metrics={"train.loss": drawn.random(), "train.mask_loss": drawn.random()},
        files=attempt.files,
        cost=Cost(wall_s=46.0, cpu_s=41.5, train_s=38.0, eval_s=5.0, peak_rss_bytes=900_000_000),
        provenance=about,
    )
    store.commit(attempt, record)
    for identity in spec.evaluations:
        store.publish(record, identity.evaluation_id)


def ask(line: list[str], labels: dict[str, Any]) -> list[dict[str, Any]]:
    """Run a command and return its CPU time and memory, with `labels`. Raises RuntimeError when it fails."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen([sys.executable, *line], stdout=log, stderr=log)
        # Not resource.getrusage(RUSAGE_CHILDREN), whose memory is that of the largest child so far.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            raise RuntimeError(f"{line}: failed ({process.returncode}): …{log.read().decode()[-2000:]}")
    unit = 1 if sys.platform == "darwin" else 1024
    machine = f"{provenance.processor()}, {os.cpu_count()} threads"
    cost = {"time_s": usage.ru_utime + usage.ru_stime, "peak_bytes": usage.ru_maxrss * unit}
    return [labels | cost | {"machine": machine}]


def tasks(settings: ScaleSettings, folder: Path) -> Iterator[Task]:
    """Fill, then measure. `watch` comes first: a run announces its own trials in place of the 10,000."""
    seeds = settings.trained
    table = [str(Path(__file__).with_name("many_trials.py"))]
    flags = [f"--store={folder}", f"--cache={folder / 'cache'}", f"--seeds={seeds}"]
    swimlab = ["-m", "swimlab"]
    lines = {
        "watch": [*swimlab, "watch", "--once", f"--store={folder}"],
        "ls": [*swimlab, "ls", f"--store={folder}"],
        "plan": [*table, "plan", *flags],
        "run": [*table, "run", *flags],
    }
    sizes = {name: f"{ARMS * seeds * (2 if name == 'watch' else 1)} trials" for name in lines}
    for number in range(1, (1 if settings.command == "smoke" else settings.rounds) + 1):
        yield Task(f"round {number}: results of {ARMS * seeds} trials", partial(fill, folder, seeds))
        for name, line in lines.items():
            labels = {"scheme": name, "size": sizes[name], "round": number}
            yield Task(f"round {number}: {name}", partial(ask, line, labels))


def run(settings: ScaleSettings, store: SweepStore, console: Console) -> CommandRun:
    """Measure, and commit it as a new run."""
    with tempfile.TemporaryDirectory(prefix="swimlab-plan-scale-") as folder:
        return measuring.measure(
            CommandRun,
            Measurement,
            list(tasks(settings, settings.at or Path(folder))),
            experiment=NAME,
            store=store,
            settings=settings.model_dump(mode="json"),
            numerics={"device": "cpu", "dtype": "none", "world_size": 1},
            console=console,
        )


def show(done: CommandRun, store: SweepStore, console: Console) -> None:
    """Print the grids and write the report."""
    grids = [
        measurement_report.verdict_grid(done, BOUNDS),
        measurement_report.values_grid(done, "Commands of a store with nothing to train", ("size",), COLUMNS, COMMANDS),
    ]
    notes = [
        f"{ARMS} arms on {MANY_TRIALS.recipe}, a local store. run: every trial is committed and evaluated, and the "
        "report is written. watch: one poll, with results for half of the announced trials.",
    ]
    sizes = list(dict.fromkeys(row.size for row in done.rows))
    picture = measurement_plots.value_figure(done, "time_s", "CPU seconds", COMMANDS, sizes)
    measurement_report.show_report(store, done, TITLE, QUESTION, grids, notes, picture, console)


def main(settings: ScaleSettings) -> int:
    """The exit code: see `measuring.main`."""
    return measuring.main(settings, NAME, CommandRun, work=list, run=partial(run, settings), show=show)


if __name__ == "__main__":
    raise SystemExit(main(experiment_file.settings(ScaleSettings)))
