"""How fast do clips arrive?  Raw decord, torch's DataLoader, our pipeline cold and warm, stored clips; and what of a
training step is waiting.

`python experiments/decode_throughput.py`. Every number comes from a fresh process; they take turns within a round.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from typing import Any, Literal, get_args

from pydantic import Field, FiniteFloat, field_validator
from rich.console import Console

import measurement_plots
import measurement_report
import measuring
from decode_data import SIZES, Data, tiny, tiny_clips
from measurement_report import MIB, Column
from measurements import Bound, Measurement, MeasurementRun, rotated
from measuring import MeasuringSettings, Task
from swimlab.cli import experiment_file
from swimlab.data.prepared_clips import StoredClips
from swimlab.experiment.run_settings import DEFAULT_CACHE, CacheFolder
from swimlab.report.grids import Grid
from swimlab.store import provenance
from swimlab.store.sweep_store import SweepStore

NAME = "decode_throughput"
TITLE, QUESTION = "Decoding throughput", "Does data reach a training step at the speed of the decoder?"
# What a process is asked for. "training" and "sweep" use the small pictures of recipe `tiny`, which nobody resizes.
Job = Literal[
    "decord", "decord-scaled", "decord+resize", "dataloader", "ours", "prepare", "cached", "training", "sweep"
]
JOBS: tuple[Job, ...] = get_args(Job)
ONLY = {"decord-scaled": "720p", "decord+resize": "720p", "training": "64px", "sweep": "64px"}
REPORTED_ROUNDS = 3
JOB_OF = {"ours-cold": "ours", "ours-warm": "ours", "dataloader-cold": "dataloader"}
SCHEMES = (
    "decord", "decord-scaled", "decord+resize", "dataloader-cold", "dataloader", "ours-cold", "ours-warm", "prepare",
    "cached",
)  # fmt: skip

LARGE = {"size": "720p"}
BOUNDS = (
    Bound("frames_per_core_s", "ours-warm", "decord", 0.9, False, LARGE),
    Bound("frames_per_s", "ours-warm", "dataloader", 1.0, False, LARGE),
    Bound("wait_share", "training", None, 0.05, True, {"size": "64px"}),
)
COLUMNS = (
    Column("processes", "processes", "{:.0f}"),
    Column("seconds a pass", "time_s", "{:.2f}"),
    Column("frames/s", "frames_per_s", "{:.0f}"),
    Column("frames/s a core", "frames_per_core_s", "{:.0f}"),
    Column("… ÷ decord", "frames_per_core_s", over="decord"),
    Column("… ÷ decord+resize", "frames_per_core_s", over="decord+resize"),
    Column("frames/s ÷ dataloader", "frames_per_s", over="dataloader"),
    Column("peak memory (MiB)", "peak_bytes", "{:.0f}", MIB),
)
STEP_COLUMNS = (
    Column("step (s)", "time_s"),
    Column("waiting for clips (%)", "wait_share", "{:.2f}", 0.01),
    Column("clips to tensors (%)", "encode_share", "{:.1f}", 0.01),
)


class DecodeCost(Measurement):
    """`time_s`: a pass over the clips, or a step of training. `frames` that were kept, of `clips` videos;
    `peak_bytes`: of the process and all it started, object store included; the shares are of the steps' time.
    Of a sweep: `decoded` rows, in so many `decodings`, and those of a trial that came after it."""

    processes: int
    clips: int
    frames: int | None = None
    frames_per_s: FiniteFloat | None = None
    frames_per_core_s: FiniteFloat | None = None
    steps: int | None = None
    wait_share: FiniteFloat | None = None
    encode_share: FiniteFloat | None = None
    arms: int | None = None
    decoded: int | None = None
    decodings: int | None = None
    decodings_after: int | None = None


TIMED = ("time_s", "frames_per_s", "frames_per_core_s")


class DecodeRun(MeasurementRun):
    """What one invocation measured."""

    rows: tuple[DecodeCost, ...]


class DecodeSettings(MeasuringSettings):
    """Measure, and report what was measured. `worker` is one fresh process and prints one line of JSON."""

    processes: int = Field(os.cpu_count() or 1, ge=1, description="processes that decode; default: a core each")
    sizes: tuple[Literal["720p", "64px"], ...] | None = Field(None, description="default: both; smoke: 64px")
    schemes: tuple[Job, ...] = Field(JOBS, description="what to measure")
    clips: int | None = Field(None, ge=1, description="videos of each size; default: 12 of 720p, 256 of 64px; smoke: 8")
    steps: int = Field(40, ge=1, description="steps of recipe tiny that are trained")
    arms: int = Field(16, ge=1, description="arms of the sweep whose decodings are counted")
    cache: CacheFolder = Field(DEFAULT_CACHE, validate_default=True, description="keeps the videos and their clips")
    scheme: Job | Literal["setup"] = Field("decord", description="worker: the one to measure")
    size: Literal["720p", "64px"] = Field("64px", description="worker: of which size")
    memory: bool = Field(False, description="worker: sample memory")

    @field_validator("sizes", "schemes")
    @classmethod
    def _each_once(cls, values: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if values is not None and (not values or len(set(values)) != len(values)):
            raise ValueError("name at least one, and each once")
        return values

    @property
    def measured_sizes(self) -> tuple[str, ...]:
        """The sizes to measure."""
        return self.sizes or (("64px",) if self.command == "smoke" else tuple(SIZES))

    def flags(self, scheme: str, size: str, memory: bool = False) -> dict[str, Any]:
        """The command line of a worker."""
        smoke = self.command == "smoke"
        arguments = {"scheme": scheme, "size": size, "memory": memory, "processes": self.processes, "cache": self.cache}
        arguments |= {"steps": 3 if smoke else self.steps, "arms": 2 if smoke else self.arms}
        arguments |= {"schemes": ",".join(self.schemes)} if scheme == "setup" else {}
        clips = self.clips or (8 if smoke else None)
        return arguments | ({"clips": clips} if clips else {})


def work(settings: DecodeSettings) -> list[dict[str, Any]]:
    """What a fresh process measured."""
    import decode_worker

    data = Data(settings.cache.absolute(), settings.size, settings.clips)
    if settings.scheme == "setup":
        return decode_worker.set_up(data, settings.processes, settings.steps, settings.schemes)
    if settings.scheme == "training":
        stored = StoredClips(*tiny_clips(settings.steps, data.cache), "train")
        answers = [decode_worker.training(tiny(settings.steps), stored)]
    elif settings.scheme == "sweep":
        answers = [decode_worker.sweep(data.cache, settings.processes, settings.arms)]
    else:
        answers = decode_worker.measure(settings.scheme, data, settings.processes, settings.memory)
    return [answer | {"machine": f"{provenance.processor()}, {os.cpu_count()} threads"} for answer in answers]


def ask(flags: dict[str, Any]) -> list[dict[str, Any]]:
    """A worker's answers; killed for its memory is one, too. Raises RuntimeError when it failed."""
    answers: list[dict[str, Any]] | None = measuring.fresh_process(__file__, flags, {"OMP_WAIT_POLICY": "PASSIVE"})
    if answers is None:
        request = {name: flags[name] for name in ("scheme", "size", "processes")}
        return [request | {"clips": 0, "outcome": "out of memory"}]
    return answers


def plan(settings: DecodeSettings) -> Iterator[tuple[int, str, str, bool]]:
    """(round, scheme, size, whether memory is sampled) of every process. Round 0 samples memory and brings the videos
    into the page cache; what is timed takes turns in going first, and what no bound judges ends after `REPORTED_ROUNDS`
    of them. A smoke has one round for both, and times nothing worth reading."""
    smoke = settings.command == "smoke"
    judged = {(JOB_OF.get(s, s), b.where["size"]) for b in BOUNDS for s in (b.scheme, b.over)}
    for number in range(1 if smoke else settings.rounds + 1):
        for size in settings.measured_sizes:
            for scheme in rotated(settings.schemes, number):
                if ONLY.get(scheme, size) != size or scheme == "sweep":
                    continue
                if scheme == "training" and number == 0 and not smoke:
                    continue
                if number <= REPORTED_ROUNDS or (scheme, size) in judged:
                    yield number, scheme, size, number == 0
    if "sweep" in settings.schemes:
        yield 0, "sweep", "64px", False


def run(settings: DecodeSettings, store: SweepStore, console: Console) -> DecodeRun:
    """Make what is measured, measure what is planned, and commit it as a new run."""

    def answers(number: int, scheme: str, size: str, memory: bool) -> list[dict[str, Any]]:
        results = [answer | {"round": number} for answer in ask(settings.flags(scheme, size, memory))]
        if memory and settings.command == "run":
            return [answer | dict.fromkeys(TIMED) for answer in results]
        return results

    tasks = [
        Task(f"{size}: make the videos and their clips", partial(answers, 0, "setup", size, False))
        for size in settings.measured_sizes
    ]
    for number, scheme, size, memory in plan(settings):
        label = "memory" if memory else f"round {number}" if number else "count"
        tasks.append(Task(f"{label}: {scheme}, {size}", partial(answers, number, scheme, size, memory)))
    return measuring.measure(
        DecodeRun,
        DecodeCost,
        tasks,
        experiment=NAME,
        store=store,
        settings=settings.model_dump(mode="json") | {"sizes": settings.measured_sizes},
        numerics={"device": "cpu", "dtype": "uint8", "world_size": settings.processes},
        console=console,
    )


def counted_grid(done: DecodeRun) -> Grid:
    """Decodings, which have no spread."""
    rows = []
    for row in done.rows:
        if row.scheme == "sweep" and row.outcome == "ok":
            once = row.clips == row.decoded == row.decodings and not row.decodings_after
            rows.append(
                [
                    f"a sweep of {row.arms} arms, then one more trial",
                    *map(str, (row.clips, row.decoded, row.decodings, row.decodings_after)),
                    ("met" if once else "not met") + " (each once)",
                ]
            )
    heads = ["what", "clips", "clips decoded", "decodings", "decodings for the later trial", "verdict"]
    return "Counted", heads, rows


def show(done: DecodeRun, store: SweepStore, console: Console) -> None:
    """Print the grids and write the report."""
    sizes = done.settings["sizes"]
    bounds = [bound for bound in BOUNDS if bound.where["size"] in sizes]
    grids = [
        measurement_report.verdict_grid(done, bounds),
        measurement_report.values_grid(done, "Throughput and memory", ("size",), COLUMNS, SCHEMES),
        measurement_report.values_grid(
            done, "A step of recipe tiny on stored clips", ("size",), STEP_COLUMNS, ("training",)
        ),
        counted_grid(done),
    ]
    grids = [grid for grid in grids if grid[2]]
    notes = [
        "Everybody gets the same frames of the same H.264 videos (key frame every 48, B-frames), 32 a clip at 720p and "
        "8 at 64 px, out of a warm page cache. All but raw decord hand them on at the model's size: 1008 × 560, and "
        "64 × 64 as they are. decord+resize and the DataLoader resize with Pillow (bicubic); decord-scaled lets decord "
        "do it.",
        "Cold starts what it needs (Ray and its workers, or the DataLoader's); warm is what follows, twice over all "
        "clips, with no clip cached. prepare starts Ray, decodes, and writes the store; cached is a fresh process that "
        "reads that store.",
        "Peak memory: all processes and the object store, shared pages once, sampled in a round of its own; some "
        "130 MiB of it are the measuring process. What no bound is about has fewer rounds.",
    ]
    drawn = [scheme for scheme in SCHEMES if any(row.scheme == scheme for row in done.rows)]
    picture = measurement_plots.value_figure(done, "frames_per_core_s", "frames/s a core", drawn or ["–"], sizes)
    measurement_report.show_report(store, done, TITLE, QUESTION, grids, notes, picture, console)


def main(settings: DecodeSettings) -> int:
    """The exit code: see `measuring.main`."""
    return measuring.main(
        settings, NAME, DecodeRun, work=partial(work, settings), run=partial(run, settings), show=show
    )


if __name__ == "__main__":
    raise SystemExit(main(experiment_file.settings(DecodeSettings)))
