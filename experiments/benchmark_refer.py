"""Table 1: finished models on VideoRefer-Bench-Q and -D, beside the paper's rows.  (SWIM, section 4.2)

`python experiments/benchmark_refer.py plan --base TRIAL --swim TRIAL --bench-q q.json --bench-d d.json --videos FOLDER`
says what is missing and what it will cost; `run` answers, scores and compares. Nothing is trained, and nothing is
answered or paid for twice. Bench-D needs a judge: `--judge MODEL --base-url URL`, with the key in OPENAI_API_KEY.
`--served MODEL --served-url URL` adds a row for a model behind any OpenAI-compatible server, as the paper's GPT-4o is.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from rich.console import Console

from swimlab import Better
from swimlab.cli import benchmark_file, command_line
from swimlab.cli.benchmark_file import Asked, BenchmarkSettings, Page
from swimlab.report.benchmark_page import BenchmarkTable
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
# Prompts → benchmark → its arm of prompts (`swim.evaluation.prompts`).
PROMPTS = {
    "text": {"bench-q": "letter", "bench-d": "text"},
    "noun-only": {"bench-d": "noun-only"},
    "contour": {"bench-q": "contour", "bench-d": "contour"},
}


class ReferSettings(BenchmarkSettings):
    """Finished models on both benchmarks. A model is the id of a trial (`swimlab ls`); several are seeds of one arm."""

    prompts: Literal["text", "noun-only", "contour"] = Field(
        "text", description="noun-only: Bench-D without words of the caption; contour: true masks outlined, an oracle"
    )

    @model_validator(mode="after")
    def _fitting(self) -> ReferSettings:
        if self.bench_q and self.prompts == "noun-only":
            raise ValueError("--prompts noun-only is for Bench-D: leave --bench-q out")
        return self


def run(settings: ReferSettings, console: Console) -> int:
    """Does what the command line says."""
    store = SweepStore(settings.store)
    models = settings.models(store)
    frames = benchmark_file.frames(models)
    pages = [
        Page(TABLES[scorer], {arm: Asked(of_arm, benchmark) for arm, of_arm in models.items()})
        for scorer, arm_of_prompts in PROMPTS[settings.prompts].items()
        for benchmark in settings.benchmarks(scorer, frames, arm_of_prompts)
    ]
    facts = {"prompts": settings.prompts, **benchmark_file.named(models)}
    return benchmark_file.run(settings, store, "benchmark_refer", "Table 1", pages, facts, console)


if __name__ == "__main__":
    settings = command_line.parse(ReferSettings)
    benchmark_file.main(settings, lambda console: run(settings, console))
