"""A training that runs out of memory or diverges ends with what to change, and is not tried again."""

from types import SimpleNamespace

import pytest
import torch

from swim import recipes
from swimlab.execution.cluster import Slots
from swimlab.execution.exactly_once import failure_of
from swimlab.execution.faults import DIVERGED, INTERRUPTIONS, OUT_OF_MEMORY
from swimlab.execution.training_advice import explained
from swimlab.store.sweep_store import SweepStore

ONE, GPUS = Slots({}, {"CPU": 1}, 0, 2), Slots({}, {"GPU": 1}, 2, 1)


def no_memory():
    try:
        torch.empty(2**50)
    except RuntimeError as error:
        return error
    raise AssertionError("a petabyte was allocated")


def explain(error, recipe, slots, store, micro_batch=None):
    ended = explained(error, SimpleNamespace(recipe=recipe, trial_id="t"), store, slots, micro_batch)
    if ended is not None:
        ended.__cause__ = error
    return ended


@pytest.mark.fault(
    injection="a training allocates more than there is", symptom="a traceback, and the same plan is tried again",
    expected="error says which flags and fields need less",
)  # fmt: skip
def test_out_of_memory_says_what_needs_less(tmp_path):
    store, tiny, hub = SweepStore(str(tmp_path)), recipes.named("tiny"), recipes.named("qwen2.5-vl-7b")
    failure = failure_of(explain(no_memory(), tiny, ONE, store))
    assert failure.kind == OUT_OF_MEMORY
    assert failure.kind not in INTERRUPTIONS
    assert "Traceback" not in failure.error
    batch = tiny.optim.batch
    assert f"can't allocate memory: you tried to allocate {2**52} bytes" in failure.error
    assert f"run it with --micro-batch {batch // 2} (now {batch}), or --concurrency 1 (now 2); change" in failure.error
    error = str(explain(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), hub, GPUS, store))
    assert error.startswith("out of memory: CUDA out of memory. Tried to allocate 2.00 GiB: run it with --shard with")
    assert "train adapters (model.lora" in error
    assert "--micro-batch" not in error
    error = str(explain(MemoryError(), hub.override({"model.gradient_checkpointing": False}), GPUS, store, 4))
    assert "--micro-batch 2 (now 4)" in error
    assert "set model.gradient_checkpointing=true" in error


def test_divergence_says_what_to_lower_and_where_the_last_step_is(tmp_path):
    store, recipe = SweepStore(str(tmp_path)), recipes.named("tiny")
    failure = failure_of(explain(FloatingPointError("loss is nan at step 7 of 'tiny'"), recipe, ONE, store))
    assert failure.kind == DIVERGED
    assert failure.error.startswith("diverged: loss is nan at step 7 of 'tiny': lower optim.lr (now 0.002)")
    assert failure.error.endswith("no step of it was saved")
    store.backend.create("attempts/t/3/steps/5/done.json", b"{}")
    error = str(explain(FloatingPointError("loss is inf"), recipe, ONE, store))
    assert error.endswith(f"its last saved step, 5, is in {store.uri}/attempts/t/3/steps/5")


def test_other_errors_are_left_as_they_are(tmp_path):
    assert explain(ValueError("no such layer"), recipes.named("tiny"), ONE, SweepStore(str(tmp_path))) is None
