"""What does supervising attention cost?  Step time and memory of plain SFT, ours, the released scheme, eager maps.

`python experiments/cost_of_supervision.py` on a CPU; `--device cuda` runs the 7B configuration with random weights and
needs no Ray. Every number comes from a fresh process; the schemes take turns within a round.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, CliPositionalArg, SettingsConfigDict
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from swimlab import cli, cost_report, provenance
from swimlab.backends import StoreError
from swimlab.measurements import Bound, Measurement, Run, commit, new_run_id, rotated, runs
from swimlab.store import SweepStore

NAME = "cost_of_supervision"
TITLE, QUESTION = "Cost of supervision", "What does supervising attention add to a training step?"
SCHEMES = ("sft", "swim", "released", "eager")
SHORT, LONG = (512, 1024, 2048, 4096), (512, 1024, 2048, 4096, 8192, 16384)
LEAST = 64
COUNTED = ("7b-narrow", 8192)  # bytes held at 8k, counted on a CPU: they do not depend on the head width

BOUNDS = (
    Bound("time_s", "swim", "sft", "small", 4096, 1.05, at_most=True),
    Bound("step_bytes", "swim", "sft", "small", 4096, 1.03, at_most=True),
    Bound("time_s", "released", "swim", "small", 4096, 2, at_most=False),
    Bound("step_bytes", "released", "swim", "small", 4096, 3, at_most=False),
    Bound("time_s", "eager", "swim", "small", 4096, 4, at_most=False),
    Bound("step_bytes", "eager", "swim", "small", 4096, 6, at_most=False),
    Bound("time_s", "swim", "sft", "7b", 8192, 1.02, at_most=True),
    Bound("peak_bytes", "swim", "sft", "7b", 8192, 1.02, at_most=True),
)
HELD_TIMES, LOGITS_TIMES = 100, 10


class CostSettings(BaseSettings):
    """Measure, and report what was measured. `worker` is one fresh process and prints one line of JSON."""

    model_config = SettingsConfigDict(
        env_prefix="SWIMLAB_", cli_kebab_case=True, extra="forbid", frozen=True, cli_hide_none_type=True
    )

    command: CliPositionalArg[Literal["run", "smoke", "report", "worker"]] = Field(
        "run", description="run: measure, then report; smoke: one short round; report: the latest run again"
    )
    device: Literal["cpu", "cuda"] = Field("cpu", description="cuda: one GPU, the 7B configuration")
    size: Literal["nano", "small", "7b", "7b-narrow"] | None = Field(
        None, description="model; default: small on a CPU, 7b on a GPU"
    )
    tokens: tuple[int, ...] | None = Field(None, description="lengths, as 512,1024; default: 512 to 4096, GPU 16384")
    text: int = Field(300, ge=15, description="of them after the video, at most half")
    rounds: int = Field(5, ge=1, description="rounds in which every scheme runs once at every length")
    steps: int = Field(
        3, ge=0, description="timed steps of a process, after one for memory and one to warm up; 0: only count bytes"
    )
    schemes: tuple[Literal["sft", "swim", "released", "eager"], ...] = Field(SCHEMES, description="which to measure")
    count: bool = Field(True, description="count the bytes held at 8k (minutes on a CPU)")
    threads: int = Field(1, ge=1, description="CPU threads of a process; one leaves the others to the neighbours")
    scheme: Literal["sft", "swim", "released", "eager"] = Field("swim", description="worker: the one to measure")
    store: str = Field("swimlab-store", description="sweep store: a folder or s3://bucket/prefix")

    run_id: str | None = Field(None, description="report: which run; default: the newest")

    @field_validator("tokens", "schemes")
    @classmethod
    def _each_once(cls, values: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
        if values is not None and (not values or len(set(values)) != len(values)):
            raise ValueError("name at least one, and each once")
        if values and isinstance(values[0], int) and min(values) < LEAST:
            raise ValueError(f"{min(values)} tokens are too few for a video and its text: give {LEAST} or more")
        return values

    @property
    def model_size(self) -> str:
        """The model to measure."""
        return self.size or ("nano" if self.command == "smoke" else "7b" if self.device == "cuda" else "small")

    @property
    def lengths(self) -> tuple[int, ...]:
        """The lengths to measure."""
        return self.tokens or ((128,) if self.command == "smoke" else LONG if self.device == "cuda" else SHORT)


def work(chosen: CostSettings) -> None:
    """One fresh process: print what was measured."""
    import torch
    from cost_worker import measure

    torch.set_num_threads(chosen.threads)
    (tokens,) = chosen.lengths
    device, text = torch.device(chosen.device), min(chosen.text, tokens // 2)
    print(json.dumps(measure(chosen.scheme, chosen.model_size, tokens, text, device, chosen.steps)))


def ask(chosen: CostSettings, scheme: str, size: str, tokens: int, steps: int, device: str) -> dict[str, Any]:
    """A worker's answer. Raises RuntimeError with the end of its log when it failed; killed for its memory is an
    answer."""
    asked = {"scheme": scheme, "size": size, "tokens": tokens}
    flags = asked | {"text": chosen.text, "steps": steps, "device": device, "threads": chosen.threads}
    line = [sys.executable, __file__, "worker", *(f"--{name}={value}" for name, value in flags.items())]
    variables = os.environ | {
        "OMP_NUM_THREADS": str(chosen.threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        # Memory is measured first, with a glibc that gives back what is freed: left to itself it keeps a different 20
        # to 60 MB in every process, and the peak says little about what was allocated.
        "MALLOC_MMAP_THRESHOLD_": str(2**17),
    }
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=variables)
    if done.returncode == -9:
        return asked | {"text_tokens": min(chosen.text, tokens // 2), "outcome": "out of memory"}
    if done.returncode:
        raise RuntimeError(f"{scheme} at {tokens} tokens failed ({done.returncode}): …{done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def plan(chosen: CostSettings) -> Iterator[tuple[int, str, str, int, int, str]]:
    """(round, scheme, size, tokens, timed steps, device) of every process; the schemes take turns in going first."""
    for number in range(1 if chosen.command == "smoke" else chosen.rounds):
        for tokens in chosen.lengths:
            for scheme in rotated(chosen.schemes, number):
                yield number, scheme, chosen.model_size, tokens, chosen.steps, chosen.device
    if chosen.count and chosen.command == "run" and chosen.device == "cpu":
        for scheme in ("sft", "swim", "released"):
            if scheme in chosen.schemes:
                yield 0, scheme, *COUNTED, 0, "cpu"


def run(chosen: CostSettings, console: Console) -> Run:
    """Measure what is planned and commit it as a new run; what stops it (Ctrl-C, a worker that failed) is raised after
    what was measured by then is committed."""
    store = SweepStore(chosen.store)
    store.check_writable()
    started = provenance.utc_now()
    rows: list[Measurement] = []
    machine, stopped = "?", None
    todo = list(plan(chosen))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        bar = bars.add_task("cost of supervision", total=len(todo))
        try:
            for number, scheme, size, tokens, steps, device in todo:
                bars.update(bar, description=f"round {number + 1}: {scheme}, {size}, {tokens} tokens")
                answer = ask(chosen, scheme, size, tokens, steps, device)
                machine = answer.pop("machine", machine)
                rows.append(Measurement(round=number, **answer))
                bars.advance(bar)
                if not console.is_terminal:
                    seconds = f"{rows[-1].time_s:.3f} s" if rows[-1].time_s else rows[-1].outcome
                    console.print(f"{len(rows)} of {len(todo)}: {scheme}, {size}, {tokens} tokens: {seconds}")
        except (KeyboardInterrupt, Exception) as error:  # hours of measurements must not go with it
            stopped = error
    dtype = "bfloat16" if chosen.model_size.startswith("7b") else "float32"
    came = provenance.gather(
        device=chosen.device, dtype=dtype, world_size=1, started_at=started, finished_at=provenance.utc_now()
    )
    done = Run(
        experiment=NAME,
        run_id=new_run_id(),
        machine=machine,
        settings=chosen.model_dump(mode="json") | {"size": chosen.model_size, "tokens": chosen.lengths},
        provenance=came,
        rows=tuple(rows),
    )
    if rows:
        commit(store, done)
    if stopped:
        kept = f"; they are in {store.uri}, run {done.run_id}" if rows else ""
        console.print(f"stopped after {len(rows)} of {len(todo)} measurements{kept}", soft_wrap=True)
        raise stopped
    return done


def counted_grid(done: Run) -> cost_report.Grid:
    """Bytes, which have no spread: what the forward pass holds for supervision, and what the head returns."""
    rows = []
    for size, tokens in dict.fromkeys((row.size, row.tokens) for row in done.rows if row.outcome == "ok"):
        mine = {row.scheme: row for row in done.rows if (row.size, row.tokens) == (size, tokens) and row.held_bytes}
        plain = mine["sft"].held_bytes if "sft" in mine else None
        held = {name: (row.held_bytes or 0) - plain for name, row in mine.items()} if plain else {}
        where = f"({size}, {tokens} tokens)"
        for scheme in ("released", "eager"):
            if scheme in held and "swim" in held:
                judged = scheme == "released" and tokens == COUNTED[1]
                rows.append(_times(f"held: {scheme} ÷ swim {where}", held[scheme], held["swim"], judged, HELD_TIMES))
        if (row := mine.get("swim")) and row.logits_bytes and row.full_logits_bytes:
            judged = size in ("small", "7b") and tokens == 4096
            rows.append(
                _times(f"logits: all ÷ labelled {where}", row.full_logits_bytes, row.logits_bytes, judged, LOGITS_TIMES)
            )
    return "Counted", ["what", "theirs (bytes)", "ours (bytes)", "times", "verdict"], rows


def _times(what: str, theirs: int, ours: int, judged: bool, limit: int) -> list[str]:
    verdict = ("met" if theirs >= limit * ours else "not met") + f" (≥ {limit})" if judged else ""
    return [what, f"{theirs:,}", f"{ours:,}", f"{theirs / ours:.1f}", verdict]


def show(done: Run, store: SweepStore, console: Console) -> None:
    """Print the grids and write the report."""
    bounds = [b for b in BOUNDS if b.size == done.settings["size"]]
    grids = [cost_report.verdict_grid(done, bounds), cost_report.cost_grid(done, "sft"), counted_grid(done)]
    notes = [
        "A step is forward and backward of one sample with given vision features; no optimiser step. Step memory is "
        "the peak above what was there before the first step (CPU: resident, GPU: allocated).",
        f"Of the tokens, the last {done.settings['text']} (at most half) are text after the video: the released scheme "
        "pays for each of them.",
    ]
    for heading, heads, rows in grids:
        table = Table(title=heading, title_justify="left")
        for head in heads:
            table.add_column(head, overflow="fold")
        for row in rows:
            table.add_row(*row)
        console.print(table)
    where = cost_report.write_report(store, done, done.settings["size"], TITLE, QUESTION, grids, notes)
    console.print(f"run    {done.run_id}\nstore  {store.uri}\nreport {where}", soft_wrap=True, highlight=False)


def main(chosen: CostSettings) -> int:
    """The exit code: 1 when the store or a worker fails, 130 on Ctrl-C. A bound that is not met is a result."""
    console = Console(width=None if sys.stdout.isatty() else 160)
    try:
        if chosen.command == "worker":
            work(chosen)
            return 0
        if chosen.device == "cuda" and chosen.command != "report":
            import torch

            if not torch.cuda.is_available():
                raise ValueError("--device cuda: torch sees no GPU on this machine")
        store = SweepStore(chosen.store)
        if chosen.command == "report":
            if not (known := [r for r in runs(store, NAME) if chosen.run_id in (None, r.run_id)]):
                raise StoreError(f"store {store.uri} has no run {chosen.run_id or ''} of {NAME}; run it first")
            show(known[-1], store, console)
        else:
            show(run(chosen, console), store, console)
    except KeyboardInterrupt:
        return 130
    except (StoreError, RuntimeError, ValueError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(cli.settings(CostSettings)))
