"""Finished trials and served models on one benchmark: what each said, how it was scored, and its rows for a paired
comparison."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from swim import registry
from swim.evaluation.decoding import Decoding
from swim.evaluation.scoring import Ask
from swim.recipe import FramePolicy, Frozen, NLReferFiles, Recipe
from swimlab.data.draw_embedded import ReportProgress
from swimlab.data.prepared_clips import load_prepared
from swimlab.evaluating import answering, generation, scores
from swimlab.evaluating.generation import Generation, ServedModel
from swimlab.evaluating.parts import StoredGeneration, folder
from swimlab.experiment.benchmark_suites import SCORERS
from swimlab.llm.answer_cache import Answers, CompletionUsage
from swimlab.llm.budget import Spending
from swimlab.llm.client import PICTURE_TOKENS, EndpointConfig
from swimlab.llm.judge import JudgeEstimate, estimate, first_questions
from swimlab.store.evaluation_records import EvaluationRecord
from swimlab.store.records import TrialRecord
from swimlab.store.sweep_store import SweepStore

QUESTION_TOKENS = 200  # of a question with options, at most; the pictures before it are thousands


@dataclass(frozen=True)
class Benchmark:
    """Rows of a benchmark, the arm of prompts by which they are asked, and the scorer of the answers with its
    configuration (None: its defaults). `judge` is the language model that the scorer asks, None where it asks none."""

    scorer: str
    data: NLReferFiles
    arm: str
    decoding: Decoding
    judge: EndpointConfig | None = None
    config: Frozen | None = None


@dataclass(frozen=True)
class Workers:
    """Where answers are generated (`swimlab.evaluating.answering.answer`)."""

    workers: int = 0
    gpu: bool | None = None
    batch_size: int | None = None


@dataclass(frozen=True)
class TrialScores:
    """One trial on one benchmark, or a served model, whose name is its `trial_id` and whose `seed` is None. `metrics`
    are without the judge's name, which is the benchmark's; `rows`: metric → (key, turn) → value; `videos`: (key, turn)
    → its video."""

    trial_id: str
    seed: int | None
    metrics: Mapping[str, float]
    rows: Mapping[str, Mapping[tuple[str, int], float]]
    videos: Mapping[tuple[str, int], str]
    evaluation_id: str


@dataclass(frozen=True)
class BenchmarkPlan:
    """What a run would do for one trial or served model: answers of so many clips are missing (None: not known before
    the clips are prepared), the most that a served model will take for them, and what the judge will cost; None where
    it has none, or where there are no answers yet to ask about."""

    trial_id: str
    missing_clips: int | None
    judge: JudgeEstimate | None
    most_answering_cost: float | None = None


def trials_of(store: SweepStore, arms: Mapping[str, Sequence[str]]) -> dict[str, list[TrialRecord]]:
    """Arm → its trials, named by their ids. Raises ValueError for a trial that the store does not have."""
    records = store.read_records([trial_id for of_arm in arms.values() for trial_id in of_arm])
    if missing := [trial_id for of_arm in arms.values() for trial_id in of_arm if trial_id not in records]:
        raise ValueError(f"{store.uri} has no trial {', '.join(missing)}: `swimlab ls` shows the ids")
    return {arm: [records[trial_id] for trial_id in of_arm] for arm, of_arm in arms.items()}


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
    stored = answering.answer(
        _generation(trial, benchmark, cache),
        store,
        cache,
        workers=where.workers,
        gpu=where.gpu,
        batch_size=where.batch_size,
        progress=progress,
    )
    return _scored(stored, benchmark, ask, trial.trial_id, int(trial.recipe["seed"]))


def stored_evaluation(
    trial: TrialRecord, benchmark: Benchmark, store: SweepStore, cache: Path
) -> EvaluationRecord | None:
    """The scores of a trial's answers as far as the store has them; None where it does not. Asks nobody."""
    config = benchmark.config or registry.module(SCORERS, benchmark.scorer).Config()
    generation_id = _generation(trial, benchmark, cache).generation_id
    name = scores.Scoring.of(generation_id, benchmark.scorer, config, benchmark.judge).evaluation_id
    record = store.read_evaluations([name]).get(name)
    return record if record and record.fits(trial) else None


def measure_served(
    model: EndpointConfig,
    benchmark: Benchmark,
    store: SweepStore,
    cache: Path,
    *,
    budget: Spending | None = None,
    ask: Ask | None = None,
    progress: ReportProgress = lambda stage, done, total: None,
) -> TrialScores:
    """The same of a served model: `params` are added to temperature 0 and the benchmark's limit on an answer
    (`engines.request_params`). `budget`: what its answers may cost. Raises like `measure`."""
    named = _generation(model, benchmark, cache)
    stored = answering.answer(named, store, cache, endpoint=model, budget=budget, progress=progress)
    return _scored(stored, benchmark, ask, model.model, None)


def plan(model: TrialRecord | EndpointConfig, benchmark: Benchmark, store: SweepStore, cache: Path) -> BenchmarkPlan:
    """Generates and asks nothing."""
    named = _generation(model, benchmark, cache)
    name = model.trial_id if isinstance(model, TrialRecord) else model.model
    prepared = load_prepared(store, named.clips_fingerprint)
    if prepared is None:
        return BenchmarkPlan(name, None, None)
    if not store.exists(f"{folder(named.generation_id)}/plan.json"):
        missing, price = prepared.rows("train"), None
    else:
        stored = StoredGeneration.load(store, named.generation_id)
        missing = sum(len(stored.plan.clips_of(number)) for number in stored.missing())
        price = None if missing else _price(stored, benchmark, store)
    most = None if isinstance(model, TrialRecord) else _most_answering_cost(model, benchmark, missing)
    return BenchmarkPlan(name, missing, price, most)


def _scored(
    stored: StoredGeneration, benchmark: Benchmark, ask: Ask | None, name: str, seed: int | None
) -> TrialScores:
    items = scores.asked(stored)
    record = scores.score(stored, benchmark.scorer, benchmark.config, judge=benchmark.judge, ask=ask, items=items)
    rows: dict[str, dict[tuple[str, int], float]] = defaultdict(dict)
    for row in scores.rows_of(stored.store, record):
        rows[_plain(row.metric, benchmark)][row.key, row.turn] = row.value
    return TrialScores(
        trial_id=name,
        seed=seed,
        metrics={_plain(metric, benchmark): value for metric, value in record.metrics.items()},
        rows=dict(rows),
        videos={(item.answer.key, item.answer.turn): item.sample.video for item in items},
        evaluation_id=record.evaluation_id,
    )


def _price(stored: StoredGeneration, benchmark: Benchmark, store: SweepStore) -> JudgeEstimate | None:
    if benchmark.judge is None:
        return None
    module = registry.module(SCORERS, benchmark.scorer)
    items, config = scores.asked(stored), benchmark.config or module.Config()
    questions = first_questions(lambda ask: module.score(config, items, ask))
    return estimate(questions, benchmark.judge, Answers(store))


def _most_answering_cost(model: EndpointConfig, benchmark: Benchmark, clips: int) -> float:
    """Of one question a clip, with all frames that a clip may have and an answer as long as it may be."""
    prompt = benchmark.data.frames.max_frames * PICTURE_TOKENS + QUESTION_TOKENS
    usage = CompletionUsage(prompt_tokens=clips * prompt, completion_tokens=clips * benchmark.decoding.max_new_tokens)
    return model.prices.cost(usage)


def _generation(model: TrialRecord | EndpointConfig, benchmark: Benchmark, cache: Path) -> Generation:
    data, arm, decoding = benchmark.data, benchmark.arm, benchmark.decoding
    if isinstance(model, TrialRecord):
        return generation.of_trial(model, data, cache, arm=arm, decoding=decoding)
    served = ServedModel(model=model.model, params=model.params)
    return generation.of_server(served, data, cache, arm=arm, decoding=decoding)


def _plain(metric: str, benchmark: Benchmark) -> str:
    return metric.removesuffix(f" by {benchmark.judge.model}") if benchmark.judge else metric
