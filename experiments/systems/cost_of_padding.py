"""What do micro-batches by tokens save?  Tokens per second at the same peak memory, against ones by conversations.

`python experiments/systems/cost_of_padding.py` on one CPU thread. Conversations differ in length as videos do: their
frames are log-normal, 2 to 32 with a median of 6. `fixed` puts as many of them into a forward pass as fit where all are
the longest, in the order of the batch; `budget` packs up to as many tokens as those, padding included; `single` is one
conversation a pass, which wastes nothing on a CPU and leaves a GPU idle. A step is the product's own, from clips to the
optimiser, and its losses are the same.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any, Literal

import numpy as np
from pydantic import Field, FiniteFloat
from rich.console import Console

import measurement_plots
import measurement_report
import measuring
from measurement_report import MIB, Column
from measurements import Bound, Measurement, MeasurementRun, rotated
from measuring import MeasuringSettings, Task
from swimlab.cli import experiment_file
from swimlab.store.sweep_store import SweepStore

NAME = "cost_of_padding"
TITLE, QUESTION = "Cost of padding", "What do micro-batches by a budget of tokens save?"
SCHEMES = ("single", "fixed", "budget")
FRAMES = (2, 32)
FIXED = 4  # conversations of the longest kind that fit a forward pass
PLACE: dict[str, str | int] = {"size": "tiny"}
BOUNDS = (
    Bound("tokens_per_s", "budget", "fixed", 1.5, False, PLACE),
    Bound("peak_bytes", "budget", "fixed", 1.02, True, PLACE),
)
COLUMNS = (
    Column("CPU of a step (s)", "time_s"),
    Column("tokens/s", "tokens_per_s", "{:.0f}"),
    Column("padding (%)", "padding", "{:.1f}", 0.01),
    Column("passes", "passes", "{:.0f}"),
    Column("peak (MiB)", "peak_bytes", "{:.1f}", MIB),
    Column("tokens/s ÷ fixed", "tokens_per_s", over="fixed"),
    Column("peak ÷ fixed", "peak_bytes", over="fixed"),
)


class PaddingCost(Measurement):
    """`time_s`: CPU seconds of a step; `tokens_per_s`: tokens that are no padding, by those; `padding`: the share of
    the others; `passes`: forward passes of a step; `loss`: of the first step."""

    tokens_per_s: FiniteFloat
    padding: FiniteFloat
    passes: int
    loss: FiniteFloat


class PaddingRun(MeasurementRun):
    """What one invocation measured."""

    rows: tuple[PaddingCost, ...]


class PaddingSettings(MeasuringSettings):
    """Measure, and report what was measured. `worker` is one fresh process and prints one line of JSON."""

    conversations: int = Field(24, ge=8, description="conversations of an optimiser step")
    steps: int = Field(1, ge=1, description="timed steps of a process, after one to warm up")
    scheme: Literal["single", "fixed", "budget"] = Field("budget", description="worker: the one to measure")
    round: int = Field(0, ge=0, description="worker: draws the conversations")


def work(settings: PaddingSettings) -> dict[str, Any]:
    """What a fresh process measured of one scheme."""
    import torch

    from cost_worker import machine, peak_bytes
    from swim import models
    from swim.data.types import Clip, Turn
    from swim.feed import step_batches
    from swim.optimizer import build_optimizer
    from swim.recipe import Objective, Optim, Recipe, ShapesWorld, TinyModel
    from swim.supervision.objective import SupervisedModel
    from swim.train import encoder_for, optimiser_step

    torch.set_num_threads(1)
    rng = np.random.default_rng([7, settings.round])

    def clip(frames: int) -> Clip:
        turn = Turn(human="what shape is the red one ?", gpt="it is a circle .")
        pixels = rng.integers(0, 256, (frames, 64, 64, 3), dtype=np.uint8)
        return Clip("clip", (turn,), pixels, tuple(range(frames)), 4.0)

    # The tower is small: it computes the same for every scheme, and in 7B's step it is frozen.
    shape = TinyModel(hidden=128, layers=3, intermediate=384, vision_hidden=16, vision_depth=1)
    recipe = Recipe(name=NAME, model=shape, data=ShapesWorld(), objective=Objective(layers=(1,)), optim=Optim())
    model, tokenizer = models.build(shape)
    encoder = encoder_for(recipe, model, tokenizer)
    count = (settings.steps + 1) * settings.conversations
    halves = np.clip(np.rint(rng.lognormal(np.log(3), 0.9, count)), FRAMES[0] // 2, FRAMES[1] // 2).astype(int)
    halves[:: settings.conversations] = FRAMES[1] // 2  # every step has one of the longest
    clips = [clip(2 * int(half)) for half in halves]
    longest = max(len(encoder(clips[0]).input_ids_L), 1)
    division = {
        "single": {"micro_batch": 1},
        "fixed": {"micro_batch": FIXED},
        "budget": {"micro_tokens": FIXED * longest},
    }[settings.scheme]
    module = SupervisedModel(model.train(), recipe.objective)
    optimizer = build_optimizer(module.parameters(), recipe.optim)
    cpu_s, tokens, padded, losses = [], 0, 0, []
    for batches in step_batches(
        recipe, iter(clips), encoder, model, steps=settings.steps + 1, share=settings.conversations, **division
    ):
        began_s = time.process_time()
        losses.append(optimiser_step(module, optimizer, batches, recipe, 1.0)["loss"])
        cpu_s.append(time.process_time() - began_s)
        if len(cpu_s) > 1:
            tokens += sum(len(sample.input_ids_L) for batch in batches for sample in batch.samples)
            padded += sum(batch.labels_BL.numel() for batch in batches)
    return {
        "scheme": settings.scheme,
        "size": "tiny",
        "time_s": sum(cpu_s[1:]) / settings.steps,
        "tokens_per_s": tokens / sum(cpu_s[1:]),
        "padding": 1 - tokens / padded,
        "passes": len(batches),
        "peak_bytes": peak_bytes(torch.device("cpu")),
        "loss": losses[0],
        "machine": machine(torch.device("cpu")),
    }


def run(settings: PaddingSettings, store: SweepStore, console: Console) -> PaddingRun:
    """Measure what is planned and commit it as a new run."""
    least = settings.command == "smoke"
    flags = {"conversations": 8 if least else settings.conversations, "steps": 1 if least else settings.steps}
    variables = {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": str(2**17)}  # the second: see cost_of_supervision

    def answers(number: int, scheme: str) -> list[dict[str, Any]]:
        answer = measuring.fresh_process(__file__, flags | {"scheme": scheme, "round": number}, variables)
        if answer is None:
            raise RuntimeError(f"round {number + 1}, {scheme}: killed for its memory; give the machine more")
        return [answer | {"round": number}]

    tasks = [
        Task(f"round {number + 1}: {scheme}", partial(answers, number, scheme))
        for number in range(1 if least else settings.rounds)
        for scheme in rotated(SCHEMES, number)
    ]
    return measuring.measure(
        PaddingRun,
        PaddingCost,
        tasks,
        experiment=NAME,
        store=store,
        settings=settings.model_dump(mode="json") | flags,
        numerics={"device": "cpu", "dtype": "float32", "world_size": 1},
        console=console,
    )


def show(done: PaddingRun, store: SweepStore, console: Console) -> None:
    """Print the grids and write the report."""
    grids = [
        measurement_report.verdict_grid(done, BOUNDS),
        measurement_report.values_grid(done, "Cost", ("size",), COLUMNS, SCHEMES),
    ]
    notes = ["Times are CPU seconds of one thread; on a GPU a pass of few tokens also leaves the card idle."]
    picture = measurement_plots.value_figure(done, "tokens_per_s", "tokens/s", SCHEMES, ["tiny"])
    measurement_report.show_report(store, done, TITLE, QUESTION, grids, notes, picture, console)


def main(settings: PaddingSettings) -> int:
    """The exit code: see `measuring.main`."""
    return measuring.main(
        settings, NAME, PaddingRun, work=partial(work, settings), run=partial(run, settings), show=show
    )


if __name__ == "__main__":
    raise SystemExit(main(experiment_file.settings(PaddingSettings)))
