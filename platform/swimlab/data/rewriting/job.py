"""Rewrites annotation files of any size, as a Ray Data job: parts in, ordered rows and rejects out.

A stopped run keeps only its answers (`swimlab.llm.answer_cache`). The next run reads them, so that no row is paid for
twice and the output equals that of an uninterrupted run.
"""

from __future__ import annotations

import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import ray
import ray.data
from ray.data import TaskPoolStrategy

from swim.data.rows.read import Part, read_part, split
from swim.data.types import DataError
from swim.recipe import Frozen
from swimlab.data.rewriting.ordered_output import RowFile
from swimlab.data.rewriting.rewriter import (
    RewriteEstimate,
    RewriteOutcome,
    Rewriter,
    Rewriting,
    StoppedError,
    count,
)
from swimlab.llm.budget import Budget
from swimlab.llm.client import EndpointError
from swimlab.llm.usage import TokenUsage
from swimlab.store.sweep_store import SweepStore

ReportProgress = Callable[[str, int, int], None]
EXAMPLES, _EXAMPLES_OF_A_PART = 12, 3
# After a stop: how long to wait for requests in flight, since they are paid for.
_DRAIN_S = 90.0


class RewritingJob(Frozen):
    """The configuration of a worker. `threads`: rows at a time in each of `workers` processes."""

    rewriting: Rewriting
    store: str
    workers: int = 1
    threads: int = 1
    estimate: bool = False


@dataclass
class RewriteTally:
    """Counts over rows, which can be summed. `rejected` and `no_synonym` are by reason, `kinds` by part of NL-Refer;
    `words` sums the share of each expression's content words that its answers say."""

    rows: int = 0
    rewritten: int = 0
    synonyms: int = 0
    expressions: int = 0
    words: float = 0.0
    sent: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    rejected: dict[str, int] = field(default_factory=dict)
    no_synonym: dict[str, int] = field(default_factory=dict)
    asked: TokenUsage = field(default_factory=TokenUsage)
    examples: list[tuple[str, str]] = field(default_factory=list)

    def add(self, raw: Any, outcome: RewriteOutcome) -> None:
        """Count one row."""
        self.rows += 1
        self.asked = _sum(self.asked, outcome.usage)
        for reject in outcome.rejects:
            count(self.no_synonym if reject.output == "synonym" else self.rejected, reject.summary)
        self.synonyms += outcome.synonym is not None
        if outcome.done is None or outcome.kind is None:
            return
        self.rewritten += 1
        count(self.kinds, outcome.kind)
        self.expressions += len(outcome.done.shares)
        self.words += sum(outcome.done.shares)
        if len(self.examples) < _EXAMPLES_OF_A_PART:
            before, after = (row["conversations"][0]["value"] for row in (raw, outcome.done.row))
            self.examples.append((before, after))


def _sum(a: Any, b: Any) -> Any:
    """The sum of two dataclasses of one type, field by field: numbers, counts by name, lists, nested dataclasses."""
    if hasattr(a, "__dataclass_fields__"):
        return type(a)(**{f.name: _sum(getattr(a, f.name), getattr(b, f.name)) for f in fields(a)})
    if isinstance(a, dict):
        return dict(Counter(a) + Counter(b))
    return a + b


class SharedBudget:
    """The budget of all workers: a `Budget` in an actor. Copies in other processes compare equal."""

    def __init__(self, limit: float | None) -> None:
        self._name = uuid4().hex
        self._actor = ray.remote(num_cpus=0)(Budget).remote(limit)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SharedBudget) and other._name == self._name

    def __hash__(self) -> int:
        return hash(self._name)

    def reserve(self, cost: float) -> str | None:
        refused: str | None = ray.get(self._actor.reserve.remote(cost))
        return refused

    def settle(self, reserved: float, cost: float) -> None:
        ray.get(self._actor.settle.remote(reserved, cost))

    def stop(self, reason: str) -> None:
        ray.get(self._actor.stop.remote(reason))

    def spent_and_pending(self) -> tuple[float, int]:
        spent, under_way = ray.get(self._actor.spent_and_pending.remote())
        return float(spent), int(under_way)


@lru_cache(maxsize=1)
def _rewriter(job_json: str, ledger: SharedBudget) -> tuple[Rewriter, ThreadPoolExecutor]:
    """This process's rewriter, kept between parts with its connections, tokenizer and rate limit."""
    job = RewritingJob.model_validate_json(job_json)
    store, asks, share = SweepStore(job.store), not job.estimate, 1 / job.workers
    return Rewriter(job.rewriting, store, asks=asks, budget=ledger, share=share), ThreadPoolExecutor(job.threads)


def _work(item: dict[str, Any], job_json: str, ledger: SharedBudget) -> dict[str, Any]:
    """Task: a part of a file → its rows, rewritten. `stopped` says why it is not done: an error is returned, not
    raised, because Ray would retry the task."""
    result = {"number": item["number"], "stopped": "", "tally": "", "rows": b"", "synonyms": b"", "rejected": b""}
    part = Part.model_validate_json(item["part"])
    try:
        rewriter, pool = _rewriter(job_json, ledger)
        if RewritingJob.model_validate_json(job_json).estimate:
            return result | _estimate_part(part, rewriter)
        return result | _rewrite_part(part, rewriter, pool)
    except (EndpointError, DataError) as error:
        return result | {"stopped": str(error)}
    except Exception as error:
        return result | {"stopped": f"{type(error).__name__}: {error}"}


def _rewrite_part(part: Part, rewriter: Rewriter, pool: ThreadPoolExecutor) -> dict[str, Any]:
    stop = threading.Event()
    sent = rewriter.endpoint.sent if rewriter.endpoint else 0

    def rewrite_row(row: int, raw: Any) -> RewriteOutcome | None:
        if stop.is_set():
            return None
        try:
            return rewriter(raw, part.file, row)
        except BaseException:
            stop.set()  # rows not begun are skipped; those in flight are paid for, so they end
            raise

    rows = list(read_part(part))
    futures = [pool.submit(rewrite_row, row, raw) for row, raw in rows]
    wait(futures)
    tally = RewriteTally()
    lines: dict[str, list[str]] = {"rows": [], "synonyms": [], "rejected": []}
    if stop.is_set():
        raise next(error for future in futures if (error := future.exception()))
    for (_, raw), future in zip(rows, futures, strict=True):
        done = future.result()
        assert done is not None
        tally.add(raw, done)
        if done.done is not None:
            lines["rows"].append(json.dumps(done.done.row))
        if done.synonym is not None:
            lines["synonyms"].append(json.dumps(done.synonym))
        lines["rejected"] += [json.dumps(reject.model_dump()) for reject in done.rejects]
    tally.sent = rewriter.endpoint.sent - sent if rewriter.endpoint else 0
    return {name: "\n".join(text).encode() for name, text in lines.items()} | {"tally": json.dumps(asdict(tally))}


def _estimate_part(part: Part, rewriter: Rewriter) -> dict[str, Any]:
    total = RewriteEstimate()
    for row, raw in read_part(part):
        rewriter.estimate(raw, part.file, row, total)
    return {"tally": json.dumps(asdict(total))}


class RewritingError(ValueError):
    """These annotations cannot be rewritten. The message says why and what to do."""


def parts_of(annotations: str, rows_per_part: int) -> list[Part]:
    """The parts of a file. Raises RewritingError for one that cannot be read to its end, or holds no row."""
    try:
        parts = list(split(annotations, rows_per_part))
    except DataError as error:
        raise RewritingError(str(error)) from error
    if not parts:
        raise RewritingError(f"{annotations} holds no row")
    return parts


def workers_for(requested: int | None, at_a_time: int | None, parts: int) -> int:
    """The number of worker processes: `requested`, else one per CPU for the rules, or one per 16 requests `at_a_time`
    for an endpoint; at most the number of requests and of parts.

    Raises RewritingError for more than the cluster has CPUs, since Ray would wait forever.
    """
    cpus = int(ray.cluster_resources().get("CPU", 0))
    if cpus < (requested or 1):
        shortage = f"{requested or 1} workers need a CPU each and the cluster has {cpus}"
        raise RewritingError(f"{shortage}: lower --workers, or add nodes")
    default = cpus if at_a_time is None else min(cpus, -(-at_a_time // 16))
    return min(requested or default, parts, at_a_time or parts)


def estimate(job: RewritingJob, parts: list[Part], progress: ReportProgress) -> RewriteEstimate:
    """Estimate the requests for rewriting these parts. Sends none."""
    total = RewriteEstimate()
    for result in _results(job.model_copy(update={"estimate": True}), parts, SharedBudget(None), progress, "estimate"):
        total = _sum(total, RewriteEstimate(**json.loads(result["tally"])))
    return total


def rewrite(
    job: RewritingJob, parts: list[Part], out: Path, max_cost: float | None, progress: ReportProgress
) -> tuple[RewriteTally, float]:
    """Rewrite the parts to `out`, rejects to a file beside it, the synonym variant to a second file. Returns the counts
    and the cost. Raises StoppedError when it ended early: then no file is written, and all answers are in the store."""
    total, ledger = RewriteTally(), SharedBudget(max_cost)
    with ExitStack() as stack:
        paths = {"rows": out, "rejected": rejected_of(out)}
        if job.rewriting.synonyms:
            paths["synonyms"] = synonyms_of(out)
        files = {name: stack.enter_context(RowFile(path)) for name, path in paths.items()}
        # Closed here, whatever happens: an exception keeps its frames, and a generator in them, alive.
        results = stack.enter_context(closing(_results(job, parts, ledger, progress, "rewrite")))
        for result in results:
            for name, file in files.items():
                file.put(result["number"], result[name])
            total = _added(total, json.loads(result["tally"]))
    return total, ledger.spent_and_pending()[0]


def rejected_of(out: Path) -> Path:
    """The path of the rejects of an output."""
    return out.with_name(f"{out.name}.rejected.jsonl")


def synonyms_of(out: Path) -> Path:
    """The path of the synonym variant of an output."""
    return out.with_name(f"{out.stem}-synonym{out.suffix}")


def _added(total: RewriteTally, counts: dict[str, Any]) -> RewriteTally:
    added = _sum(total, RewriteTally(**counts | {"asked": TokenUsage(**counts["asked"])}))
    assert isinstance(added, RewriteTally)
    added.examples = [(before, after) for before, after in added.examples[:EXAMPLES]]
    return added


def _results(
    job: RewritingJob, parts: list[Part], ledger: SharedBudget, progress: ReportProgress, stage: str
) -> Generator[dict[str, Any], None, None]:
    """The results of the parts, in any order. Raises StoppedError. Waits for requests in flight before it ends."""
    rows = sum(part.rows for part in parts)
    items = [{"number": number, "part": part.model_dump_json()} for number, part in enumerate(parts)]
    dataset = ray.data.from_items(items, override_num_blocks=len(items)).map(
        _work, fn_args=(job.model_dump_json(), ledger), compute=TaskPoolStrategy(size=job.workers), num_cpus=1
    )
    dataset.context.enable_progress_bars = False
    dataset.context.execution_no_progress_timeout_s = -1  # a part may wait long for a slow rate; requests time out
    done = 0
    progress(stage, 0, rows)
    # A named iterator: a loop drops its own before an exception is handled, and Ray then kills running tasks.
    results = iter(dataset.iter_rows())
    with _gentle_interrupt(ledger) as interrupted:
        try:
            for result in results:
                if interrupted.is_set():
                    raise KeyboardInterrupt
                if result["stopped"]:
                    raise StoppedError(result["stopped"])
                yield result
                done += parts[result["number"]].rows
                progress(stage, done, rows)
        except BaseException as error:
            ledger.stop(f"the run was stopped ({type(error).__name__})")
            _drain(ledger)
            raise


@contextmanager
def _gentle_interrupt(ledger: SharedBudget) -> Iterator[threading.Event]:
    """The first Ctrl-C only refuses further requests, so that workers finish the requests in flight and report that
    they stopped; the second interrupts. A KeyboardInterrupt inside Ray Data would kill the workers."""
    interrupted, over = threading.Event(), threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return

    def first(*_: Any) -> None:
        signal.signal(signal.SIGINT, before)
        interrupted.set()
        over.set()

    def tell() -> None:  # not from the handler: it may interrupt Ray holding a lock
        over.wait()
        if interrupted.is_set():
            ledger.stop("Ctrl-C")

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    before = signal.signal(signal.SIGINT, first)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)
        over.set()
        teller.join()


def _drain(ledger: SharedBudget) -> None:
    deadline_s = time.monotonic() + _DRAIN_S
    while ledger.spent_and_pending()[1] > 0 and time.monotonic() < deadline_s:
        time.sleep(0.1)
