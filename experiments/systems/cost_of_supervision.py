"""What does supervising attention cost?  Step time and memory of plain SFT, ours, the released scheme, eager maps.

`python experiments/systems/cost_of_supervision.py` on a CPU; `--device cuda` runs the 7B configuration with random
weights and needs no Ray. Every number comes from a fresh process; the schemes take turns within a round.

`--size 7b-recipe` measures what training takes instead (an H200): vision tower, optimiser and four micro-batches, with
fp32 weights under autocast and with bf16 weights and fp32 masters; 8 masks at 360p, 32 at 720p and at 1080p.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Literal, Self

from pydantic import Field, FiniteFloat, field_validator, model_validator
from rich.console import Console

import measurement_plots
import measurement_report
import measuring
from measurement_report import MIB, Column
from measurements import Bound, Measurement, MeasurementRun, rotated
from measuring import MeasuringSettings, Task
from swimlab.cli import experiment_file
from swimlab.report.grids import Grid
from swimlab.store.sweep_store import SweepStore

NAME = "cost_of_supervision"
TITLE, QUESTION = "Cost of supervision", "What does supervising attention add to a training step?"
SCHEMES = ("sft", "swim", "released", "eager")
RECIPE_SCHEMES = ("sft", "swim", "swim-720p", "swim-1080p")
Scheme = Literal["sft", "swim", "released", "eager", "swim-720p", "swim-1080p"]
# Each is measured in both precisions: cost_recipe.SIZES.
RECIPE_SIZES = {size: (size, f"{size}-bf16") for size in ("7b-recipe", "tiny-recipe")}
RECIPE_TOKENS = {"7b-recipe": 8192, "tiny-recipe": 192}
SHORT, LONG = (512, 1024, 2048, 4096), (512, 1024, 2048, 4096, 8192, 16384)
LEAST = 64
COUNTED = ("7b-narrow", 8192)  # bytes held at 8k, counted on a CPU: they do not depend on the head width

SMALL, LARGE = {"size": "small", "tokens": 4096}, {"size": "7b", "tokens": 8192}
BOUNDS = (
    Bound("time_s", "swim", "sft", 1.05, True, SMALL),
    Bound("step_bytes", "swim", "sft", 1.03, True, SMALL),
    Bound("time_s", "released", "swim", 2, False, SMALL),
    Bound("step_bytes", "released", "swim", 3, False, SMALL),
    Bound("time_s", "eager", "swim", 4, False, SMALL),
    Bound("step_bytes", "eager", "swim", 6, False, SMALL),
    Bound("time_s", "swim", "sft", 1.02, True, LARGE),
    Bound("peak_bytes", "swim", "sft", 1.02, True, LARGE),
    *(
        Bound(quantity, scheme, "sft", limit, True, {"size": size, "tokens": 8192})
        for size in RECIPE_SIZES["7b-recipe"]
        for quantity, limit in (("time_s", 1.02), ("peak_bytes", 1.01))
        for scheme in ("swim", "swim-1080p")
    ),
)
HELD_TIMES, LOGITS_TIMES = 100, 10
COLUMNS = (
    Column("step (s)", "time_s"),
    Column("tokens/s", "tokens_per_s", "{:.0f}"),
    Column("MFU (%)", "mfu", "{:.1f}", 0.01),
    Column("step memory (MiB)", "step_bytes", "{:.1f}", MIB),
    Column("peak (MiB)", "peak_bytes", "{:.1f}", MIB),
    Column("held (MiB)", "held_bytes", "{:.2f}", MIB),
    Column("time ÷ sft", "time_s", over="sft"),
    Column("memory ÷ sft", "step_bytes", over="sft"),
)


class StepCost(Measurement):
    """`size` names the model, `text_tokens` are those of `tokens` that follow the video.

    `time_s`: median of a step; `peak_bytes`: the process's peak (resident on a CPU, allocated on a GPU); `step_bytes`:
    the same above what was there before the first step; `held_bytes`: tensors alive between forward and backward;
    `logits_bytes`: what the head returned, `full_logits_bytes`: what it returns for every token.
    """

    tokens: int
    text_tokens: int
    times_s: tuple[FiniteFloat, ...] = ()
    step_bytes: int | None = None
    held_bytes: int | None = None
    logits_bytes: int | None = None
    full_logits_bytes: int | None = None
    tokens_per_s: FiniteFloat | None = None
    mfu: FiniteFloat | None = None


class CostRun(MeasurementRun):
    """What one invocation measured."""

    rows: tuple[StepCost, ...]


class CostSettings(MeasuringSettings):
    """Measure, and report what was measured. `worker` is one fresh process and prints one line of JSON."""

    device: Literal["cpu", "cuda"] = Field("cpu", description="cuda: one GPU, the 7B configuration")
    size: Literal["nano", "small", "7b", "7b-narrow", "7b-recipe", "tiny-recipe"] | None = Field(
        None, description="model; default: small on a CPU, 7b on a GPU"
    )
    tokens: tuple[int, ...] | None = Field(None, description="lengths, as 512,1024; default: 512 to 4096, GPU 16384")
    text: int = Field(300, ge=15, description="of them after the video, at most half")
    steps: int = Field(
        3, ge=0, description="timed steps of a process, after one for memory and one to warm up; 0: only count bytes"
    )
    schemes: tuple[Scheme, ...] | None = Field(None, description="which to measure; default: all of the size")
    count: bool = Field(True, description="count the bytes held at 8k (minutes on a CPU)")
    threads: int = Field(1, ge=1, description="CPU threads of a process; one leaves the others to the neighbours")
    scheme: Scheme = Field("swim", description="worker: the one to measure")
    bf16: bool = Field(False, description="worker: bf16 weights and fp32 masters, of a size of the recipe")

    @field_validator("tokens", "schemes")
    @classmethod
    def _each_once(cls, values: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
        if values is not None and (not values or len(set(values)) != len(values)):
            raise ValueError("name at least one, and each once")
        if values and isinstance(values[0], int) and min(values) < LEAST:
            raise ValueError(f"{min(values)} tokens are too few for a video and its text: give {LEAST} or more")
        return values

    @model_validator(mode="after")
    def _of_its_size(self) -> Self:
        if unknown := set(self.schemes or ()) - set(self.schemes_of_size):
            raise ValueError(
                f"size {self.model_size} has no scheme {', '.join(sorted(unknown))}: choose from "
                f"{', '.join(self.schemes_of_size)}"
            )
        return self

    @property
    def schemes_of_size(self) -> tuple[str, ...]:
        """Those that can be measured of this model."""
        return RECIPE_SCHEMES if self.model_size in RECIPE_SIZES else SCHEMES

    @property
    def model_size(self) -> str:
        """The model to measure."""
        return self.size or ("nano" if self.command == "smoke" else "7b" if self.device == "cuda" else "small")

    @property
    def measured_schemes(self) -> tuple[str, ...]:
        """The schemes to measure."""
        return self.schemes or self.schemes_of_size

    @property
    def lengths(self) -> tuple[int, ...]:
        """The lengths to measure; a size of the recipe has one of its own."""
        if self.model_size in RECIPE_SIZES:
            return (RECIPE_TOKENS[self.model_size],)
        return self.tokens or ((128,) if self.command == "smoke" else LONG if self.device == "cuda" else SHORT)


def work(settings: CostSettings) -> dict[str, Any]:
    """What a fresh process measured."""
    import torch

    from cost_worker import measure

    torch.set_num_threads(settings.threads)
    (tokens,) = settings.lengths
    if settings.model_size in RECIPE_SIZES:
        import cost_recipe

        size = RECIPE_SIZES[settings.model_size][settings.bf16]
        return cost_recipe.measure(settings.scheme, size, torch.device(settings.device), max(1, settings.steps))
    device, text = torch.device(settings.device), min(settings.text, tokens // 2)
    return measure(settings.scheme, settings.model_size, tokens, text, device, settings.steps)


def ask(settings: CostSettings, scheme: str, size: str, tokens: int, steps: int, device: str) -> dict[str, Any]:
    """A worker's answer; killed for its memory is one, too. Raises RuntimeError when it failed."""
    request = {"scheme": scheme, "size": size, "tokens": tokens}
    flags = request | {"text": settings.text, "steps": steps, "device": device, "threads": settings.threads}
    if size.endswith("-bf16"):
        flags |= {"size": size.removesuffix("-bf16"), "bf16": True}
    variables = {
        "OMP_NUM_THREADS": str(settings.threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        # Memory is measured first, with a glibc that gives back what is freed: left to itself it keeps a different 20
        # to 60 MB in every process, and the peak says little about what was allocated.
        "MALLOC_MMAP_THRESHOLD_": str(2**17),
    }
    answer: dict[str, Any] | None = measuring.fresh_process(__file__, flags, variables)
    return answer or request | {"text_tokens": min(settings.text, tokens // 2), "outcome": "out of memory"}


def plan(settings: CostSettings) -> Iterator[tuple[int, str, str, int, int, str]]:
    """(round, scheme, size, tokens, timed steps, device) of every process; the schemes take turns in going first."""
    for number in range(1 if settings.command == "smoke" else settings.rounds):
        for size in RECIPE_SIZES.get(settings.model_size, (settings.model_size,)):
            for tokens in settings.lengths:
                for scheme in rotated(settings.measured_schemes, number):
                    yield number, scheme, size, tokens, settings.steps, settings.device
    if settings.model_size in RECIPE_SIZES:
        return
    if settings.count and settings.command == "run" and settings.device == "cpu":
        for scheme in ("sft", "swim", "released"):
            if scheme in settings.measured_schemes:
                yield 0, scheme, *COUNTED, 0, "cpu"


def run(settings: CostSettings, store: SweepStore, console: Console) -> CostRun:
    """Measure what is planned and commit it as a new run."""
    if settings.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise ValueError("--device cuda: torch sees no GPU on this machine")

    def answers(number: int, *request: Any) -> list[dict[str, Any]]:
        return [ask(settings, *request) | {"round": number}]

    tasks = [
        Task(
            f"round {number + 1}: {scheme}, {size}, {tokens} tokens",
            partial(answers, number, scheme, size, tokens, *rest),
        )
        for number, scheme, size, tokens, *rest in plan(settings)
    ]
    dtype = "bfloat16" if settings.model_size.startswith("7b") else "float32"
    return measuring.measure(
        CostRun,
        StepCost,
        tasks,
        experiment=NAME,
        store=store,
        settings=settings.model_dump(mode="json") | {"size": settings.model_size, "tokens": settings.lengths},
        numerics={"device": settings.device, "dtype": dtype, "world_size": 1},
        console=console,
    )


def counted_grid(done: CostRun) -> Grid:
    """Bytes, which have no spread: what the forward pass holds for supervision, and what the head returns."""
    rows = []
    for size, tokens in dict.fromkeys((row.size, row.tokens) for row in done.rows if row.outcome == "ok"):
        by_scheme = {
            row.scheme: row for row in done.rows if (row.size, row.tokens) == (size, tokens) and row.held_bytes
        }
        plain = by_scheme["sft"].held_bytes if "sft" in by_scheme else None
        held_bytes = {name: (row.held_bytes or 0) - plain for name, row in by_scheme.items()} if plain else {}
        label = f"({size}, {tokens} tokens)"
        for scheme in ("released", "eager"):
            if scheme in held_bytes and "swim" in held_bytes:
                judged = scheme == "released" and tokens == COUNTED[1]
                rows.append(
                    _times(f"held: {scheme} ÷ swim {label}", held_bytes[scheme], held_bytes["swim"], judged, HELD_TIMES)
                )
        if (row := by_scheme.get("swim")) and row.logits_bytes and row.full_logits_bytes:
            judged = size in ("small", "7b") and tokens == 4096
            rows.append(
                _times(f"logits: all ÷ labelled {label}", row.full_logits_bytes, row.logits_bytes, judged, LOGITS_TIMES)
            )
    return "Counted", ["what", "theirs (bytes)", "ours (bytes)", "times", "verdict"], rows


def _times(quantity: str, reference: int, own_value: int, judged: bool, limit: int) -> list[str]:
    verdict = ("met" if reference >= limit * own_value else "not met") + f" (≥ {limit})" if judged else ""
    return [quantity, f"{reference:,}", f"{own_value:,}", f"{reference / own_value:.1f}", verdict]


def show(done: CostRun, store: SweepStore, console: Console) -> None:
    """Print the grids and write the report."""
    size = done.settings["size"]
    bounds = [bound for bound in BOUNDS if bound.where["size"] in RECIPE_SIZES.get(size, (size,))]
    grids = [
        measurement_report.verdict_grid(done, bounds),
        measurement_report.values_grid(done, "Cost", ("size", "tokens"), COLUMNS, (*SCHEMES, *RECIPE_SCHEMES[2:])),
        counted_grid(done),
    ]
    notes = [
        "A step is an optimiser step of four conversations, vision tower included."
        if size in RECIPE_SIZES
        else "A step is forward and backward of one sample with given vision features; no optimiser step.",
        "Step memory is the peak above what was there before the first step (CPU: resident, GPU: allocated).",
        f"Of the tokens, the last {done.settings['text']} (at most half) are text after the video: the released scheme "
        "pays for each of them.",
    ]
    drawn = {"time_s": "time of a step", "step_bytes": "memory of a step"}
    picture = measurement_plots.ratio_figure(done, "tokens", "sft", drawn, size=size)
    measurement_report.show_report(store, done, TITLE, QUESTION, grids, notes, picture, console)


def main(settings: CostSettings) -> int:
    """The exit code: see `measuring.main`."""
    return measuring.main(settings, NAME, CostRun, work=partial(work, settings), run=partial(run, settings), show=show)


if __name__ == "__main__":
    raise SystemExit(main(experiment_file.settings(CostSettings)))
