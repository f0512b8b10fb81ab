"""Does Bench-D measure looking, or what its questions tell?  Its prompts are written from the captions to be generated.

The same videos, asked three ways: as published (`text`), by the noun alone (`noun-only`), and with the true mask's
outline drawn on the frames (`contour`, an oracle: what looking could bring at most). Base beside tuned model, paired
row by row; the score by how much of the caption the question tells, by the size of the object, and by whether the
model looks at it. Bench-Q, whose questions tell nothing of the answer, has the oracle alone.

`python experiments/leak.py run --base TRIAL --swim TRIAL --bench-d d.json --videos FOLDER --judge MODEL --base-url URL`
"""

from __future__ import annotations

from dataclasses import replace

from rich.console import Console

from benchmark_refer import PROMPTS, TABLES
from swimlab import Better
from swimlab.cli import benchmark_file, command_line
from swimlab.cli.benchmark_file import ARMS, Asked, BenchmarkSettings, Page
from swimlab.store.sweep_store import SweepStore

# What a question gives away, what looking could bring, and whether the gain of training survives without the caption.
CLAIMS = [
    *(Better(f"{arm}, text", f"{arm}, noun-only") for arm in ARMS),
    *(Better(f"{arm}, contour", f"{arm}, text") for arm in ARMS),
    *(Better(f"swim, {prompts}", f"base, {prompts}") for prompts in PROMPTS),
    *(Better(f"swim, {prompts}", f"control, {prompts}") for prompts in PROMPTS),
]
NOTES = [
    "By the noun alone two objects of one name cannot be told apart: not all of that loss is the caption's.",
    "An outline also shows where an object is to whoever does not look; the arm is a ceiling, not a method.",
]


def run(settings: BenchmarkSettings, console: Console) -> int:
    """Does what the command line says."""
    store = SweepStore(settings.store)
    models = settings.models(store)
    frames = benchmark_file.frames(models)
    pages = []
    for scorer, table in TABLES.items():
        asked = {
            prompts: settings.benchmarks(scorer, frames, arms[scorer])
            for prompts, arms in PROMPTS.items()
            if scorer in arms
        }
        for of_judge in zip(*asked.values(), strict=True):
            arms = {
                f"{arm}, {prompts}": Asked(of_arm, benchmark)
                for arm, of_arm in models.items()
                for prompts, benchmark in zip(asked, of_judge, strict=True)
            }
            pages.append(Page(replace(table, claims=CLAIMS, paper={}, notes=NOTES), arms))
    facts = benchmark_file.named(models)
    return benchmark_file.run(settings, store, "leak", "What the questions give away", pages, facts, console)


if __name__ == "__main__":
    settings = command_line.parse(BenchmarkSettings)
    benchmark_file.main(settings, lambda console: run(settings, console))
