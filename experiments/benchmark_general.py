"""Table 2: does training on where nouns look cost anything elsewhere? MVBench, VideoMME, ActivityNet-QA.  (SWIM, 4.2)

`python experiments/benchmark_general.py plan --base TRIAL --swim TRIAL` says what is missing and what it will take;
`run` exports each model, has lmms-eval score it in an environment of its own (`make lmms-env`) and compares. The paper
prints three numbers of SWIM and none of the model that it started from: that it is not worse is the claim tested here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, CliPositionalArg, SettingsConfigDict
from rich.console import Console

from swim.recipe import Recipe
from swimlab.base.screen import say
from swimlab.cli import command_line
from swimlab.evaluating.benchmarks import frames_of, trials_of
from swimlab.evaluating.lmms import environment, runs
from swimlab.evaluating.lmms.environment import Environment, LmmsError
from swimlab.evaluating.lmms.runs import GeneralTask, Where
from swimlab.evaluating.lmms.schedule import Job, JobPlan, Outcome, measure_all, plan, unlike
from swimlab.execution.cluster import PlanError
from swimlab.execution.progress import SweepProgress
from swimlab.experiment.claims.not_worse import NotWorse
from swimlab.report.benchmark_page import ArmScores, BenchmarkTable, claim_grids, grids, markdown
from swimlab.report.grids import Grid, print_grids
from swimlab.report.number_format import duration
from swimlab.store.provenance import new_run_id
from swimlab.store.records import TrialRecord
from swimlab.store.sweep_store import SweepStore

# In points, before any run. Paired over MVBench's 4,000 rows two models that differ in 15 % of them are known to ± 1.2,
# and what users measure of the base lies 3.5 (MVBench) and 6 to 7 points (VideoMME) above the paper's SWIM.
MARGIN = 2.0
CLAIMS = [NotWorse("swim", "base", MARGIN), NotWorse("swim", "control", MARGIN)]


@dataclass(frozen=True)
class PaperTask:
    """A task of the paper's table: its rows, where lmms-eval looks for its videos below HF_HOME, and what the paper
    prints of each model."""

    name: str
    rows: int
    videos: str
    printed: dict[str, tuple[float]]


PAPER = {
    "mvbench": PaperTask("MVBench", 4_000, "mvbench_video", {"VideoRefer-7B": (59.6,), "SWIM": (62.1,)}),
    "videomme": PaperTask(
        "VideoMME", 2_700, "videomme", {"VideoRefer-7B": (55.9,), "INST-IT": (54.0,), "SWIM": (55.9,)}
    ),
    "activitynetqa": PaperTask("ActivityNet-QA", 8_000, "activitynetqa", {"INST-IT": (55.2,), "SWIM": (55.6,)}),
}
# Tasks whose answers lmms-eval has judged itself, and whom it asks unless MODEL_VERSION says otherwise.
JUDGES = {"activitynetqa": "gpt-4o-2024-11-20"}
NOTES = [
    "The paper does not list the model that SWIM was trained from. Users measure 65.6 (MVBench) and 62 to 63 "
    "(VideoMME) of Qwen2.5-VL-7B with lmms-eval, with settings that may differ.",
    "lmms-eval loads Qwen2.5-VL in bfloat16, whatever it was trained in, and places frames in time by rules of its "
    "own: compare with models of this table only.",
    "In lmms-eval's files rows of MVBench do not name their videos: they count as independent.",
    "The column of the released reading is what lmms-eval reports, of MVBench the mean over its 20 tasks. It leaves "
    "out rows of MVBench without an answer, which are wrong here.",
]


class GeneralSettings(BaseSettings):
    """Finished models on general benchmarks. A model is the id of a trial (`swimlab ls`); several are seeds of an
    arm."""

    model_config = SettingsConfigDict(
        env_prefix="SWIMLAB_", cli_kebab_case=True, extra="forbid", frozen=True, cli_hide_none_type=True
    )

    command: CliPositionalArg[Literal["run", "plan"]] = Field("run", description="run; plan: what is missing")
    base: tuple[str, ...] = Field((), description="trials of the base model: a recipe with 0 steps")
    control: tuple[str, ...] = Field((), description="trials without the mask loss")
    swim: tuple[str, ...] = Field((), description="trials with it")
    tasks: tuple[str, ...] = Field(tuple(PAPER), description="tasks of lmms-eval, its own or of --include-path")
    include_path: Path | None = Field(None, description="folder with tasks of your own (yaml)")
    limit: int | None = Field(None, ge=1, description="rows of each task at most: for a try, not for a result")
    backend: str | None = Field(None, description="lmms-eval's class of model; default: that of the model's family")
    model_args: dict[str, str | int | float] = Field(
        {}, description="JSON of arguments of that class; default: the frames that the trials were trained on"
    )
    lmms_python: Path = Field(Path(".venv-lmms/bin/python"), description="Python of lmms-eval's environment")
    hf_home: Path = Field(
        Path(os.environ.get("HF_HOME", "~/.cache/huggingface")), description="folder of data sets and their videos"
    )
    online: bool = Field(False, description="download what HF_HOME lacks: tens of GB a task")
    workers: int = Field(0, ge=0, description="runs at a time, each a task of Ray; 0: this process, one after another")
    gpu: bool | None = Field(None, description="whether a run takes a GPU; default: where there is one")
    store: str = Field("swimlab-store", description="sweep store: a folder or s3://bucket/prefix")

    @model_validator(mode="after")
    def _complete(self) -> GeneralSettings:
        if not (self.base or self.control or self.swim):
            raise ValueError("name trials with --base, --control or --swim")
        if len(set(self.tasks)) < max(1, len(self.tasks)):
            raise ValueError("--tasks: name at least one task, and each once")
        return self

    def where(self, found: Environment) -> Where:
        """Where lmms-eval runs."""
        home = self.hf_home.expanduser().absolute()
        return Where(found, home, self.online, self.gpu, self.include_path and self.include_path.absolute())


def general_tasks(settings: GeneralSettings, trials: list[TrialRecord], found: Environment) -> list[GeneralTask]:
    """The tasks, asked in the same way of all trials. Raises ValueError for models that have no default class, or
    different ones."""
    families = {Recipe.model_validate(trial.recipe).model.family for trial in trials}
    default = runs.BACKENDS.get(next(iter(families))) if len(families) == 1 else None
    if (backend := settings.backend or default) is None:
        raise ValueError(
            f"models of {', '.join(sorted(families))}: name lmms-eval's class for them with --backend, and the frames "
            "that it is to take with --model-args (`.venv-lmms/bin/python -m lmms_eval models list` shows the classes)"
        )
    arguments = settings.model_args or runs.frame_args(frames_of(trials))
    included = runs.include_hash(settings.include_path)
    return [
        GeneralTask(
            task=task,
            lmms_eval=found.version,
            backend=backend,
            model_args=arguments,
            limit=settings.limit,
            include=included,
            judge=os.environ.get("MODEL_VERSION", JUDGES[task]) if task in JUDGES else "",
        )
        for task in settings.tasks
    ]


def jobs_of(settings: GeneralSettings, arms: dict[str, list[TrialRecord]], found: Environment) -> dict[str, list[Job]]:
    """Arm → its trials on each task."""
    tasks = general_tasks(settings, [trial for trials in arms.values() for trial in trials], found)
    return {arm: [Job(trial, task) for task in tasks for trial in trials] for arm, trials in arms.items()}


def plan_grid(planned: dict[str, list[JobPlan]], where: Where) -> Grid:
    """What a run would do, and take."""
    rows = []
    for arm, plans in planned.items():
        for job, stored, like_s, failure in plans:
            task, paper = job.task, PAPER.get(job.task.task)
            count = min(filter(None, (task.limit, paper and paper.rows)), default=None)
            videos = "–" if paper is None else "there" if (where.hf_home / paper.videos).is_dir() else "missing"
            rows.append(
                [
                    task.task,
                    arm,
                    job.trial.trial_id,
                    "stored" if stored else "to run",
                    videos,
                    "–" if count is None else f"{count:,}",
                    "–" if stored else "not known: none was run" if like_s is None else duration(like_s),
                    f"{task.judge}, a request a row, not in our budget" if task.judge and not stored else "–",
                    failure or "–",
                ]
            )
    heads = ["task", "model", "trial", "state", "videos", "rows", "time, as another took", "judge", "last try failed"]
    return f"Plan: lmms-eval {where.environment.version}, videos in {where.hf_home}", heads, rows


def table_of(task: GeneralTask) -> BenchmarkTable:
    """What is shown of a task. Of a task that is not the paper's nobody declared what its scores are, nor a margin."""
    paper = PAPER.get(task.task)
    title, family = paper.name if paper else task.task, task.task.replace(".", "_")
    return BenchmarkTable(
        name=title,
        columns={title: f"{family}.avg"},
        released=f"{family}.reported",
        counts=[f"{family}.asked", f"{family}.empty"],
        digits=1 if paper else 3,
        claims=CLAIMS if paper else (),
        test="rows",
        paper=paper.printed if paper else {},
    )


def pages_of(outcomes: dict[str, list[Outcome]], mixed: bool) -> list[tuple[BenchmarkTable, list[Grid]]]:
    """Every task's scores, the claims of all as one family of tests, and what failed."""
    tables: list[tuple[BenchmarkTable, ArmScores]] = []
    tasks = {outcome.job.task.task: outcome.job.task for of_arm in outcomes.values() for outcome in of_arm}
    for task in tasks.values():
        scores = {
            arm: [o.scores for o in of_arm if o.scores and o.job.task == task] for arm, of_arm in outcomes.items()
        }
        tables.append((table_of(task), scores))
    pages = [(table, grids(replace(table, claims=()), arms)) for table, arms in tables]
    failed = [
        [o.job.task.task, arm, o.job.trial.trial_id, o.failure]
        for arm, of_arm in outcomes.items()
        for o in of_arm
        if o.scores is None
    ]
    last, of_last = pages[-1]
    of_last += claim_grids(tables, mixed)
    of_last += [("Not scored", ["task", "model", "trial", "why"], failed)] if failed else []
    return [*pages[:-1], (replace(last, notes=NOTES), of_last)]


def run(settings: GeneralSettings, console: Console) -> int:
    """Does what the command line says; 1 where something was not scored."""
    store = SweepStore(settings.store)
    ids = {"base": settings.base, "control": settings.control, "swim": settings.swim}
    arms = trials_of(store, {arm: trials for arm, trials in ids.items() if trials})
    # Absolute, but not resolved: a virtual environment's Python is a link, and finds its packages by where that is.
    python = Path(os.path.abspath(settings.lmms_python))
    try:
        where = settings.where(environment.probe(python))
    except LmmsError as error:
        if settings.command != "plan":
            raise
        say(console, f"missing: {error}")
        where = settings.where(Environment(python, {"lmms_eval": "not installed"}))
    jobs = jobs_of(settings, arms, where.environment)
    if settings.command == "plan":
        print_grids([plan_grid({arm: plan(of_arm, store) for arm, of_arm in jobs.items()}, where)], console)
        return 0
    with SweepProgress(console) as progress:
        flat = measure_all(
            [job for of_arm in jobs.values() for job in of_arm], store, where, settings.workers, progress.stage
        )
    remaining = iter(flat)
    outcomes = {arm: [next(remaining) for _ in of_arm] for arm, of_arm in jobs.items()}
    facts = {"run": new_run_id(), "lmms-eval": where.environment.version}
    if settings.limit:
        facts["limit"] = f"{settings.limit} rows of each task: a try, and no result"
    if mixture := unlike(flat, store):
        facts["MIXED"] = f"models were not computed alike, so there is no verdict: {mixture}"
    pages = pages_of(outcomes, bool(mixture))
    facts |= {arm: " ".join(trial.trial_id for trial in trials) for arm, trials in arms.items()}
    for _, of_table in pages:
        print_grids(of_table, console)
    path = f"reports/benchmark_general/{facts['run']}/report.md"
    store.backend.replace(path, markdown("Table 2", pages, facts).encode())
    say(console, f"report   {store.uri}/{path}")
    return int(any(outcome.scores is None for outcome in flat))


if __name__ == "__main__":
    settings = command_line.parse(GeneralSettings)
    command_line.exit_with(
        lambda console: run(settings, console),
        errors=(LmmsError, PlanError),
        stopped=f"stopped; the same command goes on where this left off (store {settings.store})",
    )
