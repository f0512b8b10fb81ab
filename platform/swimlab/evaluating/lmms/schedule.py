"""Many trials on many tasks of lmms-eval: in this process one after another, or as tasks of Ray, one GPU each."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from swimlab.data.draw_embedded import ReportProgress
from swimlab.evaluating.benchmarks import TrialScores
from swimlab.evaluating.lmms import runs
from swimlab.evaluating.lmms.environment import LmmsError
from swimlab.evaluating.lmms.measure import evaluation_id, measure, suite
from swimlab.evaluating.lmms.runs import GeneralTask, Where
from swimlab.execution import cluster
from swimlab.store.errors import StoreError
from swimlab.store.evaluation_records import TrialTarget
from swimlab.store.records import TrialRecord
from swimlab.store.sweep_store import SweepStore


class Job(NamedTuple):
    """A trial on a task."""

    trial: TrialRecord
    task: GeneralTask


class Outcome(NamedTuple):
    """What became of a job: its scores, or why there are none."""

    job: Job
    scores: TrialScores | None
    failure: str = ""


class JobPlan(NamedTuple):
    """What a run would do for a job. `stored`: nothing is to be run. `like_s`: how long another model took on the task,
    None where none has. `failure`: why the last try ended."""

    job: Job
    stored: bool
    like_s: float | None
    failure: str = ""


def plan(jobs: Sequence[Job], store: SweepStore) -> list[JobPlan]:
    """Runs nothing."""
    names = [evaluation_id(job.trial, job.task) for job in jobs]
    failures = store.failures(names)
    took = {record.suite: record.eval_s for record in store.evaluations().values()}
    return [
        JobPlan(
            job,
            stored=runs.load(store, runs.run_id(TrialTarget.of(job.trial), job.task)) is not None,
            like_s=took.get(suite(job.task)),
            failure=_reason(failures[name]["error"]) if name in failures else "",
        )
        for job, name in zip(jobs, names, strict=True)
    ]


def measure_all(
    jobs: Sequence[Job],
    store: SweepStore,
    where: Where,
    workers: int = 0,
    progress: ReportProgress = lambda stage, done, total: None,
) -> list[Outcome]:
    """The outcomes in the order of the jobs; one that fails stops no other.

    Args:
        workers: jobs at a time, each a task of Ray with a GPU where the cluster has any (`where.gpu` says otherwise);
            0: this process. The environment of lmms-eval, HF_HOME and the folder of tasks must be on every node.

    Raises:
        PlanError: when no job fits the cluster.
    """
    outcomes: dict[int, Outcome] = {}
    for number, outcome in _outcomes(jobs, store, where, workers):
        outcomes[number] = outcome
        progress("lmms-eval", len(outcomes), len(jobs))
    return [outcomes[number] for number in range(len(jobs))]


def unlike(outcomes: Sequence[Outcome], store: SweepStore) -> str:
    """The numerics classes of the runs of a task that has several, "" where every task's models were computed alike."""
    classes: dict[str, set[str]] = defaultdict(set)
    for job, scores, _ in outcomes:
        if scores is not None and (run := runs.load(store, runs.run_id(TrialTarget.of(job.trial), job.task))):
            classes[job.task.task].add(", ".join(f"{name} {value}" for name, value in sorted(run.numerics.items())))
    return next((" | ".join(sorted(of_task)) for of_task in classes.values() if len(of_task) > 1), "")


def _outcomes(jobs: Sequence[Job], store: SweepStore, where: Where, workers: int) -> Iterator[tuple[int, Outcome]]:
    if workers == 0:
        yield from ((number, _outcome(job, store, where)) for number, job in enumerate(jobs))
        return
    with cluster.ray_session():
        import ray  # only where workers were asked for

        slots = cluster.slots(workers=1, gpu=where.gpu, concurrency=workers)
        where = where.with_gpu("GPU" in slots.worker)
        remote = ray.remote(num_cpus=slots.worker["CPU"], num_gpus=slots.worker.get("GPU", 0), max_retries=0)(_outcome)
        waiting = list(range(len(jobs)))
        running: dict[ray.ObjectRef, int] = {}
        while waiting or running:
            while waiting and len(running) < slots.at_a_time:
                number = waiting.pop(0)
                running[remote.remote(jobs[number], store, where)] = number
            (ended, *_), _ = ray.wait(list(running), num_returns=1)
            number = running.pop(ended)
            try:
                yield number, ray.get(ended)
            except ray.exceptions.RayError as error:  # its process or its node is gone
                yield number, Outcome(jobs[number], None, f"{_reason(str(error))}: run the same command again")


def _outcome(job: Job, store: SweepStore, where: Where) -> Outcome:
    try:
        return Outcome(job, measure(job.trial, job.task, store, where))
    except (LmmsError, StoreError, ValueError, OSError) as error:
        return Outcome(job, None, str(error))


def _reason(text: str) -> str:
    """The line of a traceback that names the exception; what follows it may be the output of a program."""
    named = re.findall(r"^[\w.]*(?:Error|Exception)\w*: .*$", text, re.MULTILINE)
    return str(named[-1]).partition(": ")[2] if named else " ".join(text.split())[:300]
