"""One fresh process of the cost measurement: build, read the peak of a step, time some more, count what is held.

A step is zero_grad, forward, backward. No optimiser step: it is the same in every scheme, and would only hide the rest.
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import statistics
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.weak import WeakIdKeyDictionary

from cost_schemes import SIZES, build
from swimlab.experiment import cards
from swimlab.store.provenance import processor

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's mallopt


def measure(scheme: str, size_name: str, tokens: int, text: int, device: torch.device, steps: int) -> dict[str, Any]:
    """A `StepCost` without its round, and `machine`. Out of memory on the device is an outcome, not an error;
    `steps` 0 counts what is held and times nothing."""
    size = SIZES[size_name]
    row: dict[str, Any] = {"scheme": scheme, "tokens": tokens, "text_tokens": text, "size": size_name}
    row["machine"] = machine(device)
    request = dict(row)
    try:
        model, loss = build(scheme, size, tokens, text, device)
        if steps:
            row |= _timed(model, loss, device, steps)
            row["tokens_per_s"] = tokens / row["time_s"]
            row["mfu"] = mfu(size.step_flops(tokens) / row["time_s"], row["machine"])
        model.zero_grad(set_to_none=True)
        gc.collect()
        with head_bytes(model) as logits, LiveBytes() as live:
            loss_value = loss()
            row["held_bytes"] = live.total()
        row["logits_bytes"] = sum(logits)
        row["full_logits_bytes"] = tokens * size.vocabulary * size.dtype.itemsize
        if not bool(torch.isfinite(loss_value)):
            raise FloatingPointError(f"{scheme} at {tokens} tokens: the loss is {loss_value.item()}")
    except torch.OutOfMemoryError:
        return request | {"outcome": "out of memory"}
    return row


def mfu(flops_per_s: float, machine: str) -> float | None:
    """The share of a known card's dense bf16 peak."""
    card = cards.of_device(machine)
    return flops_per_s / card.flops_per_s if card else None


def _timed(model: Any, loss: Callable[[], Tensor], device: torch.device, steps: int) -> dict[str, Any]:
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None

    def step() -> float:
        model.zero_grad(set_to_none=True)
        wait()
        start_s = time.perf_counter()
        loss().backward()
        wait()
        return time.perf_counter() - start_s

    gc.collect()
    before = peak_bytes(device) if device.type == "cpu" else torch.cuda.memory_allocated()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    step()
    peak = peak_bytes(device)
    _keep_freed_memory()
    step()  # warms up
    times_s = [step() for _ in range(steps)]
    return {
        "time_s": statistics.median(times_s), "times_s": times_s, "peak_bytes": peak, "step_bytes": peak - before
    }  # fmt: skip


def _keep_freed_memory() -> None:
    """Glibc as it becomes by itself after a step: blocks up to 32 MiB stay with the process, which spares page faults.
    (The parent has fixed its threshold, so that the peak means something.)"""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, 2**25)
        libc.mallopt(M_TRIM_THRESHOLD, 2**30)


def peak_bytes(device: torch.device) -> int:
    """Most memory so far: allocated by torch on a GPU, resident of this process on a CPU.

    Linux: VmHWM, because `ru_maxrss` of a child starts at its parent's.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def machine(device: torch.device) -> str:
    """The GPU's name, or the CPU's and its number of threads in use."""
    if device.type == "cuda":
        return torch.cuda.get_device_name()
    return f"{processor()}, {torch.get_num_threads()} of {os.cpu_count()} threads"


class LiveBytes(TorchDispatchMode):
    """Counts, exactly, the tensor storages that were made under it and are still alive: whatever autograd saved, and
    whatever Python holds, on any device."""

    def __init__(self) -> None:
        super().__init__()
        self._made: Any = WeakIdKeyDictionary(ref_type=weakref.ref)
        self._foreign: Any = WeakIdKeyDictionary(ref_type=weakref.ref)

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tree_map_only(Tensor, self._record_input, (args, kwargs))
        result = function(*args, **(kwargs or {}))
        tree_map_only(Tensor, self._left, result)
        return result

    def _record_input(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage not in self._made:
            self._foreign[storage] = None

    def _left(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage not in self._foreign:
            self._made[storage] = storage.nbytes()

    def total(self) -> int:
        """Bytes alive now."""
        return sum(self._made.values())


@contextmanager
def head_bytes(model: Any) -> Iterator[list[int]]:
    """Bytes of every tensor that the head returns meanwhile."""
    sizes: list[int] = []
    hook = model.lm_head.register_forward_hook(lambda _m, _i, out: sizes.append(out.numel() * out.element_size()))
    try:
        yield sizes
    finally:
        hook.remove()
