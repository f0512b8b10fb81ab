"""Finished trials on one benchmark: what each said, how it was scored, and its rows for a paired comparison."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from swim import registry
from swim.evaluation.decoding import Decoding
from swim.evaluation.scoring import Ask
from swim.recipe import FramePolicy, NLReferFiles, Recipe
from swimlab.data.draw_embedded import ReportProgress
from swimlab.data.prepared_clips import load_prepared
from swimlab.evaluating import answering, generation, scores
from swimlab.evaluating.generation import Generation
from swimlab.evaluating.parts import StoredGeneration, folder
from swimlab.llm.answer_cache import Answers
from swimlab.llm.client import EndpointConfig
from swimlab.llm.judge import JudgeEstimate, estimate, first_questions
from swimlab.store import arrow_tables
from swimlab.store.evaluation_records import EvaluationRecord
from swimlab.store.records import TrialRecord
from swimlab.store.sweep_store import SweepStore


@dataclass(frozen=True)
class Benchmark:
    """Rows of a benchmark, the arm of prompts by which they are asked, and the scorer of the answers. `judge` is the
    language model that the scorer asks, None where it asks none."""

    scorer: str
    data: NLReferFiles
    arm: str
    decoding: Decoding
    judge: EndpointConfig | None = None


@dataclass(frozen=True)
class Workers:
    """Where answers are generated (`swimlab.evaluating.answering.answer`)."""

    workers: int = 0
    gpu: bool | None = None
    batch_size: int | None = None


@dataclass(frozen=True)
class TrialScores:
    """One trial on one benchmark. `metrics` are without the judge's name, which is the benchmark's; `rows`: metric →
    (key, turn) → value; `videos`: (key, turn) → its video."""

    trial_id: str
    seed: int
    metrics: Mapping[str, float]
    rows: Mapping[str, Mapping[tuple[str, int], float]]
    videos: Mapping[tuple[str, int], str]
    evaluation_id: str


@dataclass(frozen=True)
class BenchmarkPlan:
    """What a run would do for one trial: `answers` of so many clips are missing (None: not known before the clips are
    prepared), and what the judge will cost; None where it has none, or where there are no answers yet to ask about."""

    trial_id: str
    missing_clips: int | None
    judge: JudgeEstimate | None


def frames_of(trials: Sequence[TrialRecord]) -> FramePolicy:
    """The frame policy that all these trials were trained with. Raises ValueError where they differ: their answers
    would be about different pictures."""
    policies = {Recipe.model_validate(trial.recipe).data.frames for trial in trials}
    if len(policies) != 1:
        raise ValueError(f"the trials were trained with {len(policies)} frame policies: compare trials of one")
    return policies.pop()


def measure(
    trial: TrialRecord,
    benchmark: Benchmark,
    store: SweepStore,
    cache: Path,
    *,
    where: Workers = Workers(),
    ask: Ask | None = None,
    progress: ReportProgress = lambda stage, done, total: None,
) -> TrialScores:
    """Answers and scores, both from the store where they are there. Raises like `answering.answer` and
    `scores.score`."""
    named = _generation(trial, benchmark, cache)
    stored = answering.answer(
        named, store, cache, workers=where.workers, gpu=where.gpu, batch_size=where.batch_size, progress=progress
    )
    record = scores.score(stored, benchmark.scorer, judge=benchmark.judge, ask=ask)
    assert isinstance(record, EvaluationRecord)  # the answerer is a trial
    return TrialScores(
        trial_id=trial.trial_id,
        seed=int(trial.recipe["seed"]),
        metrics={_plain(name, benchmark): value for name, value in record.metrics.items()},
        rows=_rows(record, benchmark, store),
        videos={(item.answer.key, item.answer.turn): item.sample.video for item in scores.asked(stored)},
        evaluation_id=record.evaluation_id,
    )


def plan(trial: TrialRecord, benchmark: Benchmark, store: SweepStore, cache: Path) -> BenchmarkPlan:
    """Generates and asks nothing."""
    named = _generation(trial, benchmark, cache)
    prepared = load_prepared(store, named.clips_fingerprint)
    if prepared is None:
        return BenchmarkPlan(trial.trial_id, None, None)
    if not store.exists(f"{folder(named.generation_id)}/plan.json"):
        return BenchmarkPlan(trial.trial_id, prepared.rows("train"), None)
    stored = StoredGeneration.load(store, named.generation_id)
    missing = sum(len(stored.plan.clips_of(number)) for number in stored.missing())
    return BenchmarkPlan(trial.trial_id, missing, None if missing else _price(stored, benchmark, store))


def _price(stored: StoredGeneration, benchmark: Benchmark, store: SweepStore) -> JudgeEstimate | None:
    if benchmark.judge is None:
        return None
    module = registry.module(scores.SCORERS, benchmark.scorer)
    asked = scores.asked(stored)
    questions = first_questions(lambda ask: module.score(module.Config(), asked, ask))
    return estimate(questions, benchmark.judge, Answers(store))


def _generation(trial: TrialRecord, benchmark: Benchmark, cache: Path) -> Generation:
    return generation.of_trial(trial, benchmark.data, cache, arm=benchmark.arm, decoding=benchmark.decoding)


def _rows(record: EvaluationRecord, benchmark: Benchmark, store: SweepStore) -> dict[str, dict[tuple[str, int], float]]:
    table = arrow_tables.from_parquet(store.evaluation_file(record, "samples.parquet"))
    rows: dict[str, dict[tuple[str, int], float]] = defaultdict(dict)
    for row in arrow_tables.samples_from_table(table):
        rows[_plain(row.metric, benchmark)][row.key, row.turn] = row.value
    return dict(rows)


def _plain(metric: str, benchmark: Benchmark) -> str:
    return metric.removesuffix(f" by {benchmark.judge.model}") if benchmark.judge else metric
