"""Table 1: finished models on VideoRefer-Bench-Q and -D, beside the paper's rows.  (SWIM, section 4.2)

`python experiments/benchmark_refer.py plan --base TRIAL --swim TRIAL --bench-q q.json --bench-d d.json --videos FOLDER`
says what is missing and what a judge will cost; `run` answers, scores and compares. Nothing is trained, and nothing is
answered or paid for twice. Bench-D needs a judge: `--judge MODEL --base-url URL`, with the key in OPENAI_API_KEY.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, CliPositionalArg, SettingsConfigDict
from rich.console import Console

from swim.evaluation.decoding import Decoding
from swim.recipe import NLReferFiles
from swimlab import Better
from swimlab.base.screen import say
from swimlab.cli import command_line
from swimlab.data.prepared_clips import PipelineError
from swimlab.evaluating.answering import AnsweringError
from swimlab.evaluating.benchmarks import Benchmark, Workers, frames_of, measure, plan
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
from swimlab.store.records import TrialRecord
from swimlab.store.sweep_store import SweepStore

CLAIMS = [Better("swim", "base"), Better("swim", "control")]
# One model an arm is compared over the benchmark's rows, which is what the paper's table could claim.
TABLES = {
    "bench-q": BenchmarkTable(
        name="VideoRefer-Bench-Q",
        columns={
            **{
                kind: f"bench_q.{kind.lower()}"
                for kind in ("Basic", "Sequential", "Relationship", "Reasoning", "Future")
            },
            "Avg": "bench_q.avg",
        },
        released="bench_q_released.avg",
        counts=[f"bench_q.{name}" for name in ("asked", "refused", "unclear", "failed", "left_out")],
        digits=1,
        claims=CLAIMS,
        test="rows",
        paper={
            "Qwen2.5-VL-7B": (78.0, 69.7, 58.2, 79.9, 73.2, 71.8),
            "GPT-4o": (62.3, 74.5, 66.0, 88.0, 73.7, 71.3),
            "VideoRefer-7B": (75.4, 68.6, 59.3, 89.4, 78.1, 71.9),
            "SWIM": (83.8, 75.0, 66.7, 93.7, 80.7, 78.3),
        },
        notes=[
            "The paper's accuracies are by the released reading, which takes other letters than a reader would.",
            "Two models with mask prompts lie above SWIM here: PixelRefer-7B 79.4, VideoRefer-VideoLLaMA3-7B 80.1.",
        ],
    ),
    "bench-d": BenchmarkTable(
        name="VideoRefer-Bench-D",
        columns={axis.upper(): f"bench_d.{axis}" for axis in ("sc", "ad", "td", "hd")} | {"Avg": "bench_d.avg"},
        released="bench_d_released.avg",
        counts=[
            f"bench_d.{name}"
            for name in ("asked", "parsed", "unparsed", "refused", "failed", "reasked", "other_references", "left_out")
        ],
        digits=2,
        claims=CLAIMS,
        test="rows",
        paper={
            "Qwen2.5-VL-7B": (4.33, 3.19, 2.88, 2.58, 3.24),
            "GPT-4o": (4.15, 3.31, 3.11, 2.43, 3.25),
            "VideoRefer-7B": (4.44, 3.27, 3.10, 3.04, 3.46),
            "DAM-8B": (4.69, 3.61, 3.34, 3.03, 3.68),
            "SWIM": (4.92, 3.85, 3.43, 2.96, 3.78),
        },
        notes=[
            "The paper's judge is gpt-4o-2024-11-20 with another prompt: numbers of another judge do not compare.",
            "Questions are written from the captions: compare models on equal prompts, and see --prompts noun-only.",
        ],
    ),
}
# Prompts → their arm of Bench-Q and of Bench-D (`swim.evaluation.prompts`).
PROMPTS = {"text": ("letter", "text"), "noun-only": ("", "noun-only"), "contour": ("contour", "contour")}


class ReferSettings(BaseSettings):
    """Finished models on both benchmarks. A model is the id of a trial (`swimlab ls`); several are seeds of one arm."""

    model_config = SettingsConfigDict(
        env_prefix="SWIMLAB_", cli_kebab_case=True, extra="forbid", frozen=True, cli_hide_none_type=True
    )

    command: CliPositionalArg[Literal["run", "plan"]] = Field("run", description="run; plan: what is missing, its cost")
    base: tuple[str, ...] = Field((), description="trials of the base model: a recipe with 0 steps")
    control: tuple[str, ...] = Field((), description="trials without the mask loss")
    swim: tuple[str, ...] = Field((), description="trials with it")
    bench_q: str | None = Field(None, description="rows of Bench-Q: the original, NL-Refer's, or the synonyms")
    bench_d: str | None = Field(None, description="rows of Bench-D")
    videos: str = Field(".", description="folder of the video paths of Bench-D, and of Bench-Q without --videos-q")
    videos_q: str | None = Field(None, description="folder of the video paths of Bench-Q")
    prompts: Literal["text", "noun-only", "contour"] = Field(
        "text", description="noun-only: Bench-D without words of the caption; contour: true masks outlined, an oracle"
    )
    max_new_tokens: int = Field(512, ge=1, description="tokens of an answer at most")
    judge: str | None = Field(None, description="Bench-D: the judging model's name, part of every number it gives")
    second_judge: str | None = Field(None, description="another one: shown apart, with their agreement")
    second_url: str | None = Field(None, description="second judge: its server; default: the judge's")
    base_url: str = Field("https://api.openai.com/v1", description="judge: any OpenAI-compatible server")
    params: dict[str, Any] = Field(
        {"temperature": 0, "seed": 0, "max_tokens": 500}, description="judge: JSON of further fields of each request"
    )
    price_in: float = Field(0.0, ge=0, description="judge: of a million prompt tokens")
    price_out: float = Field(0.0, ge=0, description="judge: of a million completion tokens")
    max_cost: float | None = Field(None, gt=0, description="judge: no request leaves that could make a run cost more")
    workers: int = Field(0, ge=0, description="actors that hold a model each; 0: this process")
    gpu: bool | None = Field(None, description="whether a worker takes a GPU; default: where there is one")
    batch_size: int | None = Field(None, ge=1, description="prompts a forward pass")
    store: str = Field("swimlab-store", description="sweep store: a folder or s3://bucket/prefix")
    cache: CacheFolder = Field(DEFAULT_CACHE, validate_default=True, description="scratch folder of this machine")

    @model_validator(mode="after")
    def _complete(self) -> ReferSettings:
        if not (self.base or self.control or self.swim):
            raise ValueError("name trials with --base, --control or --swim")
        if not (self.bench_q or self.bench_d):
            raise ValueError("name a benchmark's rows with --bench-q or --bench-d")
        if self.bench_d and not self.judge:
            raise ValueError("--bench-d needs --judge")
        if self.bench_q and self.prompts == "noun-only":
            raise ValueError("--prompts noun-only is for Bench-D: leave --bench-q out")
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


def arms_of(settings: ReferSettings, store: SweepStore) -> dict[str, list[TrialRecord]]:
    """Arm → its trials. Raises ValueError for a trial that the store does not have."""
    ids = {arm: getattr(settings, arm) for arm in ("base", "control", "swim") if getattr(settings, arm)}
    records = store.read_records([trial_id for of_arm in ids.values() for trial_id in of_arm])
    if missing := [trial_id for of_arm in ids.values() for trial_id in of_arm if trial_id not in records]:
        raise ValueError(f"{store.uri} has no trial {', '.join(missing)}: `swimlab ls` shows the ids")
    return {arm: [records[trial_id] for trial_id in of_arm] for arm, of_arm in ids.items()}


def benchmarks(settings: ReferSettings, trials: list[TrialRecord]) -> list[Benchmark]:
    """Those whose rows are named, Bench-D once for each judge, with the pictures as the trials were trained on them."""
    frames, chosen = frames_of(trials), []
    arm_q, arm_d = PROMPTS[settings.prompts]
    for name, file, videos, arm, judges in (
        ("bench-q", settings.bench_q, settings.videos_q or settings.videos, arm_q, [None]),
        ("bench-d", settings.bench_d, settings.videos, arm_d, settings.judges),
    ):
        if file is not None:
            data = NLReferFiles(
                annotations=(file,),
                videos=videos,
                formats=(name,),
                frames=frames,
                placeholders="keep" if settings.prompts == "contour" else "refuse",
            )
            decoding = Decoding(max_new_tokens=settings.max_new_tokens)
            chosen += [Benchmark(name, data, arm, decoding, judge) for judge in judges]
    return chosen


def plan_grid(
    settings: ReferSettings, store: SweepStore, arms: Mapping[str, list[TrialRecord]], chosen: list[Benchmark]
) -> Grid:
    """What a run would generate and pay."""
    rows = []
    for benchmark in chosen:
        for arm, trial in ((arm, trial) for arm, trials in arms.items() for trial in trials):
            planned = plan(trial, benchmark, store, settings.cache)
            clips = "all: they are not prepared" if planned.missing_clips is None else f"{planned.missing_clips:,}"
            price = planned.judge
            requests = f"{price.requests:,} ({price.cached:,} stored)" if price else "–"
            judge = benchmark.judge.model if benchmark.judge else "–"
            cost = f"{price.cost:.4f}" if price else "–"
            rows.append([benchmark.scorer, arm, trial.trial_id, clips, judge, requests, cost])
    return "Plan", ["benchmark", "model", "trial", "clips to answer", "judge", "requests to it", "cost"], rows


def run(settings: ReferSettings, console: Console) -> int:
    """Does what the command line says."""
    store = SweepStore(settings.store)
    arms = arms_of(settings, store)
    chosen = benchmarks(settings, [trial for trials in arms.values() for trial in trials])
    if settings.command == "plan":
        print_grids([plan_grid(settings, store, arms, chosen)], console)
        return 0
    where, budget = Workers(settings.workers, settings.gpu, settings.batch_size), Budget(settings.max_cost)
    facts = {"run": new_run_id(), "prompts": settings.prompts}
    facts |= {arm: " ".join(trial.trial_id for trial in trials) for arm, trials in arms.items()}
    pages, judged = [], {}
    with SweepProgress(console) as progress:
        for benchmark in chosen:
            table, endpoint = TABLES[benchmark.scorer], benchmark.judge
            judge = Judge(ChatClient(endpoint, Answers(store), budget=budget)) if endpoint else None
            scores = {
                arm: [
                    measure(trial, benchmark, store, settings.cache, where=where, ask=judge, progress=progress.stage)
                    for trial in trials
                ]
                for arm, trials in arms.items()
            }
            pages.append((table, grids(table, scores, endpoint.model if endpoint else "")))
            if endpoint and judge:
                judged[endpoint.model] = scores
                replies = [f"{count} of {model}" for model, count in judge.models.items()]
                facts[f"replies of {endpoint.model}"] = ", ".join(replies) or "none: the scores were in the store"
                facts[f"paid to {endpoint.model}"] = f"{judge.usage.paid} replies"
    facts["cost"] = f"{budget.spent_and_pending()[0]:.4f}"
    if len(judged) == 2:
        first, second = judged
        pages[-1][1].append(agreement_grid(TABLES["bench-d"], judged[first], judged[second], (first, second)))
    for _, of_table in pages:
        print_grids(of_table, console)
    path = f"reports/benchmark_refer/{facts['run']}/report.md"
    store.backend.replace(path, markdown("Table 1", pages, facts).encode())
    say(console, f"report   {store.uri}/{path}")
    return 0


if __name__ == "__main__":
    settings = command_line.parse(ReferSettings)
    command_line.exit_with(
        lambda console: run(settings, console),
        errors=(AnsweringError, PipelineError, EndpointError, IdentityError),
        stopped=f"stopped; the same command goes on where this left off (store {settings.store})",
    )
