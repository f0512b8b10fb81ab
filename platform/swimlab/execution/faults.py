"""Which failures are not the trial's own: its store could not be reached, or a process of it died. Those are tried
again once, at the end of their wave, or of their generation in a search; a wrong value, a loss that is no number, or a
plan that does not fit into memory would only fail again."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from swim.recipe import Frozen
from swimlab.experiment.stored_results import failure_records, stored_results
from swimlab.experiment.trial_spec import TrialSpec
from swimlab.store.errors import StoreError
from swimlab.store.sweep_store import SweepStore

LOST, STORE = "lost", StoreError.__name__
OUT_OF_MEMORY, DIVERGED = "out of memory", "diverged"
INTERRUPTIONS = (LOST, STORE)
# By name: a driver without Ray (as that of the crash storm) shares this file and need not import it. Ray's
# OutOfMemoryError is a process that was killed because its machine was full; torch's is raised by an allocation.
_DEATHS = {
    "RayActorError", "WorkerCrashedError", "NodeDiedError", "WorkerHealthCheckFailedError", "PreemptionError",
    "ray.exceptions.OutOfMemoryError",
}  # fmt: skip
_NO_MEMORY = {"torch.OutOfMemoryError", "MemoryError"}
# torch has no class for these.
_NO_MEMORY_SAYS = re.compile("DefaultCPUAllocator: can't allocate|CUDA error: out of memory|CUBLAS_STATUS_ALLOC_FAILED")
_SIGNAL = re.compile(r"\*\*\* (SIG[A-Z0-9]+) received")
_PID = re.compile(r"\bpid[:=]\s*(\d+)")


class Failure(Frozen):
    """Why an attempt failed: the traceback, or for a TrainingEnded what to do, and what kind of error it was
    (`kind_of`)."""

    error: str
    kind: str


class TrainingEnded(RuntimeError):  # noqa: N818  # the text is what a user reads
    """A training ended early for a reason of its recipe or plan. The message says what to change; `__cause__` is what
    was raised."""


def kind_of(error: BaseException) -> str:
    """LOST where a process died, STORE where the store could not be used, OUT_OF_MEMORY, DIVERGED, else the name of the
    error's class."""
    bases = [base for cause in _causes(error) for base in type(cause).__mro__]
    kinds = {name for base in bases for name in (base.__name__, f"{base.__module__}.{base.__name__}")}
    # First: where one rank has no memory, others may die of its silence.
    if kinds & _NO_MEMORY or any(_NO_MEMORY_SAYS.search(str(cause)) for cause in _causes(error)):
        return OUT_OF_MEMORY
    if kinds & _DEATHS:
        return LOST
    if STORE in kinds:
        return STORE
    return DIVERGED if FloatingPointError.__name__ in kinds else type(error).__name__


def telling(error: BaseException, kind: str) -> BaseException:
    """Of an error and its causes the one, of this kind, that the others came from."""
    return [cause for cause in _causes(error) if kind_of(cause) == kind][-1]


def interrupted(store: SweepStore, specs: Iterable[TrialSpec]) -> list[TrialSpec]:
    """The trials whose latest attempt, or that of an evaluation of theirs, failed for no fault of their own."""
    specs = list(specs)
    failed = failure_records(store, specs, stored_results(store, specs))
    return [spec for spec in specs if failed.get(spec.trial_id, {}).get("kind") in INTERRUPTIONS]


def death(message: str, logs: str) -> str | None:
    """One line about a process that Ray reports as dead in `message`: its id, and its signal where its log, in the
    folder `logs`, has it. None where Ray says otherwise, or has the log on another machine."""
    pid = _PID.search(message)
    if "worker process has died" not in message or pid is None:
        return None
    for log in Path(logs).glob(f"worker-*-{pid[1]}.err"):
        if signal := _SIGNAL.search(log.read_text("utf-8", "replace")):
            return f"process {pid[1]} died of {signal[1]} (its log: {log})"
        return (
            f"process {pid[1]} was killed: it left no word, as with SIGKILL, which the kernel's memory killer sends "
            f"(`dmesg` tells; Ray's logs: {logs})"
        )
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what it came from, through what Ray wraps around errors of other processes."""
    yield error
    wrapped = [error.__cause__, getattr(error, "cause", None), getattr(error, "_base_exc", None)]
    wrapped += [getattr(error, "health_check_failure", None), *getattr(error, "worker_failures", {}).values()]
    for cause in wrapped:
        if isinstance(cause, BaseException) and cause is not error:
            yield from _causes(cause)
