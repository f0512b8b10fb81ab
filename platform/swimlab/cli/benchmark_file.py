"""What the experiments about finished models share: which models, which rows, which judge; the plan, the run, the page.

An experiment declares its tables and says which arm is answered by which models to which rows (`Page`). Nothing is
trained, and nothing is answered or paid for twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, CliPositionalArg, SettingsConfigDict
from rich.console import Console

from swim.data.types import DataError
from swim.evaluation.decoding import Decoding
from swim.evaluation.scorers.bench_d import Config as BenchDConfig
from swim.recipe import FramePolicy, NLReferFiles
from swimlab.base.screen import say
from swimlab.cli import command_line
from swimlab.data.prepared_clips import PipelineError
from swimlab.evaluating.answering import AnsweringError
from swimlab.evaluating.benchmarks import (
    Benchmark,
    TrialScores,
    Workers,
    frames_of,
    measure,
    measure_served,
    plan,
    trials_of,
)
from swimlab.execution.progress import SweepProgress
from swimlab.experiment.run_settings import DEFAULT_CACHE, CacheFolder
from swimlab.identity.naming import IdentityError
from swimlab.llm.answer_cache import Answers
from swimlab.llm.budget import Budget, Prices
from swimlab.llm.client import ChatClient, EndpointConfig, EndpointError
from swimlab.llm.judge import Judge
from swimlab.report.benchmark_page import BenchmarkTable, agreement_grid, grids, markdown
from swimlab.report.grids import Grid, print_grids
from swimlab.store.provenance import new_run_id
from swimlab.store.published_tables import write_tables
from swimlab.store.records import TrialRecord
from swimlab.store.sweep_store import SweepStore

Model = TrialRecord | EndpointConfig
ARMS = ("base", "control", "swim")


class BenchmarkSettings(BaseSettings):
    """Finished models on benchmarks. A model is the id of a trial (`swimlab ls`); several are seeds of one arm."""

    model_config = SettingsConfigDict(
        env_prefix="SWIMLAB_", cli_kebab_case=True, extra="forbid", frozen=True, cli_hide_none_type=True
    )

    command: CliPositionalArg[Literal["run", "plan"]] = Field("run", description="run; plan: what is missing, its cost")
    base: tuple[str, ...] = Field((), description="trials of the base model: a recipe with 0 steps")
    control: tuple[str, ...] = Field((), description="trials without the mask loss")
    swim: tuple[str, ...] = Field((), description="trials with it")
    served: str | None = Field(None, description="a model behind an OpenAI-compatible server: a row of its own")
    served_url: str = Field("https://api.openai.com/v1", description="served model: its server")
    served_params: dict[str, Any] = Field({}, description="served model: JSON of further fields of each request")
    served_price_in: float = Field(0.0, ge=0, description="served model: of a million prompt tokens, pictures included")
    served_price_out: float = Field(0.0, ge=0, description="served model: of a million completion tokens")
    bench_q: str | None = Field(None, description="rows of Bench-Q: the original, NL-Refer's, or the synonyms")
    bench_d: str | None = Field(None, description="rows of Bench-D")
    videos: str = Field(".", description="folder of the video paths of Bench-D, and of Bench-Q without --videos-q")
    videos_q: str | None = Field(None, description="folder of the video paths of Bench-Q")
    max_new_tokens: int = Field(512, ge=1, description="tokens of an answer at most")
    judge: str | None = Field(None, description="Bench-D: the judging model's name, part of every number it gives")
    second_judge: str | None = Field(None, description="another one: shown apart, with their agreement")
    second_url: str | None = Field(None, description="second judge: its server; default: the judge's")
    judge_repeats: int = Field(1, ge=1, description="judge: grades of each answer, whose mean counts")
    base_url: str = Field("https://api.openai.com/v1", description="judge: any OpenAI-compatible server")
    params: dict[str, Any] = Field(
        {"temperature": 0, "seed": 0, "max_tokens": 500}, description="judge: JSON of further fields of each request"
    )
    price_in: float = Field(0.0, ge=0, description="judge: of a million prompt tokens")
    price_out: float = Field(0.0, ge=0, description="judge: of a million completion tokens")
    max_cost: float | None = Field(None, gt=0, description="no request leaves that could make a run cost more")
    workers: int = Field(0, ge=0, description="actors that hold a model each; 0: this process")
    gpu: bool | None = Field(None, description="whether a worker takes a GPU; default: where there is one")
    batch_size: int | None = Field(None, ge=1, description="prompts a forward pass")
    store: str = Field("swimlab-store", description="sweep store: a folder or s3://bucket/prefix")
    cache: CacheFolder = Field(DEFAULT_CACHE, validate_default=True, description="scratch folder of this machine")

    @model_validator(mode="after")
    def _complete(self) -> BenchmarkSettings:
        if not (self.base or self.control or self.swim or self.served):
            raise ValueError("name trials with --base, --control or --swim, or a served model with --served")
        if not (self.bench_q or self.bench_d):
            raise ValueError("name a benchmark's rows with --bench-q or --bench-d")
        if self.bench_d and not self.judge:
            raise ValueError("--bench-d needs --judge")
        if self.second_judge and self.second_judge == self.judge:
            raise ValueError("--second-judge is the judge itself, which agrees with itself: name another model")
        return self

    @property
    def judges(self) -> list[EndpointConfig]:
        """The judge and the second one, as far as they are named."""
        prices = Prices(prompt=self.price_in, completion=self.price_out)
        named = ((self.judge, self.base_url), (self.second_judge, self.second_url or self.base_url))
        return [
            EndpointConfig(base_url=url, model=model, params=self.params, prices=prices)
            for model, url in named
            if model
        ]

    def models(self, store: SweepStore) -> dict[str, list[Model]]:
        """Arm → its trials, and the served model under its own name. Raises ValueError for a trial that the store does
        not have."""
        ids = {arm: getattr(self, arm) for arm in ARMS if getattr(self, arm)}
        models: dict[str, list[Model]] = {arm: [*trials] for arm, trials in trials_of(store, ids).items()}
        if self.served:
            prices = Prices(prompt=self.served_price_in, completion=self.served_price_out)
            url, params = self.served_url, self.served_params
            models[self.served] = [EndpointConfig(base_url=url, model=self.served, params=params, prices=prices)]
        return models

    def benchmarks(self, scorer: str, frames: FramePolicy, arm: str, file: str | None = None) -> list[Benchmark]:
        """The rows of Bench-Q or Bench-D (`file`: other rows of the same videos), asked by an arm of prompts and
        scored, Bench-D once for each judge. Nothing where no rows are named."""
        named = {"bench-q": self.bench_q, "bench-d": self.bench_d}[scorer]
        if named is None:
            return []
        data = NLReferFiles(
            annotations=(file or named,),
            videos=(self.videos_q or self.videos) if scorer == "bench-q" else self.videos,
            formats=(scorer,),
            frames=frames,
            placeholders="keep" if arm == "contour" else "refuse",
        )
        asked = Benchmark(scorer, data, arm, Decoding(max_new_tokens=self.max_new_tokens))
        if scorer == "bench-q":
            return [asked]
        return [replace(asked, judge=judge, config=BenchDConfig(repeats=self.judge_repeats)) for judge in self.judges]


@dataclass(frozen=True)
class Asked:
    """The models of an arm and what they are asked. `keys`: key of a row → the row that it is paired with in the
    comparison of arms, where that is another."""

    models: Sequence[Model]
    benchmark: Benchmark
    keys: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Page:
    """A table and its arms, all scored by one judge, or by none."""

    table: BenchmarkTable
    arms: Mapping[str, Asked]

    @property
    def judge(self) -> EndpointConfig | None:
        """The judge of all arms."""
        return next(iter(self.arms.values())).benchmark.judge


def frames(models: Mapping[str, Sequence[Model]]) -> FramePolicy:
    """The frames that the trials were trained with, so that all models see the same pictures; without a trial the
    default policy. Raises ValueError where the trials differ."""
    trials = [model for of_arm in models.values() for model in of_arm if isinstance(model, TrialRecord)]
    return frames_of(trials) if trials else FramePolicy()


def main(settings: BenchmarkSettings, command: Callable[[Console], int]) -> None:
    """Runs an experiment's command and ends the process."""
    command_line.exit_with(
        command,
        errors=(AnsweringError, DataError, PipelineError, EndpointError, IdentityError),
        stopped=f"stopped; the same command goes on where this left off (store {settings.store})",
    )


def run(
    settings: BenchmarkSettings,
    store: SweepStore,
    name: str,
    title: str,
    pages: Sequence[Page],
    facts: Mapping[str, str],
    console: Console,
) -> int:
    """Plans, or answers, scores, brings the store's tables up to date and writes reports/<name>/<run>/report.md;
    `facts` stand on top of it."""
    if settings.command == "plan":
        print_grids([_plan(settings, store, pages)], console)
        return 0
    budget = Budget(settings.max_cost)
    facts = {"run": new_run_id(), **facts}
    judges = {page.judge.model: page.judge for page in pages if page.judge}
    asks = {model: Judge(ChatClient(config, Answers(store), budget=budget)) for model, config in judges.items()}
    with SweepProgress(console) as progress:
        scored = [
            {
                arm: [
                    _renamed(_measured(settings, store, model, asked.benchmark, asks, budget, progress), asked.keys)
                    for model in asked.models
                ]
                for arm, asked in page.arms.items()
            }
            for page in pages
        ]
    shown = _grids(pages, scored)
    for model, judge in asks.items():
        replies = [f"{count} of {name}" for name, count in judge.models.items()]
        facts[f"replies of {model}"] = ", ".join(replies) or "none: the scores were in the store"
        facts[f"paid to {model}"] = f"{judge.usage.paid} replies"
    facts["cost"] = f"{budget.spent_and_pending()[0]:.4f}"
    for _, of_table in shown:
        print_grids(of_table, console)
    write_tables(store)
    path = f"reports/{name}/{facts['run']}/report.md"
    store.backend.replace(path, markdown(title, shown, facts).encode())
    say(console, f"report   {store.uri}/{path}")
    return 0


def named(models: Mapping[str, Sequence[Model]]) -> dict[str, str]:
    """Arm → its models, for the facts of a page."""
    return {arm: " ".join(_name(model) for model in of_arm) for arm, of_arm in models.items()}


def _grids(
    pages: Sequence[Page], scored: Sequence[Mapping[str, list[TrialScores]]]
) -> list[tuple[BenchmarkTable, list[Grid]]]:
    """The grids of each page; the second of two judges gets their agreement."""
    shown: list[tuple[BenchmarkTable, list[Grid]]] = []
    first: dict[str, tuple[EndpointConfig, Mapping[str, list[TrialScores]]]] = {}
    for page, scores in zip(pages, scored, strict=True):
        of_page = grids(page.table, scores, page.judge.model if page.judge else "")
        if page.judge:
            judge, other = first.setdefault(page.table.name, (page.judge, scores))
            if judge != page.judge:
                of_page.append(agreement_grid(page.table, other, scores, (judge.model, page.judge.model)))
        shown.append((page.table, of_page))
    return shown


def _plan(settings: BenchmarkSettings, store: SweepStore, pages: Sequence[Page]) -> Grid:
    """What a run would generate and pay."""
    heads = ["benchmark", "model", "is", "prompts", "clips to answer", "cost at most", "judge", "requests", "cost"]
    rows = []
    for page in pages:
        for arm, asked in page.arms.items():
            for model in asked.models:
                planned = plan(model, asked.benchmark, store, settings.cache)
                clips = "all: they are not prepared" if planned.missing_clips is None else f"{planned.missing_clips:,}"
                most, price = planned.most_answering_cost, planned.judge
                rows.append(
                    [
                        asked.benchmark.scorer,
                        arm,
                        _name(model),
                        asked.benchmark.arm,
                        clips,
                        "–" if most is None else f"{most:.4f}",
                        page.judge.model if page.judge else "–",
                        f"{price.requests:,} ({price.cached:,} stored)" if price else "–",
                        f"{price.cost:.4f}" if price else "–",
                    ]
                )
    return "Plan", heads, rows


def _measured(
    settings: BenchmarkSettings,
    store: SweepStore,
    model: Model,
    benchmark: Benchmark,
    asks: Mapping[str, Judge],
    budget: Budget,
    progress: SweepProgress,
) -> TrialScores:
    ask = asks[benchmark.judge.model] if benchmark.judge else None
    if isinstance(model, EndpointConfig):
        return measure_served(model, benchmark, store, settings.cache, budget=budget, ask=ask, progress=progress.stage)
    where = Workers(settings.workers, settings.gpu, settings.batch_size)
    return measure(model, benchmark, store, settings.cache, where=where, ask=ask, progress=progress.stage)


def _renamed(scores: TrialScores, keys: Mapping[str, str]) -> TrialScores:
    """With the keys of the rows that these are paired with."""

    def paired(turn: tuple[str, int]) -> tuple[str, int]:
        return keys.get(turn[0], turn[0]), turn[1]

    rows = {metric: {paired(turn): value for turn, value in of.items()} for metric, of in scores.rows.items()}
    return replace(scores, rows=rows, videos={paired(turn): video for turn, video in scores.videos.items()})


def _name(model: Model) -> str:
    return model.trial_id if isinstance(model, TrialRecord) else model.model
