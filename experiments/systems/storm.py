"""Drivers of a sweep without Ray and with a trainer of milliseconds, on the real store; what a storm of kills left.

A driver does what a trial does: claim, go on from the last step saved, save at every report, put files and an
evaluation, commit, publish the evaluation. What it is about to do goes into a journal, which outlives it, and by which
the store is judged afterwards.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import pyarrow as pa
import torch

from swim.checkpoint import Checkpoint, Snapshot
from swim.outputs import MetricPoint
from swimlab.execution import resume_points, step_checkpoints
from swimlab.execution.exactly_once import run_trial_once
from swimlab.store import garbage_collection
from swimlab.store.arrow_tables import metrics_table, to_parquet
from swimlab.store.attempts import Attempt
from swimlab.store.evaluation_columns import with_evaluations
from swimlab.store.evaluation_records import EvaluationRecord, TrialTarget
from swimlab.store.published_tables import write_tables
from swimlab.store.record_kinds import EVALUATIONS, TRIALS
from swimlab.store.records import Cost, Provenance, TrialRecord
from swimlab.store.snapshot import leaderboard
from swimlab.store.sweep_store import SweepStore

STEPS, INTERVAL = 20, 5
CPU = {"device": "cpu"}
FORKS = get_context("forkserver")
# The server of forks does not find this file: what it imports is loaded once, and a driver starts in milliseconds.
PRELOADED = ["swimlab.store.garbage_collection", "swimlab.execution.exactly_once"]
FORKS.set_forkserver_preload(PRELOADED)


ABOUT = Provenance(
    git_sha=None, git_dirty=None, versions={}, host="", numerics={}, started_at="2026-01-01", finished_at="2026-01-01"
)


class HeldError(Exception):
    """Another driver has the trial."""


class Now:
    """A run of one weight, which every step moves: whoever repeats or leaves out a step ends elsewhere."""

    def __init__(self, seed: int) -> None:
        self.step, self.weight = 0, torch.tensor([float(seed)], dtype=torch.float64)
        self.curve: list[MetricPoint] = []

    def advance(self) -> None:
        self.step += 1
        self.weight = torch.sin(self.weight * 3 + self.step)
        self.curve.append(MetricPoint(step=self.step, name="train.loss", value=self.weight.item()))

    def checkpoint(self) -> Snapshot:
        return Snapshot(self.step, {"model.w": self.weight.clone()}, tuple(self.curve))

    def go_on(self, run: Checkpoint) -> None:
        run.read({"model.w": self.weight}, own=0)
        self.step, self.curve = run.step, list(run.curve)


def seed_of(trial_id: str) -> int:
    return int(trial_id.removeprefix("t"))


def expected(trial_id: str) -> list[MetricPoint]:
    """The curve of a run that nobody stopped."""
    run = Now(seed_of(trial_id))
    for _ in range(STEPS):
        run.advance()
    return run.curve


class Journal:
    """Lines appended whole, in the order in which they happened, by all drivers."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(self, event: str, attempt: Attempt, step: int = 0) -> None:
        line = f"{os.getpid()} {event} {attempt.trial_id} {attempt.number} {step} {attempt.nonce}\n"
        os.write(self._file, line.encode())


def work(store: SweepStore, attempt: Attempt, journal: Journal) -> TrialRecord:
    """Train, put the files, describe them; between the reports a step takes a fraction of a millisecond."""
    journal.note("claimed", attempt)
    run = Now(seed_of(attempt.trial_id))
    if standing := resume_points.latest(store.backend, attempt, CPU, torch.device("cpu")):
        run.go_on(standing.run)
    journal.note("resumed", attempt, run.step)
    with step_checkpoints.StepCheckpoints(attempt, CPU, every_s=0) as saved:
        while run.step < STEPS:
            run.advance()
            journal.note("step", attempt, run.step)
            if run.step % INTERVAL == 0 and run.step < STEPS:
                journal.note("saving", attempt, run.step)
                saved.save(run, [], "")
                saved.wait()
                journal.note("saved", attempt, run.step)
    journal.note("putting", attempt)
    attempt.put("metrics.parquet", to_parquet(metrics_table(run.curve)))
    attempt.put("checkpoint/w", run.weight.numpy().tobytes())
    attempt.put(f"evaluations/{evaluation_id(attempt.trial_id)}.json", evaluate(attempt, run))
    journal.note("committing", attempt)
    return TrialRecord(
        trial_id=attempt.trial_id,
        attempt=attempt.number,
        nonce=attempt.nonce,
        recipe={"name": "storm"},
        recipe_name="storm",
        seed=seed_of(attempt.trial_id),
        init_trial_id=None,
        code_fingerprint="storm",
        data_fingerprint="none",
        metrics={"train.loss": run.curve[-1].value},
        files=attempt.files,
        cost=Cost(wall_s=0, cpu_s=0, train_s=0, eval_s=0, peak_rss_bytes=0),
        provenance=ABOUT,
    )


def evaluation_id(trial_id: str) -> str:
    return f"e{seed_of(trial_id)}"


def evaluate(attempt: Attempt, run: Now) -> bytes:
    """The finished record of an evaluation made with the training."""
    evaluation = EvaluationRecord(
        evaluation_id=evaluation_id(attempt.trial_id),
        suite="storm",
        config={},
        target=TrialTarget(trial_id=attempt.trial_id, attempt=attempt.number, nonce=attempt.nonce),
        suite_fingerprint="storm",
        code_fingerprint="storm",
        data_fingerprint="none",
        metrics={"weight": run.weight.item()},
        folder=f"{attempt.folder}/evaluations/{evaluation_id(attempt.trial_id)}",
        files={},
        attempt=attempt.number,
        nonce=attempt.nonce,
        eval_s=0,
        provenance=ABOUT,
    )
    return evaluation.to_json()


def drive(uri: str, journal_path: Path, last: int, ready: Connection, variables: Mapping[str, str]) -> None:
    """Run trials t0 to t<last - 1> until all have a record; those that another driver holds come later. `variables`:
    how to reach the store."""
    os.environ.update(variables)
    torch.set_num_threads(1)
    tempfile.tempdir = str(journal_path.parent)  # what killed drivers leave goes with the storm
    store, journal = SweepStore(uri), Journal(journal_path)
    left = sorted({f"t{n}" for n in range(last)} - store.trial_ids(), key=seed_of)

    def raise_held() -> None:
        raise HeldError

    ready.send(True)
    while left:
        for trial_id in list(left):
            try:
                record = run_trial_once(store, trial_id, lambda attempt, _: work(store, attempt, journal), raise_held)
            except HeldError:
                continue
            attempt = Attempt(store.backend, trial_id, record.attempt, record.nonce)
            journal.note("committed", attempt)
            store.publish(record, evaluation_id(trial_id))
            journal.note("published", attempt)
            left.remove(trial_id)
        time.sleep(0.01)


class Storm:
    """Drivers on one store, and what is known of it while they are killed."""

    def __init__(self, uri: str, scratch: Path, drivers: int, seed: int) -> None:
        self.uri, self.journal, self.drivers = uri, scratch / "journal", drivers
        self.journal.touch()
        self.draw = random.Random(seed)
        self.seen: dict[str, bytes] = {}
        self.killed_at: Counter[str] = Counter()

    def start(self, last: int) -> FORKS.Process:
        """A driver that has begun."""
        # The server of forks has those of its own start.
        variables = {name: value for name, value in os.environ.items() if name.startswith(("AWS_", "NO_PROXY"))}
        receive, send = FORKS.Pipe(duplex=False)
        process = FORKS.Process(target=drive, args=(self.uri, self.journal, last, send, variables))
        process.start()
        send.close()
        receive.recv()
        return process

    def kill(self, times: int, life_s: float) -> None:
        """`kill -9` a driver at a random time of its life, this often; each is replaced at once."""
        store = SweepStore(self.uri)
        ahead = 100 * self.drivers
        running = [self.start(ahead) for _ in range(self.drivers)]
        for _ in range(times):
            time.sleep(self.draw.uniform(0, life_s / self.drivers))
            victim = running.pop(self.draw.randrange(len(running)))
            victim.kill()
            victim.join()
            if victim.exitcode != -9:
                raise RuntimeError(f"a driver ended by itself ({victim.exitcode}); see its error above")
            self.killed_at[self._last_words(victim.pid)] += 1
            self.remember_records(store)
            running.append(self.start(len(self.seen) + ahead))
        for process in running:
            process.kill()
            process.join()

    def share(self, last: int) -> None:
        """All drivers at once until these trials are done. Raises RuntimeError when one ends with an error."""
        running = [self.start(last) for _ in range(self.drivers)]
        for process in running:
            process.join()
            if process.exitcode:
                raise RuntimeError(f"a driver ended with {process.exitcode}; see its error above")

    def remember_records(self, store: SweepStore) -> None:
        """Remember every record as it was first seen."""
        new = [
            f"records/{trial_id}.json" for trial_id in store.trial_ids() if f"records/{trial_id}.json" not in self.seen
        ]
        self.seen |= store.backend.read_many(new)

    def lines(self) -> list[tuple[int, str, str, int, int, str]]:
        """The journal: pid, what, trial_id, attempt, step, nonce."""
        split = (line.split() for line in self.journal.read_text().splitlines())
        return [(int(pid), event, trial, int(n), int(step), nonce) for pid, event, trial, n, step, nonce in split]

    def _last_words(self, pid: int | None) -> str:
        return next((event for by, event, *_ in reversed(self.lines()) if by == pid), "starting")

    def started(self) -> int:
        """How many trials were begun, at most."""
        return max((seed_of(trial) + 1 for _, _, trial, *_ in self.lines()), default=0)


def from_records(store: SweepStore) -> pa.Table:
    """The leaderboard without any snapshot."""
    trials = TRIALS.table(store.records().values())
    return with_evaluations(trials, EVALUATIONS.table(store.evaluations().values()))


def judge(storm: Storm) -> Mapping[str, int]:
    """What a finished storm left: how often each promise was broken, and how much there was to break."""
    store, lines = SweepStore(storm.uri), storm.lines()
    records = store.records()
    final = store.backend.read_many([f"records/{trial_id}.json" for trial_id in records])
    claims: dict[str, list[int]] = defaultdict(list)
    resumed, reached, commits = {}, defaultdict(int), defaultdict(set)
    reclaimed = 0
    for _, event, trial_id, number, step, nonce in lines:
        if event == "claimed":
            claims[trial_id].append(number)
            reclaimed += bool(commits[trial_id])
        elif event == "resumed":
            resumed[trial_id, number] = step
        elif event == "step":
            reached[trial_id, number] = step
        elif event == "committed":
            commits[trial_id].add(nonce)
    recomputed = [
        max((reached[trial_id, n] for n in numbers if n < number), default=0) - resumed[trial_id, number]
        for trial_id, numbers in claims.items()
        for number in numbers
        if (trial_id, number) in resumed
    ]
    committed = {trial_id: nonces for trial_id, nonces in commits.items() if nonces}
    listed, expected_tables = [leaderboard(store)], [from_records(store)]
    write_tables(store)
    listed.append(leaderboard(store))
    expected_tables.append(from_records(store))
    evaluations = {t: f"evaluations/{evaluation_id(t)}.json" for t in records}
    made = {t: store.open_file(t, path) for t, path in evaluations.items()}
    published = store.backend.read_many(list(evaluations.values()))
    garbage_collection.collect(store, garbage_collection.find(store, garbage_collection.Rules(unfinished=True)))
    curves = {t: to_parquet(metrics_table(expected(t))) for t in records}
    return {
        "trials": len(records),
        "attempts": sum(len(numbers) for numbers in claims.values()),
        "lost": sum(t not in records or {records[t].nonce} != nonces for t, nonces in committed.items())
        + sum(path not in final for path in storm.seen),
        "altered": sum(final.get(path, data) != data for path, data in storm.seen.items()),
        "repeated": reclaimed + sum(len(set(numbers)) != len(numbers) for numbers in claims.values()),
        "unfinished": len({f"t{n}" for n in range(storm.started())} - set(records)),
        "wrong": sum(store.open_file(trial_id, "metrics.parquet") != curve for trial_id, curve in curves.items()),
        "unevaluated": sum(published.get(path) != made[t] for t, path in evaluations.items()),
        "unlisted": sum(not listing.equals(table) for listing, table in zip(listed, expected_tables, strict=True)),
        "garbage": len(garbage_collection.find(store, garbage_collection.Rules(unfinished=True)).items),
        "most_recomputed": max(recomputed, default=0),
        "drivers_that_ran": len({pid for pid, event, *_ in lines if event == "committed"}),
    }
