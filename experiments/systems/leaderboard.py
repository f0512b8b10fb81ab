"""How fast is a table of all trials?  The compacted snapshot against the records one by one, on S3.

`python experiments/leaderboard.py` on a loopback server; `--at s3://bucket/prefix` on yours (an empty prefix, which it
fills). Every number comes from a fresh process; both ways take turns within a round and must find the same.
"""

from __future__ import annotations

import hashlib
import os
import random
import time
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field
from rich.console import Console

import measurement_plots
import measurement_report
import measuring
from loopback_s3 import bucket
from measurement_report import Column
from measurements import Bound, Measurement, MeasurementRun, rotated
from measuring import MeasuringSettings, Task
from swim import recipes
from swimlab.cli import experiment_file
from swimlab.store import commit_marks, provenance, record_kinds, snapshot
from swimlab.store.arrow_tables import to_parquet
from swimlab.store.backends.s3 import S3Backend
from swimlab.store.errors import StoreError
from swimlab.store.evaluation_columns import with_evaluations
from swimlab.store.evaluation_records import EvaluationRecord, TrialTarget
from swimlab.store.published_tables import write_tables
from swimlab.store.records import Cost, TrialRecord
from swimlab.store.sweep_store import SweepStore

NAME = "leaderboard"
TITLE, QUESTION = "Leaderboard", "How many requests and seconds is a table of all trials on S3?"
SCHEMES = ("records", "snapshot")
TRIALS, NEWER = 10_000, 1_000
BOUNDS = (
    Bound("requests", "snapshot", None, 3, True, {"size": f"{TRIALS}"}),
    Bound("time_s", "snapshot", None, 1.0, True, {"size": f"{TRIALS}"}),
    Bound("time_s", "records", "snapshot", 50, False, {"size": f"{TRIALS}"}),
    Bound("listings", "snapshot", None, 1 + 2 * NEWER / 1000, True, {"size": f"{TRIALS}+{NEWER}"}),
)
COLUMNS = (
    Column("seconds", "time_s"),
    Column("requests", "requests", "{:.0f}"),
    Column("listings", "listings", "{:.0f}"),
    Column("trials", "rows", "{:.0f}"),
    Column("records ÷ this", "time_s", over="snapshot"),
)


class ReadCost(Measurement):
    """`size`: how many trials, `10000+1000` of which the last are newer than the snapshot. `time_s`: from an open
    connection to an Arrow table of all of them. `requests` were sent for it, of which `listings`; `digest` is of the
    table's values."""

    requests: int
    listings: int
    rows: int
    digest: str


class ReadRun(MeasurementRun):
    """What one invocation measured."""

    rows: tuple[ReadCost, ...]


class LeaderboardSettings(MeasuringSettings):
    """Measure, and report what was measured. `worker` is one fresh process and prints one line of JSON."""

    trials: int | None = Field(None, ge=1, description=f"how many are compacted; default: {TRIALS}, smoke: 50")
    newer: int | None = Field(None, ge=0, description=f"committed after that; default: {NEWER}, smoke: 5")
    at: str | None = Field(None, description="empty s3://bucket/prefix to measure; default: a loopback server")
    scheme: Literal["records", "snapshot"] = Field("snapshot", description="worker: the one to measure")

    @property
    def counts(self) -> tuple[int, int]:
        """Trials that are compacted, and newer ones."""
        trials, newer = (50, 5) if self.command == "smoke" else (TRIALS, NEWER)
        return self.trials or trials, newer if self.newer is None else self.newer


def record_of(number: int) -> TrialRecord:
    """A record as a trial writes it, with layers and seed of its own and the names of seven files (which nobody
    opens)."""
    drawn = random.Random(number)
    recipe = recipes.named("tiny").override({"seed": number, "objective.layers": (number % 4,)})
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    files = ["film.parquet", *(f"checkpoint/part-{part}" for part in range(6))]
    return TrialRecord(
        trial_id=digest[:16],
        attempt=1,
        nonce=digest[-32:],
        recipe=recipe.model_dump(mode="json", exclude={"evaluation"}),
        recipe_name=recipe.name,
        seed=number,
        init_trial_id=None,
        code_fingerprint=digest[16:32],
        data_fingerprint=digest[32:48],
        metrics={"train.loss": drawn.random()},
        files={name: {"sha256": digest, "size_bytes": drawn.randrange(10**6)} for name in files},
        cost=Cost(wall_s=drawn.random(), cpu_s=drawn.random(), train_s=1.0, eval_s=1.0, peak_rss_bytes=10**9),
        provenance=provenance.gather(
            numerics={"device": "cpu", "dtype": "float32", "world_size": 1},
            started_at="2026-01-01T00:00:00+00:00",
            finished_at="2026-01-01T00:00:01+00:00",
        ),
    )


def evaluation_of(record: TrialRecord) -> EvaluationRecord:
    """An evaluation of the trial with 30 metrics."""
    drawn = random.Random(record.seed)
    return EvaluationRecord(
        evaluation_id=hashlib.sha256(record.trial_id.encode()).hexdigest()[:16],
        suite="attention",
        config={"attributes": True},
        target=TrialTarget.of(record),
        suite_fingerprint="suite",
        code_fingerprint=record.code_fingerprint,
        data_fingerprint=record.data_fingerprint,
        metrics={f"attention.metric_{n}": drawn.random() for n in range(30)},
        folder=f"{record.folder}/evaluations",
        files={"overlays.parquet": record.files["film.parquet"]},
        attempt=record.attempt,
        nonce=record.nonce,
        eval_s=1.0,
        provenance=record.provenance,
    )


def backend_of(store: SweepStore) -> S3Backend:
    """Raises StoreError for a store that is not on S3."""
    if not isinstance(store.backend, S3Backend):
        raise StoreError(f"{store.uri}: requests are counted on S3; give --at s3://bucket/prefix")
    return store.backend


def fill(uri: str, first: int, last: int, compacted: bool) -> list[dict[str, Any]]:
    """Commit these trials as `SweepStore.commit` does, many at a time; nothing to measure."""
    store = SweepStore(uri)
    backend = backend_of(store)
    if first == 0 and store.list_files("records"):
        raise StoreError(f"{uri} has records; measure at an empty prefix")
    about = record_of(0).provenance
    for start in range(first, last, 500):
        batch = [record_of(n).model_copy(update={"provenance": about}) for n in range(start, min(start + 500, last))]
        evaluations = [evaluation_of(record) for record in batch]
        marks = [commit_marks.mark_path(record_kinds.TRIALS, record.trial_id, record.nonce) for record in batch]
        marks += [commit_marks.mark_path(record_kinds.EVALUATIONS, e.evaluation_id, e.nonce) for e in evaluations]
        records = {record.path: record.to_json() for record in (*batch, *evaluations)}
        for files in (dict.fromkeys(marks, b""), records):
            backend.fs.pipe({f"{backend.root}/{path}": data for path, data in files.items()})
    if compacted:
        write_tables(store)
    return []


def from_records(store: SweepStore) -> pa.Table:
    """The leaderboard without any snapshot."""
    trials = record_kinds.TRIALS.table(store.records().values())
    return with_evaluations(trials, record_kinds.EVALUATIONS.table(store.evaluations().values()))


def work(settings: LeaderboardSettings) -> list[dict[str, Any]]:
    """What a fresh process measured."""
    store = SweepStore(settings.at or "")
    with backend_of(store).counted() as sent:
        store.exists("nothing")  # the connection
        sent.clear()
        began_s = time.monotonic()
        table = snapshot.leaderboard(store) if settings.scheme == "snapshot" else from_records(store)
        time_s = time.monotonic() - began_s
    digest = hashlib.sha256(to_parquet(table.combine_chunks())).hexdigest()
    counts = {"requests": sum(sent.values()), "listings": sent["ListObjectsV2"], "rows": table.num_rows}
    machine = f"{provenance.processor()}, {os.cpu_count()} threads"
    return [counts | {"time_s": time_s, "digest": digest, "machine": machine}]


def tasks(settings: LeaderboardSettings, uri: str) -> Iterator[Task]:
    """Fill, measure, commit what is newer, and measure again."""
    trials, newer = settings.counts

    def ask(number: int, scheme: str, size: str) -> list[dict[str, Any]]:
        answers = measuring.fresh_process(__file__, {"scheme": scheme, "at": uri}, {})
        return [answer | {"scheme": scheme, "size": size, "round": number} for answer in answers]

    yield Task(f"commit and compact {trials} trials", partial(fill, uri, 0, trials, True))
    rounds = 1 if settings.command == "smoke" else settings.rounds
    for number in range(1, rounds + 1):
        for scheme in rotated(SCHEMES, number):
            yield Task(f"round {number}: {scheme}", partial(ask, number, scheme, f"{trials}"))
    if newer:
        yield Task(f"commit {newer} more", partial(fill, uri, trials, trials + newer, False))
        size = f"{trials}+{newer}"
        yield Task(f"round 1: records, {size}", partial(ask, 1, "records", size))
        for number in range(1, rounds + 1):
            yield Task(f"round {number}: snapshot, {size}", partial(ask, number, "snapshot", size))


def run(settings: LeaderboardSettings, store: SweepStore, console: Console) -> ReadRun:
    """Measure, and commit it as a new run. Raises RuntimeError when the two ways do not find the same."""
    with nullcontext(settings.at) if settings.at else bucket() as uri:
        done = measuring.measure(
            ReadRun,
            ReadCost,
            list(tasks(settings, uri)),
            experiment=NAME,
            store=store,
            settings=settings.model_dump(mode="json"),
            numerics={"device": "cpu", "dtype": "none", "world_size": 1},
            console=console,
        )
    for size in {row.size for row in done.rows}:
        if len({row.digest for row in done.rows if row.size == size}) > 1:
            raise RuntimeError(
                f"{size} trials: the snapshot and the records do not say the same; see run {done.run_id}"
            )
    return done


def show(done: ReadRun, store: SweepStore, console: Console) -> None:
    """Print the grids and write the report."""
    grids = [
        measurement_report.verdict_grid(done, BOUNDS),
        measurement_report.values_grid(done, "Reading all trials", ("size",), COLUMNS, SCHEMES),
    ]
    server = done.settings["at"] or "a loopback server in Python (moto) on the same machine, which answers slowly"
    notes = [
        f"Store: {server}. records: one listing per 1,000 and every record, many at a time over 32 connections. "
        "snapshot: one listing of what is newer, one read; in 10000+1000 also the 1,000 newer records.",
    ]
    sizes = list(dict.fromkeys(row.size for row in done.rows))
    picture = measurement_plots.value_figure(done, "time_s", "seconds", SCHEMES, sizes)
    measurement_report.show_report(store, done, TITLE, QUESTION, grids, notes, picture, console)


def main(settings: LeaderboardSettings) -> int:
    """The exit code: see `measuring.main`."""
    return measuring.main(settings, NAME, ReadRun, work=partial(work, settings), run=partial(run, settings), show=show)


if __name__ == "__main__":
    raise SystemExit(main(experiment_file.settings(LeaderboardSettings)))
