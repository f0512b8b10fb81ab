"""The benchmarks of a table: after training, its trials give the answers that are missing, a scorer scores them, and
the scores join the trials' results.

Answers and scores are stored, each by a name of its own: a killed run goes on, a second judge generates nothing again,
and a second table pays for nothing again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

from rich.console import Console

from swim.evaluation.decoding import Decoding
from swim.evaluation.scoring import Ask, Question, Reply
from swim.recipe import Recipe
from swimlab.base.screen import say
from swimlab.evaluating import benchmarks
from swimlab.evaluating.answering import AnsweringError
from swimlab.evaluating.benchmarks import Benchmark, Workers
from swimlab.evaluating.table_judge import judge_of
from swimlab.execution import cluster
from swimlab.execution.progress import SweepProgress
from swimlab.experiment.benchmark_suites import BenchmarkSuite
from swimlab.experiment.planned_benchmarks import PlannedBenchmark
from swimlab.experiment.results import ArmResult, Results
from swimlab.experiment.run_settings import Settings
from swimlab.llm.answer_cache import Answers
from swimlab.llm.budget import Budget
from swimlab.llm.client import ChatClient, EndpointError
from swimlab.llm.judge import Judge
from swimlab.store.errors import StoreError
from swimlab.store.evaluation_records import EvaluationRecord, TrialResult
from swimlab.store.published_tables import write_tables
from swimlab.store.records import TrialRecord
from swimlab.store.sweep_store import SweepStore

Key = tuple[str, BenchmarkSuite]
"""A trial and how it is asked."""


def with_benchmarks(results: Sequence[Results], settings: Settings, console: Console) -> list[Results]:
    """The results with the scores of their benchmarks: those in the store, and, unless the command is `report` or
    `--train-only` is given, those that are missing, made now. A trial that could not be measured says why in its
    `failure`.

    Raises PipelineError when a benchmark's rows cannot be prepared, PlanError when workers do not fit the cluster,
    StoreError.
    """
    wanted = {
        (trial.trial_id, item.suite): (trial.record, item)
        for result in results
        for item in result.benchmarks
        if not item.missing
        for trial in result.trials
        if trial.record is not None
    }
    if not wanted:
        return list(results)
    store, done, failed = results[0].store, dict[Key, EvaluationRecord](), dict[Key, str]()
    for key, (record, item) in wanted.items():
        if evaluation := benchmarks.stored_evaluation(
            record, benchmark_of(item, record, settings), store, settings.cache
        ):
            done[key] = evaluation
    missing = {key: work for key, work in wanted.items() if key not in done}
    if missing and settings.command != "report" and not settings.train_only:
        with SweepProgress(console) as progress:
            _measure(missing, done, failed, store, settings, progress)
        write_tables(store)
    return [_joined(result, done, failed) for result in results]


def benchmark_of(planned: PlannedBenchmark, trial: TrialRecord, settings: Settings) -> Benchmark:
    """The benchmark as a trial is asked it: with the pictures that it was trained on."""
    return Benchmark(
        scorer=planned.suite.scorer,
        data=planned.data(Recipe.model_validate(trial.recipe).data.frames),
        arm=planned.suite.prompts,
        decoding=Decoding(max_new_tokens=planned.suite.max_new_tokens),
        judge=judge_of(planned, settings),
    )


def _measure(
    missing: Mapping[Key, tuple[TrialResult, PlannedBenchmark]],
    done: dict[Key, EvaluationRecord],
    failed: dict[Key, str],
    store: SweepStore,
    settings: Settings,
    progress: SweepProgress,
) -> None:
    """Fills `done` and `failed`. After a judge that cannot answer any more, the answers of other trials are generated
    all the same: another run finds them in the store, and only grades them."""
    budget, where = Budget(settings.max_cost), Workers(settings.workers, settings.gpu, settings.micro_batch)
    clients: dict[str, ChatClient] = {}
    given_up: dict[str, EndpointError] = {}
    with cluster.ray_session() if settings.workers else nullcontext():  # one Ray for all trials
        for number, (key, (record, item)) in enumerate(missing.items(), start=1):
            benchmark, scorer = benchmark_of(item, record, settings), item.suite.scorer
            ask: Ask | None = None
            try:
                if benchmark.judge:
                    if scorer not in clients:
                        clients[scorer] = ChatClient(benchmark.judge, Answers(store), budget=budget)
                    ask = partial(_refuse, given_up[scorer]) if scorer in given_up else Judge(clients[scorer])
                measured = benchmarks.measure(
                    record, benchmark, store, settings.cache, where=where, ask=ask, progress=progress.stage
                ).evaluation_id
                done[key] = store.read_evaluations([measured])[measured]
            except EndpointError as error:
                given_up.setdefault(scorer, error)
                failed[key] = f"{scorer}: {error}"
            except (AnsweringError, StoreError) as error:  # of one trial, whose checkpoint may be gone
                failed[key] = f"{scorer}: {error}"
            progress.stage("benchmarks of trials", number, len(missing))
    if clients:
        spent, _ = budget.spent_and_pending()
        say(progress.console, f"judges cost {spent:.4f}, and nothing for what the store had")


def _refuse(error: EndpointError, questions: Sequence[Question]) -> list[Reply]:
    raise error


def _joined(results: Results, done: Mapping[Key, EvaluationRecord], failed: Mapping[Key, str]) -> Results:
    def joined(trial: ArmResult) -> ArmResult:
        keys = [(trial.trial_id, item.suite) for item in results.benchmarks]
        evaluations = [done[key] for key in keys if key in done]
        failures = [failed[key] for key in keys if key in failed]
        if trial.record is None or not (evaluations or failures):
            return trial
        record = TrialResult.of(trial.record, (*trial.record.evaluations, *evaluations))
        return replace(trial, record=record, failure="; ".join(filter(None, [trial.failure, *failures])) or None)

    return replace(results, trials=tuple(map(joined, results.trials)))
