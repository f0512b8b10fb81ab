"""What the benchmarks of a table will cost: answers to generate, and replies of a judge. Generates and asks nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from swim.data.types import ReferSample
from swim.evaluation.scoring import Asked
from swim.outputs import Answer
from swim.recipe import Recipe
from swimlab.evaluating.annotated import annotated
from swimlab.evaluating.table_judge import judge_of, unreachable
from swimlab.experiment.benchmark_suites import PUBLISHED
from swimlab.experiment.generation_forecast import ANSWER_TOKENS
from swimlab.experiment.planned_benchmarks import PlannedBenchmark
from swimlab.experiment.run_settings import Settings
from swimlab.llm.answer_cache import Answers, CompletionUsage
from swimlab.llm.budget import Prices
from swimlab.llm.judge import TEXT_TOKENS, JudgeEstimate, estimate, first_questions, total
from swimlab.store.records import TrialRecord
from swimlab.store.sweep_store import SweepStore

# Of a question to the judge about a published row: its instructions, the caption and an answer. An estimate.
QUESTION_TOKENS = 525
CHARS_A_TOKEN = 4


@dataclass(frozen=True)
class BenchmarkForecast:
    """Of one benchmark and all trials of a table. `rows` each is asked about (as published, where `assumed`); `answers`
    are missing in all; `judge` None: it asks none. `problem`: why the judge cannot be asked from here, "" where nothing
    speaks against it."""

    planned: PlannedBenchmark
    trials: int
    rows: int
    assumed: bool
    answers: int
    judge: JudgeEstimate | None
    problem: str


def forecast(
    planned: PlannedBenchmark,
    recipe: Recipe,
    trial_ids: Sequence[str],
    records: Mapping[str, TrialRecord],
    store: SweepStore,
    settings: Settings,
) -> BenchmarkForecast:
    """Of the trials of a table, each once; `records` are of those that are trained. Raises OSError for rows that cannot
    be read."""
    rows = None if planned.file is None else list(annotated(planned.data(recipe.data.frames)).values())
    count = PUBLISHED[planned.suite.scorer] if rows is None else len(rows)
    price = _assumed_judge(planned, rows, store, settings)
    trained = [] if planned.missing else [records[trial_id] for trial_id in trial_ids if trial_id in records]
    states = [_stored(planned, trial, store, settings, count, price) for trial in trained]
    states += [(count, price)] * (len(trial_ids) - len(states))
    return BenchmarkForecast(
        planned=planned,
        trials=len(trial_ids),
        rows=count,
        assumed=rows is None,
        answers=sum(answers for answers, _ in states),
        judge=total(replies for _, replies in states if replies) if price else None,
        problem=unreachable(planned, settings),
    )


def _stored(
    planned: PlannedBenchmark,
    trial: TrialRecord,
    store: SweepStore,
    settings: Settings,
    rows: int,
    price: JudgeEstimate | None,
) -> tuple[int, JudgeEstimate | None]:
    """The answers that the store lacks of a trained trial, and what its judge will cost."""
    from swimlab.evaluating import benchmarks, table_benchmarks  # torch and Ray, only where something is trained

    benchmark = table_benchmarks.benchmark_of(planned, trial, settings)
    state = benchmarks.plan(trial, benchmark, store, settings.cache)
    answers = rows if state.missing_clips is None else state.missing_clips
    return answers, state.judge or (price if answers else None)


def _assumed_judge(
    planned: PlannedBenchmark, samples: Sequence[ReferSample] | None, store: SweepStore, settings: Settings
) -> JudgeEstimate | None:
    """Of one trial whose answers are not there yet; None for a scorer that asks no judge."""
    module = planned.suite.module
    if not module.JUDGED:
        return None
    prices = Prices(prompt=settings.price_in, completion=settings.price_out)
    judge = judge_of(planned, settings)
    if samples is None or judge is None:
        rows = PUBLISHED[planned.suite.scorer] if samples is None else len(samples)
        usage = CompletionUsage(prompt_tokens=rows * QUESTION_TOKENS, completion_tokens=rows * TEXT_TOKENS)
        return JudgeEstimate(rows, 0, rows * QUESTION_TOKENS, rows * TEXT_TOKENS, prices.cost(usage))
    text = "x" * (ANSWER_TOKENS[planned.suite.scorer] * CHARS_A_TOKEN)
    asked = [
        Asked(Answer(key=sample.key, turn=turn, question="", text=f"{number:08d}{text}", finish="stop"), sample)
        for number, sample in enumerate(samples)
        for turn in range(len(sample.turns))
    ]
    return estimate(first_questions(lambda ask: module.score(module.Config(), asked, ask)), judge, Answers(store))
