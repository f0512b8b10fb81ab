"""What is tried again: failures by the store or by a dead process, and no failure of the trial's own."""

import pytest
import torch
from ray.exceptions import ActorDiedError, OutOfMemoryError, RayTaskError
from ray.train.v2._internal.exceptions import UserExceptionWithTraceback, WorkerHealthCheckFailedError
from ray.train.v2.api.exceptions import PreemptionError, WorkerGroupError
from ray.train.v2.api.preemption import PreemptionInfo

from swimlab.execution.evaluations import EvaluationFailed
from swimlab.execution.exactly_once import failure_of
from swimlab.execution.faults import DIVERGED, LOST, OUT_OF_MEMORY, STORE, death, kind_of
from swimlab.store.errors import StoreError

DIED = "The actor died unexpectedly.\n\tpid: 77\n\tip: 10.0.0.1\nThe actor is dead because its worker process has died."


def caused(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (StoreError("no answer"), STORE),
        (caused(RuntimeError("clips"), StoreError("no answer")), STORE),
        (WorkerGroupError("", {1: UserExceptionWithTraceback(StoreError("no answer"), "…")}), STORE),
        (ActorDiedError(), LOST),
        (OutOfMemoryError("the node is full"), LOST),
        (WorkerGroupError("", {0: WorkerHealthCheckFailedError("failed", ActorDiedError())}), LOST),
        (ValueError("no such layer"), "ValueError"),
        (FloatingPointError("loss is nan"), DIVERGED),
        (WorkerGroupError("", {0: UserExceptionWithTraceback(FloatingPointError("nan"), "…")}), DIVERGED),
        (PreemptionError(PreemptionInfo(None, {})), LOST),
        (torch.OutOfMemoryError("CUDA out of memory."), OUT_OF_MEMORY),
        (RayTaskError("f", "…", torch.OutOfMemoryError("CUDA out of memory.")).as_instanceof_cause(), OUT_OF_MEMORY),
        (MemoryError(), OUT_OF_MEMORY),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), OUT_OF_MEMORY),
        (WorkerGroupError("", {0: ActorDiedError(), 1: UserExceptionWithTraceback(MemoryError(), "…")}), OUT_OF_MEMORY),
        (WorkerGroupError("", {0: UserExceptionWithTraceback(ValueError("x"), "…")}), "WorkerGroupError"),
        (EvaluationFailed("its suite raised"), "EvaluationFailed"),
    ],
)
def test_kinds_of_errors(error, kind):
    assert kind_of(error) == kind
    assert failure_of(error).kind == kind


def test_a_death_has_the_signal_that_its_log_names(tmp_path):
    assert death(DIED, str(tmp_path)) is None  # its log is on another machine
    log = tmp_path / "worker-abc-01000000-77.err"
    log.write_text(":job_id:01\n")
    assert death(DIED, str(tmp_path)).startswith("process 77 was killed: it left no word, as with SIGKILL")
    log.write_text(":job_id:01\n*** SIGBUS received at time=1 on cpu 0 ***\n")
    assert death(DIED, str(tmp_path)) == f"process 77 died of SIGBUS (its log: {log})"
    assert death("ValueError: pid 77", str(tmp_path)) is None
