"""A process that leaves no trace: seeds, threads and torch's global switches are set on entry and put back on exit.

Trials share reused processes; without this the bytes of a trial would depend on what ran before it.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def deterministic(seed: int, threads: int = 1) -> Iterator[None]:
    """Everything global that a trial may read, seeded or fixed; restored on exit, also after an error.

    One torch thread: bit equality is promised for one thread (reductions split differently over more).
    """
    python_state, numpy_state, torch_state = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda_states = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    dtype, n_threads = torch.get_default_dtype(), torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    grad = torch.is_grad_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.set_default_dtype(torch.float32)
    torch.set_num_threads(threads)
    torch.set_grad_enabled(True)
    # On a GPU some backward kernels have no deterministic twin: warn there instead of failing.
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    # Every uninitialised tensor would be filled first (3 % of a 7B step on an H200), and none is read here.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        torch.set_rng_state(torch_state)
        if cuda_states:
            torch.cuda.set_rng_state_all(cuda_states)
        torch.set_default_dtype(dtype)
        torch.set_num_threads(n_threads)
        torch.set_grad_enabled(grad)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
